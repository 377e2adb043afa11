/*
 * The messages between applications and the agent: operations, structs and their tables. PROTOCOL.md is the normative
 * text; each struct here is one section of it, in the same order and with the same words.
 *
 * An absent text is a span with data == NULL, an absent number is 0.
 */
#ifndef PROTO_MESSAGES_H
#define PROTO_MESSAGES_H

#include "frame.h"
#include "message.h"

#define PROTOCOL_VERSION_MIN 1
#define PROTOCOL_VERSION_MAX 1

enum operation {
    OPERATION_HELLO = 1,
    OPERATION_STATUS = 2,
    OPERATION_KEYS = 3,
    OPERATION_PROFILES = 4,
    OPERATION_PROOF = 5,
    OPERATION_TOKEN = 6,
    OPERATION_AUTHORIZE = 7,
    OPERATION_OUTCOME = 8,
    OPERATION_INIT = 9,
    OPERATION_LOGIN_BEGIN = 10,
    OPERATION_LOGIN_WAIT = 11,
    OPERATION_LOGIN_REDIRECT = 12,
    OPERATION_LOGIN_CANCEL = 13,
    OPERATION_LOGOUT = 14,
    OPERATION_INTROSPECT = 15,
    OPERATION_PROFILE_TEST = 16,
    OPERATION_TRACE = 17,
    OPERATION_REGISTER = 18,
    OPERATION_KEY_CSR = 19,
    OPERATION_KEY_CERT = 20,
    OPERATION_RELOAD = 21,
    OPERATION_KEY_GENERATE = 22,
    OPERATION_KEY_IMPORT = 23,
    OPERATION_KEY_DELETE = 24,
    OPERATION_KEY_PREPARE = 25,
    OPERATION_KEY_COMMIT = 26,
    OPERATION_UNLOCK = 27,
    OPERATION_LOCK = 28,

    OPERATION_ANSWER = 0x8000, /* an answer's operation is its request's with this bit */
    OPERATION_ERROR = 0xffff,  /* the answer to a request that failed */
};

#define LIMIT_NAME 64            /* names of keys and profiles */
#define LIMIT_TEXT 1024          /* texts for people */
#define LIMIT_URL 8192
#define LIMIT_NONCE 4096         /* RFC 9449 sets no limit; no real server comes near */
#define LIMIT_ACCESS_TOKEN 65536
#define LIMIT_SCOPE 8192
#define LIMIT_HEADER_VALUE 16384
#define LIMIT_ATTEMPT 1024
#define LIMIT_PROOF 32768
#define LIMIT_NESTED 65536
#define LIMIT_LOGIN 32           /* login handles */
#define LIMIT_ASSERTION 65536    /* assertions, subject and actor tokens */
#define LIMIT_DESCRIPTORS 2      /* that one request may carry (SCM_RIGHTS) */
#define LIMIT_PIN 256
#define LIMIT_KEY_FILE 65536

struct hello_request {
    uint16_t version_min, version_max;
    struct span client; /* the program's name, for logs */
};
struct hello_answer {
    uint16_t version;
    uint32_t max_frame;
    struct span agent; /* "dpop-agent 0.1.0" */
};

struct empty_message {
    bool unused;
};

struct status_answer {
    struct span agent;
    uint32_t pid;
    uint64_t uptime; /* seconds */
    struct span configuration; /* the file's path, or absent: not configured */
    uint32_t connections;
    uint32_t requests_waiting;
    uint32_t tokens_cached;
    struct list processes; /* process_info */
    struct list keys;      /* key_info */
    struct list profiles;  /* profile_info */
};
struct process_info {
    struct span name;  /* "net", "store", "key work 0" */
    struct span state; /* "ready", "starting", "ended" */
    uint32_t pid;
    uint32_t starts;
};

#define KEY_SENSITIVE 1U
#define KEY_ALWAYS_SENSITIVE 2U
#define KEY_EXTRACTABLE 4U
#define KEY_NEVER_EXTRACTABLE 8U
#define KEY_LOCAL 16U
#define KEY_PRIVATE 32U
#define KEY_SIGN 64U
#define KEY_ALWAYS_AUTHENTICATE 128U

