/*
 * The messages between the agent's own processes, in the same frames and fields as the wire (proto/). Never versioned:
 * all processes are one binary.
 *
 *   key  → front   INTERNAL_KEY_READY, INTERNAL_KEY_FAILED (state; no answer), INTERNAL_PIN_LOAD, INTERNAL_PIN_RECORD
 *                  (the front passes these two on to the store; it grants PIN_LOAD to one process per token at a time)
 *   front → key    INTERNAL_SIGN, INTERNAL_DATA_KEY (data_key_request, answered by data_key_answer), INTERNAL_KEY_MAKE,
 *                  INTERNAL_KEY_IMPORT (with descriptors: the file, its password; both answered by made_key),
 *                  INTERNAL_KEY_DESTROY (answered by nothing in it), INTERNAL_UNLOCK (with the PIN's descriptor,
 *                  answered by sealed_pin; a process that waited for a PIN then ends, and the next one finds the PIN in
 *                  its pin_records)
 *   key, net-tls → front  INTERNAL_ENDING (a net-tls process whose token failed, a key process that has grown too
 *                  large; the answer is the last frame that it gets, so that no request is lost with it)
 *   net-tls → front  INTERNAL_PIN_LOAD, INTERNAL_PIN_RECORD, as key processes
 *   front → net    INTERNAL_FETCH, INTERNAL_REDIRECT_OPEN, INTERNAL_REDIRECT_WAIT, INTERNAL_REDIRECT_CLOSE
 *   front → store  INTERNAL_PIN_LOAD, INTERNAL_PIN_RECORD, INTERNAL_STORE_PUBLIC (answered by store_public),
 *                  INTERNAL_STORE_KEY (store_key, answered by nothing in it), INTERNAL_LOGIN_LOAD (login_name, answered
 *                  by login_loaded), INTERNAL_LOGIN_SAVE (login_save: the answer means "durable"),
 *                  INTERNAL_LOGIN_DELETE (login_name: the same), INTERNAL_TRACE_WRITE (trace_write)
 *   front → init   INTERNAL_INIT (init_request, answered by init_answer), INTERNAL_ADD_PROFILE (add_profile, answered
 *                  by profile_added), INTERNAL_ADD_KEY, INTERNAL_REMOVE_KEY, INTERNAL_SWITCH_KEY (add_key, remove_key,
 *                  switch_key: answered by keys_changed). INTERNAL_INIT may carry the PIN's descriptor.
 *   front ↔ supervisor, one message a packet: INTERNAL_CHILD (with a descriptor), INTERNAL_CHILD_ENDED, INTERNAL_KILL,
 *                  INTERNAL_START_INIT, INTERNAL_RELOAD (answered by reload_checked: the new configuration is good, or
 *                  what is wrong with it), INTERNAL_RELOAD_GO (the supervisor then replaces the family),
 *                  INTERNAL_KEEP_PIN (kept_pin: to the supervisor, which gives all that it keeps to each new front),
 *                  INTERNAL_CHILD_READY (to the supervisor: a key process has its key open)
 *
 * Answers carry the request's number and operation | OPERATION_ANSWER, failures are OPERATION_ERROR, as on the wire.
 */
#ifndef AGENT_INTERNAL_H
#define AGENT_INTERNAL_H

#include "messages.h"

