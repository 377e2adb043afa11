/*
 * The messages between the agent's own processes, in the same frames and fields as the wire (proto/). Never versioned:
 * all processes are one binary.
 *
 *   key  → front   INTERNAL_KEY_READY, INTERNAL_KEY_FAILED (state; no answer), INTERNAL_PIN_LOAD, INTERNAL_PIN_RECORD
 *                  (the front passes these two on to the store; it grants PIN_LOAD to one process per token at a time)
 *   front → key    INTERNAL_SIGN
 *   front → net    INTERNAL_FETCH
 *   front → store  INTERNAL_PIN_LOAD, INTERNAL_PIN_RECORD
 *   front → init   INTERNAL_INIT (init_request, answered by init_answer)
 *   front ↔ supervisor, one message a packet: INTERNAL_CHILD (with a descriptor), INTERNAL_CHILD_ENDED, INTERNAL_KILL,
 *                  INTERNAL_START_INIT, INTERNAL_RELOAD
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
};

#define INTERNAL_FRAME_MAX (4 * 1024 * 1024)
#define PIN_SALT_SIZE 16
#define PIN_VERIFIER_SIZE 32

struct key_ready {
    struct span x, y;
    uint32_t attributes; /* KEY_* of messages.h */
    bool imported;
    struct span token, model;
};

/* INTERNAL_KEY_FAILED is an error_message (messages.h). */

struct pin_load {
    struct span token_id; /* module path, newline, token label: the front and the store only compare it */
};
struct pin_records {
    struct span salt;     /* PIN_SALT_SIZE bytes, the token's own */
    struct list refused;  /* verifiers (PIN_VERIFIER_SIZE bytes) of PINs that the token has refused */
    struct list trying;   /* verifiers of PINs whose log-in was begun and never reported on */
};
enum pin_verdict {
    PIN_TRYING = 1,
    PIN_ACCEPTED = 2,
    PIN_REFUSED = 3,
    PIN_UNKNOWN = 4, /* the token did not look at the PIN: forget that it was being tried */
};
struct pin_record {
    struct span token_id;
    struct span verifier;
    uint16_t verdict;
};

struct sign_request {
    struct span digest; /* 32 bytes */
};
struct sign_answer {
    struct span signature; /* r and s, 64 bytes */
};

struct fetch_request {
    struct span profile; /* whose CA, secret and limits */
    struct span url;
    struct span form;    /* application/x-www-form-urlencoded: a POST. Absent: a GET */
    struct span dpop;    /* value of the DPoP header */
    bool authenticate;   /* adds the client secret, if the profile authenticates with one */
    uint32_t timeout;    /* milliseconds */
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
};
enum json_kind { JSON_KIND_TEXT = 1, JSON_KIND_INTEGER, JSON_KIND_TRUE, JSON_KIND_FALSE, JSON_KIND_NULL, JSON_KIND_TEXTS, JSON_KIND_OTHER };
struct json_member {
    struct span name;
    uint16_t kind;
    struct span text;  /* JSON_KIND_TEXT: decoded; JSON_KIND_OTHER: the JSON itself */
    uint64_t integer;  /* JSON_KIND_INTEGER: two's complement */
    struct list texts; /* JSON_KIND_TEXTS: an array of strings */
};

struct child_message {
    uint32_t id; /* never used again */
    uint16_t role;
    struct span name; /* key processes: the key's name; worker in `worker` */
    uint16_t worker;
    uint32_t pid;
    uint32_t starts; /* how often this child has been started */
    struct span reason; /* INTERNAL_CHILD_ENDED: how it ended */
};
struct kill_message {
    uint32_t id;
    struct span reason;
};

extern const struct message message_key_ready, message_pin_load, message_pin_records, message_pin_record,
    message_sign_request, message_sign_answer, message_fetch_request, message_fetch_answer, message_json_member,
    message_child_message, message_kill_message;

#endif