struct key_info {
    struct span name;
    struct span uri;
    struct span state;     /* "ready", "starting", "recovering", "absent", "locked", "wrong key", "unfit", "failed" */
    struct span reason;    /* why it is not ready */
    struct span next;      /* what to do next */
    struct span jkt;       /* RFC 7638 thumbprint; the fields from here on are there once the key has been seen */
    struct span x, y;      /* 32 bytes each */
    uint32_t attributes;   /* KEY_* */
    bool imported;
    struct span token;     /* token label */
    struct span model;     /* "SoftHSM v2" */
    uint16_t workers;
    uint32_t waiting;      /* signatures in the queue */
    uint64_t signatures;   /* made since the agent started */
    uint32_t sign_time;    /* microseconds that the token takes for a signature, a moving average; 0: none made yet */
    uint32_t stalled;      /* milliseconds that the oldest request has been at the token */
    uint32_t recoveries;   /* how often the key came back after a failure */
    struct span warning;   /* what the token says about its PIN: tries that were wrong, or are left */
};
struct keys_answer {
    struct list keys; /* key_info */
};

struct profile_info {
    struct span name;
    struct span key;
    struct span issuer;
    struct span token_endpoint;
    struct span client_id;
    struct span client_authentication;
    struct span grant;
    struct span scope;
    struct list resources;
    struct list origins;
    struct span state;      /* "no token", "token", "fetching", "failed" */
    struct span reason;     /* the last failure */
    uint32_t expires_in;    /* seconds that the token of the profile's own scope and resource has left */
    struct span login;      /* "logged in", "login required", "in doubt", "loading"; absent: its grant needs no login */
    struct span login_reason; /* why it is not "logged in", or why it is not kept on disk */
    struct span subject;    /* who is logged in, where the server told (id_token or the token's sub) */
    bool persisted;         /* the refresh token is on disk, sealed */
    struct span dpop;       /* "required", "refresh-only", "optional" */
};
struct profiles_answer {
    struct list profiles; /* profile_info */
};

struct proof_request {
    struct span key;     /* either key or profile, or neither: the only key there is */
    struct span profile;
    struct span htm;
    struct span htu;     /* the URL; query and fragment are dropped */
    struct span nonce;
    struct span access_token; /* either this or ath or neither */
    struct span ath;
    uint32_t timeout; /* milliseconds; 0: the agent's default */
};
struct proof_answer {
    struct span proof;
    struct span htu; /* the claim as it stands in the proof */
    struct span jkt;
};

struct token_request {
    struct span profile;
    struct span scope;     /* absent: the profile's */
    struct list resources; /* none: the profile's */
    uint32_t min_valid;    /* seconds */
    bool force;            /* a new token, whatever the cache holds */
    uint32_t timeout;      /* milliseconds; 0: the agent's default */
    bool raw;              /* the other members of the server's answer are wanted */
    struct span subject_token, subject_token_type; /* token-exchange: instead of the profile's (RFC 8693) */
    struct span actor_token, actor_token_type;
    struct span assertion; /* jwt-bearer: instead of the profile's (RFC 7523) */
};
struct token_answer {
    struct span access_token;
    struct span token_type; /* "DPoP"; "Bearer" only where the profile's dpop option allows it */
    uint32_t expires_in; /* seconds left, rounded down */
    uint64_t expires_at; /* seconds since 1970, by the agent's wall clock */
    struct span scope;
    struct span jkt;
    struct span raw; /* JSON object: the other members of the server's answer, never the refresh token */
};

struct authorize_request {
    struct span profile;
    struct span htm;
    struct span url;
    struct span attempt; /* of the earlier authorize, after its outcome was retry or refresh */
    struct span scope;
    struct list resources;
    uint32_t timeout;
};
struct authorize_answer {
    struct span url;           /* normalised: send exactly this */
    struct span authorization; /* value of the Authorization header */
    struct span dpop;          /* value of the DPoP header; absent: the token is a Bearer token, which the profile
                                  allows */
    struct span attempt;
};

enum verdict {
    VERDICT_DONE = 1,    /* the answer stands, whatever its status */
    VERDICT_RETRY = 2,   /* authorize again with the attempt, send again */
    VERDICT_REFRESH = 3, /* as retry; the next authorize brings another token */
    VERDICT_LOGIN = 4,   /* a user has to log in */
    VERDICT_FAIL = 5,    /* refused, and another send would be refused too */
};