enum internal_operation {
    INTERNAL_KEY_READY = 0x100,
    INTERNAL_KEY_FAILED,
    INTERNAL_PIN_LOAD,
    INTERNAL_PIN_RECORD,
    INTERNAL_SIGN,
    INTERNAL_FETCH,
    INTERNAL_INIT,
    INTERNAL_CHILD,
    INTERNAL_CHILD_ENDED,
    INTERNAL_KILL,
    INTERNAL_START_INIT,
    INTERNAL_RELOAD,
    INTERNAL_RELOAD_GO,
    INTERNAL_DATA_KEY,
    INTERNAL_STORE_PUBLIC,
    INTERNAL_STORE_KEY,
    INTERNAL_LOGIN_LOAD,
    INTERNAL_LOGIN_SAVE,
    INTERNAL_LOGIN_DELETE,
    INTERNAL_TRACE_WRITE,
    INTERNAL_REDIRECT_OPEN,
    INTERNAL_REDIRECT_WAIT,
    INTERNAL_REDIRECT_CLOSE,
    INTERNAL_ADD_PROFILE,
    INTERNAL_ENDING,
    INTERNAL_UNLOCK,
    INTERNAL_KEY_MAKE,
    INTERNAL_KEY_IMPORT,
    INTERNAL_KEY_DESTROY,
    INTERNAL_ADD_KEY,
    INTERNAL_REMOVE_KEY,
    INTERNAL_SWITCH_KEY,
    INTERNAL_KEEP_PIN,
    INTERNAL_CHILD_READY,
};

#define INTERNAL_FRAME_MAX (4 * 1024 * 1024)
#define PIN_SALT_SIZE 16
#define PIN_VERIFIER_SIZE 32
#define PIN_SOURCE_SIZE 32
#define DATA_KEY_SIZE 32
#define STORE_PUBLIC_SIZE 32                   /* crypto_box public key */
#define DATA_KEY_SEALED_SIZE (DATA_KEY_SIZE + 48) /* crypto_box_seal */
#define LIMIT_TRACE 65536                      /* text of one exchange */

struct key_ready {
    struct span x, y;
    uint32_t attributes; /* KEY_* of messages.h */
    bool imported;
    struct span token, model;
    struct span warning; /* what the token says about its PIN; absent: nothing */
};

/* INTERNAL_KEY_FAILED is an error_message (messages.h). */

struct pin_load {
    struct span token_id; /* made by key/pin.c: the front and the store only compare it */
};
struct pin_records {
    struct span salt;     /* PIN_SALT_SIZE bytes, the token's own */
    struct list refused;  /* verifiers (PIN_VERIFIER_SIZE bytes) of PINs that the token has refused */
    struct list trying;   /* verifiers of PINs whose log-in was begun and never reported on */
    struct list accepted; /* where the PINs came from that the token has accepted, PIN_SOURCE_SIZE bytes (the last
                             few) */
    struct span kept;     /* from the front: a sealed PIN that the user gave (unlock); it goes before file and
                             credential */
    bool locked;          /* from the front: the user has locked the token; no PIN is spent */
    bool worked;          /* from the front: the token has accepted a PIN while this agent ran: it is the right one */
};
enum pin_verdict {
    PIN_TRYING = 1,
    PIN_ACCEPTED = 2,
    PIN_REFUSED = 3,
    PIN_UNKNOWN = 4, /* the token did not look at the PIN: forget that it was being tried */
    PIN_DOUBTED = 5, /* the token failed without a word about the PIN, and works otherwise. Where PINs were accepted
                        from is forgotten; if there was any, so is that this one was being tried: it may be tried once
                        more */
};
struct pin_record {
    struct span token_id;
    struct span verifier;
    uint16_t verdict;
    struct span source; /* PIN_ACCEPTED: where it came from, as a hash of the file's state, say; never of the PIN */
};

struct sign_request {
    struct span digest; /* 32 bytes */
};
struct sign_answer {
    struct span signature; /* r and s, 64 bytes */
};

/* A PIN from a descriptor, for the front to keep. Only key and net-tls processes have the key that opens it: pin-key in
   their slice of the configuration. */
#define PIN_KEY_SIZE 32
#define SEALED_PIN_MAX (LIMIT_PIN + 40) /* XChaCha20-Poly1305: nonce and tag */
struct sealed_pin {
    struct span sealed;
};
struct kept_pin {
    struct span token_id;
    struct span sealed; /* absent: none is kept (any more) */
    bool locked;
};

/* Work on the objects of the key's token. */
struct make_key {
    struct span label; /* STATUS_EXISTS: a key in the token has it */
};
struct import_key {
    struct span label;
    bool password; /* the second descriptor is there */
};
struct made_key {
    struct span uri; /* of the key process's own, with the new key's object and id */
    struct span x, y;
};
struct destroy_key {
    struct span uri; /* of the key in the same token */
    struct span jkt; /* no other key is destroyed */
};

/* The store's one secret: the token makes it, the front only carries it, sealed for the store (crypto_box_seal). */
struct data_key_request {
    struct span public_key; /* the store's, STORE_PUBLIC_SIZE bytes */
    bool make;              /* if there is none yet */
};
struct data_key_answer {
    struct span sealed; /* DATA_KEY_SEALED_SIZE bytes; absent: there is none, and none was to be made */
    bool made;
};
struct store_public {
    struct span public_key;
};
struct store_key {
    struct span key; /* name of the [key] section */
    struct span sealed;
};

enum refresh_state {
    REFRESH_FRESH = 1,  /* the newest that the server gave, never sent */
    REFRESH_SENT = 2,   /* sent, and no answer known: in doubt */
    REFRESH_RESENT = 3, /* sent once more while in doubt: not to be sent again */
};
struct login_record {
    uint16_t refresh_state;    /* enum refresh_state */
    struct span refresh_token; /* absent: the server gave none */
    struct span scope;         /* granted at the login */
    struct span subject;
    bool nonces;               /* the token endpoint has asked for nonces */
    struct span access_token;  /* the last one of the profile's own kind; absent: none */
    struct span token_type;
    struct span access_scope;
    struct span raw;           /* JSON: the answer's other members */
    uint64_t access_expires;   /* seconds since 1970 */
    uint64_t latest_expiry;    /* seconds since 1970: when the last of all access tokens of this login ends */
    uint64_t written;          /* seconds since 1970 */
    struct span token_kind;    /* digest: what the access token was asked for */
    uint16_t resends;          /* how often RESENT was written since the last answer */
    bool held;                 /* not to be sent before latest_expiry */
};
/* Whose record: what the seal is bound to. `key` says which data key seals it. */
struct login_name {
    struct span profile, key, issuer, client_id, jkt;
};
/* A record that does not open (changed; another client, issuer or key) is an error, STATUS_LOGIN_REQUIRED; that the
   data key is not there yet is STATUS_STORE_FAILED, as all other trouble. */
struct login_loaded {
    bool found;
    struct span record; /* login_record */
};
struct login_save {
    struct span profile, key, issuer, client_id, jkt;
    struct span record; /* login_record */
};
struct trace_write {
    struct span profile; /* whose trace-file */
    struct span text;
};

struct fetch_request {
    struct span profile; /* whose CA, secret and limits; absent: `ca_file` and `allow_http_loopback` count, no secret */
    struct span url;
    struct span form;    /* application/x-www-form-urlencoded: a POST. Absent: a GET, or a POST of `json` */
    struct span dpop;    /* value of the DPoP header */
    bool authenticate;   /* adds the client secret, if the profile authenticates with one */
    uint32_t timeout;    /* milliseconds */
    bool token_files;    /* adds subject_token, actor_token and assertion from the profile's files, where the form lacks
                            them */
    struct span json;    /* application/json: a POST */
    struct span bearer;  /* token of an `Authorization: Bearer` header */
    struct span ca_file;
    bool allow_http_loopback;
};
struct fetch_answer {
    uint16_t http_status;
    struct span date;
    struct list nonces;     /* every DPoP-Nonce header's value, as it came */
    uint32_t retry_after;   /* seconds */
    struct list members;    /* json_member: the answer's top-level members, in their order */
    struct span json_error; /* why the body is no JSON object; absent: it is one */
    bool jwt;               /* the access_token is a JWT; the next two are of its payload */
    struct span cnf_jkt;
    uint32_t lifetime;      /* seconds from iat to exp; 0: not known */
    struct list challenges; /* every WWW-Authenticate header's value */
    struct span failure;    /* error_message: there is no answer. Then only `sent` and `trace` count besides */
    bool sent;              /* the request may have reached the server, in whole or in part */
    struct span trace;      /* the exchange as the session log shows it: lines, secrets masked */
    struct span id_token;   /* id_token_message: the claims of an id_token in the answer; absent: there is none */
    bool id_token_unreadable; /* there is one, but it is no JWT with claims that can be read */
    struct span subject;    /* `sub` of the access token, if it is a JWT */
};
struct id_token_message {
    struct span iss, sub, nonce, azp;
    struct list aud;
    uint64_t exp, iat; /* 0: none */
};
enum json_kind { JSON_KIND_TEXT = 1, JSON_KIND_INTEGER, JSON_KIND_TRUE, JSON_KIND_FALSE, JSON_KIND_NULL,
                 JSON_KIND_TEXTS, JSON_KIND_OTHER };