struct outcome_request {
    struct span attempt;
    uint16_t http_status;
    struct span date;       /* value of the Date header */
    struct list nonces;     /* every DPoP-Nonce header's value */
    struct list challenges; /* every WWW-Authenticate header's value */
};
struct outcome_answer {
    uint16_t verdict;
    struct span reason;
};

/* May carry one descriptor, the PIN's (a pipe or file; the end of the line or file ends the PIN). */
struct init_request {
    struct span name;        /* of the key; "default" when absent */
    struct span module;      /* path of a PKCS#11 module: its first blank token is initialised */
    struct span kind;        /* "tpm" or "softhsm": that one; absent, like the others: the best token there is */
    struct span token;       /* PKCS#11 URI of a token that is initialised already; with object or id: of a key in it */
    struct list environment; /* NAME=value for the module */
    bool pin;                /* the descriptor is there: the PIN of a token that is initialised already */
    bool keep_pin;           /* the PIN is written into a file of mode 0600, else it is given with unlock */
};
struct init_answer {
    struct span uri;
    struct span jkt;
    struct span configuration; /* paths of what was made */
    struct span token_folder;
    struct span pin_file;      /* absent: the PIN is not kept; unlock is next */
    struct span reason;        /* why this token and no better one */
    struct span model;
};

struct login_begin_request {
    struct span profile;
    bool device;      /* the device authorization grant (RFC 8628), whatever the profile's grant is */
    uint32_t timeout; /* milliseconds until the answer; the login itself has the profile's login-timeout */
};
struct login_begin_answer {
    struct span login;        /* handle, for the other login operations */
    struct span url;          /* to open in the user's browser; absent for a device */
    struct span redirect_uri; /* where the agent listens for the browser */
    struct span user_code;    /* device: to be typed at verification_uri */
    struct span verification_uri;
    struct span verification_uri_complete;
    uint32_t expires_in;      /* seconds that the user has */
};
struct login_wait_request {
    struct span login;
    uint32_t timeout; /* milliseconds */
};
struct login_wait_answer {
    struct span profile;
    struct span subject; /* absent: the server did not tell */
    struct span scope;
    struct span jkt;
    struct span token_type;
    uint32_t expires_in; /* seconds, of the access token */
    bool refresh;        /* there is a refresh token */
    bool persisted;      /* it is on disk, sealed */
    struct span note;    /* why it is not */
};
struct login_redirect_request {
    struct span login;
    struct span url; /* where the user's browser was sent, as copied from its address line */
};
struct login_cancel_request {
    struct span login;
};

struct logout_request {
    struct span profile;
    uint32_t timeout;
};
struct logout_answer {
    bool logged_in;  /* there was something to log out of */
    bool revoked;    /* the server has revoked it (RFC 7009) */
    struct span note; /* why it has not */
};

struct introspect_request {
    struct span profile;
    struct span scope; /* which token, as in token_request; none is fetched */
    struct list resources;
    uint32_t timeout;
};
struct introspect_answer {
    bool active;
    struct span claims; /* JSON object: the server's answer (RFC 7662 section 2.2) */
};

struct profile_test_request {
    struct span profile;
    uint32_t timeout;
};
struct profile_test_answer {
    struct list checks; /* check_info */
};
struct check_info {
    struct span name;   /* "key", "discovery", "dpop", "clock", "client authentication", … */
    uint16_t result;    /* enum check_result */
    struct span detail; /* what was seen, or what is wrong */
    struct span next;
};
enum check_result { CHECK_PASSED = 1, CHECK_FAILED = 2, CHECK_NOT_TRIED = 3, CHECK_WARNING = 4 };

struct trace_request {
    struct span profile;
    uint64_t after;   /* sequence number; 0: all that is kept */
    uint32_t timeout; /* milliseconds to wait for the next entry if there is none; 0: do not wait */
};
struct trace_answer {
    struct list entries; /* trace_entry */
};
struct trace_entry {
    uint64_t sequence;
    uint64_t time;    /* seconds since 1970 */
    struct span text; /* lines, secrets masked */
};