struct json_member {
    struct span name;
    uint16_t kind;
    struct span text;  /* JSON_KIND_TEXT: decoded; JSON_KIND_OTHER: the JSON itself */
    uint64_t integer;  /* JSON_KIND_INTEGER: two's complement */
    struct list texts; /* JSON_KIND_TEXTS: an array of strings */
};

struct redirect_open {
    struct span profile;
    struct span redirect_uri; /* http, a loopback address; port 0 or none: an ephemeral one */
    uint32_t timeout;         /* milliseconds, then the listener closes by itself */
};
struct redirect_opened {
    uint32_t listener;        /* number of the listener */
    struct span redirect_uri; /* with its port */
};
struct redirect_wait {
    uint32_t listener;
};
struct redirect_came {
    struct span query; /* of the one request that came for the redirect URI; listening has ended */
};
struct redirect_close {
    uint32_t listener;
    bool success;
    struct span text; /* the page that the browser waits for says it; closes the listener if nobody came */
};

/* init writes a new [profile] into the configuration, and a secret into a file beside it. */
struct add_profile {
    struct span name;
    struct list options;       /* "option = value" */
    struct span client_secret; /* absent: none */
    struct span registration;  /* JSON: registration_client_uri and registration_access_token, kept beside it; absent:
                                  none */
};
struct profile_added {
    struct span configuration; /* path */
    struct span secret_file;   /* path; absent: none */
};

/* The configuration's [key …] sections, changed by init. */
struct add_key {
    struct span name;
    struct span like; /* whose pin, environment, workers and origins options are copied */
    struct span uri, jkt;
    bool imported;    /* allow-imported = yes */
};
struct remove_key {
    struct span name;
    bool check; /* says what would be removed, and changes nothing */
};
struct switch_key {
    struct span name; /* gets uri, thumbprint and allow-imported of `next`, whose section goes */
    struct span next;
};
struct keys_changed {
    struct span configuration; /* path */
    struct list profiles;      /* texts: profiles that were commented out with their key */
};

struct reload_checked {
    struct span error; /* error_message; absent: the configuration is good */
};

struct child_message {
    uint32_t id; /* never used again */
    uint16_t role;
    struct span name; /* key processes: the key's name, worker in `worker`; net-tls: the profile's */
    uint16_t worker;
    uint32_t pid;
    uint32_t starts; /* how often this child has been started */
    struct span reason; /* INTERNAL_CHILD_ENDED: how it ended */
};
struct kill_message {
    uint32_t id;
    struct span reason;
};

extern const struct message message_data_key_request, message_data_key_answer, message_store_public, message_store_key,
    message_login_record, message_login_name, message_login_loaded, message_login_save, message_trace_write,
    message_id_token_message, message_redirect_open, message_redirect_opened, message_redirect_wait,
    message_redirect_came,
    message_redirect_close, message_add_profile, message_profile_added, message_reload_checked, message_sealed_pin,
    message_kept_pin, message_make_key, message_import_key, message_made_key, message_destroy_key, message_add_key,
    message_remove_key, message_switch_key, message_keys_changed;
extern const struct message message_key_ready, message_pin_load, message_pin_records, message_pin_record,
    message_sign_request, message_sign_answer, message_fetch_request, message_fetch_answer, message_json_member,
    message_child_message, message_kill_message;

#endif