struct register_request {
    struct span name;     /* of the new profile */
    struct span key;      /* absent: the only key */
    struct span issuer;   /* either this or resource */
    struct span resource; /* an API's URL: its metadata name the issuer (RFC 9728) */
    struct span client_authentication; /* absent: private_key_jwt, else what the server supports */
    struct span grant;    /* absent: authorization_code */
    struct span scope;
    struct list origins;  /* none: that of the resource */
    struct span client_name;
    struct span initial_access_token;
    struct span ca_file;
    bool allow_http_loopback;
    uint32_t timeout;
};
struct register_answer {
    struct span profile;
    struct span issuer;
    struct span client_id;
    struct span client_authentication;
    struct span configuration; /* path of the file that has the new profile */
    struct span secret_file;   /* path; absent: the server gave no secret */
};

struct key_csr_request {
    struct span key;     /* absent: the only key */
    struct span subject; /* "CN=app,O=Example" (RFC 4514) */
    uint32_t timeout;
};
struct key_cert_request {
    struct span key;
    struct span subject;
    uint32_t days;       /* 0: 365 */
    uint32_t timeout;
};
struct pem_answer {
    struct span pem;
};

struct key_generate_request {
    struct span name; /* of the new key, and its label in the token */
    struct span like; /* the key in whose token it is made; absent: the only key */
    uint32_t timeout;
};
/* Carries the file's descriptor, then, if `password`, that of its password. */
struct key_import_request {
    struct span name;
    struct span like;
    bool password;
    uint32_t timeout;
};
struct key_made_answer {
    struct span name;
    struct span uri;
    struct span jkt;
    struct span x, y; /* 32 bytes each */
    bool imported;
    struct span configuration;  /* path of the file that has the new key */
    struct list authenticates;  /* texts: profiles whose client authenticates with the key that this one is to
                                   replace */
};
struct key_delete_request {
    struct span key;
    uint32_t timeout;
};
struct key_delete_answer {
    struct list bound;         /* bound_info: profiles that used the key; they are commented out in the configuration */
    struct span configuration;
};
/* What became of the tokens of one profile that were bound to a key. */
struct bound_info {
    struct span profile;
    bool revoked;   /* all that the server takes back (RFC 7009) */
    bool login_due; /* a user has to log in again */
    struct span note; /* what could not be revoked, and why */
};
struct key_prepare_request { /* answered by key_made_answer */
    struct span key;
    uint32_t timeout;
};
struct key_commit_request {
    struct span key;
    uint32_t timeout;
};
struct key_commit_answer {
    struct span jkt, old_jkt;
    struct list bound;         /* bound_info */
    struct span configuration;
    struct span note;          /* what is left of the old key; absent: nothing */
};

/* Carries one descriptor, the PIN's. */
struct unlock_request {
    struct span key; /* absent: the only key */
    uint32_t timeout;
};
struct lock_request {
    struct span key;
};
struct unlock_answer { /* of lock, too */
    struct span token;  /* its label; absent: not known */
    struct list keys;   /* texts: all keys in that token */
};

struct error_message {
    uint16_t status;
    bool retryable;
    uint16_t http_status;
    uint32_t retry_after; /* seconds */
    struct span message;
    struct span next;
    struct span oauth_error;
    struct span oauth_description;
    struct span oauth_uri;
    struct span stage; /* what was being done: "discovery", "token request", … */
};

extern const struct message message_empty, message_hello_request, message_hello_answer, message_status_answer,
    message_process_info, message_key_info, message_keys_answer, message_profile_info, message_profiles_answer,
    message_proof_request, message_proof_answer, message_token_request, message_token_answer, message_authorize_request,
    message_authorize_answer, message_outcome_request, message_outcome_answer, message_init_request,
    message_init_answer,
    message_login_begin_request, message_login_begin_answer, message_login_wait_request, message_login_wait_answer,
    message_login_redirect_request, message_login_cancel_request, message_logout_request, message_logout_answer,
    message_introspect_request, message_introspect_answer, message_profile_test_request, message_profile_test_answer,
    message_check_info, message_trace_request, message_trace_answer, message_trace_entry, message_register_request,
    message_register_answer, message_key_csr_request, message_key_cert_request, message_pem_answer,
    message_key_generate_request, message_key_import_request, message_key_made_answer, message_key_delete_request,
    message_key_delete_answer, message_bound_info, message_key_prepare_request, message_key_commit_request,
    message_key_commit_answer, message_unlock_request, message_lock_request, message_unlock_answer, message_error;

/* An error as a frame, and back. */
void messages_put_error(struct buffer *b, uint32_t request, const struct error *e);
enum status messages_take_error(struct span fields, struct error *out) MUST_CHECK;

#endif
