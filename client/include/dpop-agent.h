/*
 * libdpop-agent: talk to a dpop-agent (an ssh-agent for OAuth) from an application.
 *
 * The agent holds the keys and the client secrets and obtains the tokens; this library needs nothing but libc.
 *
 *     struct dpop_agent *agent = NULL;
 *     struct dpop_authorization auth = {0};
 *     struct dpop_error err;
 *     if (dpop_agent_connect(&agent, NULL, 0, &err) != DPOP_OK ||
 *         dpop_agent_authorize(agent, &(struct dpop_authorize){.profile = "work", .method = "GET", .url = url},
 *                              &auth, &err))
 *         fprintf(stderr, "%s; %s\n", err.message, err.next);
 *     ... send GET auth.url with the headers "Authorization: " auth.authorization and, unless it is NULL,
 *         "DPoP: " auth.dpop ...
 *     ... then dpop_agent_outcome() says whether the answer stands or is worth another send ...
 *     dpop_authorization_clear(&auth);
 *     dpop_agent_close(&agent);
 *
 * Rules for every function here
 *  - It returns DPOP_OK (0) or a status code, the numbers of PROTOCOL.md section "Status codes"; `err`, which may be
 *    NULL, then says what failed, where, and what to do next. Outputs are written on success only.
 *  - Strings are UTF-8 and NUL-terminated. Inputs are copied. Results belong to the caller, who frees them with the
 *    result's _clear function, which wipes them.
 *  - Every call ends by its deadline: `timeout_ms` milliseconds after it began, 0 meaning DPOP_DEFAULT_TIMEOUT_MS. A
 *    call that ran into it gives DPOP_TIMEOUT, and the connection is still good.
 *  - A lost connection (agent restarted) is opened again by the next call. A call that the agent had not read when it
 *    ended or reloaded, or that it gave back undone (`restarted`), is made again by the library until its deadline, but
 *    for a token request with an assertion of the caller's that was given back: a server may take one only once. A call
 *    that the agent was at when it was killed gives DPOP_AGENT_UNREACHABLE.
 *  - One handle belongs to one thread at a time; there is no global state, no signal is raised, no descriptor is
 *    inherited.
 *  - Zero the structs that you fill: members that a later version adds are then at their defaults. Structs that grow
 *    change the library's soname and the version of its symbols (now LIBDPOP_AGENT_1), so that a program runs with
 *    the library it was compiled for, or not at all.
 */
#ifndef DPOP_AGENT_H
#define DPOP_AGENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DPOP_DEFAULT_TIMEOUT_MS 30000

/* Status codes that a program may want to tell apart; dpop_status_text() knows them all. */
enum dpop_status {
    DPOP_OK = 0,
    DPOP_INVALID_ARGUMENT = 20,
    DPOP_UNKNOWN_KEY = 21,
    DPOP_UNKNOWN_PROFILE = 22,
    DPOP_PEER_REFUSED = 40,
    DPOP_ORIGIN_REFUSED = 41,
    DPOP_INSECURE_URL = 42,
    DPOP_SERVER_REFUSED = 43,
    DPOP_TOKEN_NOT_DPOP = 44,
    DPOP_TOKEN_OTHER_KEY = 45,
    DPOP_TOKEN_TOO_SHORT = 46,
    DPOP_BUSY = 60,
    DPOP_TIMEOUT = 61,
    DPOP_KEY_ABSENT = 62,
    DPOP_KEY_LOCKED = 63,
    DPOP_NOT_CONFIGURED = 67,
    DPOP_SERVER_UNREACHABLE = 68,
    DPOP_SERVER_UNAVAILABLE = 69,
    DPOP_AGENT_UNREACHABLE = 73,
    DPOP_LOGIN_REQUIRED = 80,
    DPOP_SERVER_MISBEHAVED = 100,
    DPOP_AGENT_MISBEHAVED = 101,
    DPOP_NO_MEMORY = 121
};

/* What a caller can do about a failure; the dpop command's exit statuses. */
enum dpop_class {
    DPOP_CLASS_OK = 0,
    DPOP_CLASS_INTERNAL = 1,
    DPOP_CLASS_USAGE = 2,
    DPOP_CLASS_REFUSED = 3,
    DPOP_CLASS_UNAVAILABLE = 4,
    DPOP_CLASS_LOGIN = 5,
    DPOP_CLASS_PROTOCOL = 6
};

struct dpop_error {
    int status;             /* enum dpop_status, or another number of PROTOCOL.md */
    int http_status;        /* of the server's answer; 0: none */
    uint32_t retry_after;   /* seconds, as the server asked; 0: it did not */
    int retryable;          /* 1: the same call may succeed later without anybody doing anything */
    char message[512];      /* what failed, where */
    char next[256];         /* what to do next; may be empty */
    char oauth_error[128];  /* the server's `error` (RFC 6749 section 5.2); may be empty */
    char oauth_description[512];
    char oauth_uri[256];
    char stage[32];         /* what was being done: "discovery", "token request", "refresh", …; may be empty */
};

struct dpop_agent; /* a connection */

/* `socket`: a path, or NULL: $DPOP_AGENT_SOCKET, then the user's, then the system's socket. */
int dpop_agent_connect(struct dpop_agent **out, const char *socket, uint32_t timeout_ms, struct dpop_error *err);
void dpop_agent_close(struct dpop_agent **agent); /* closes, frees, and sets *agent to NULL; NULL is fine */

/* A DPoP proof (RFC 9449 section 4.2). */
struct dpop_proof_request {
    const char *key;          /* key or profile, or neither: the only key there is */
    const char *profile;
    const char *method;       /* htm; case-sensitive */
    const char *url;          /* becomes htu, without query and fragment; at most 8192 bytes */
    const char *nonce;        /* NULL: none */
    const char *access_token; /* NULL: none; its hash becomes ath. At most 65536 bytes */
    const char *ath;          /* instead of access_token: 43 base64url characters */
    uint32_t timeout_ms;
};
struct dpop_proof {
    char *proof; /* the value of the DPoP header */
    char *htu;   /* the claim in it */
    char *jkt;   /* the key's RFC 7638 thumbprint */
};
int dpop_agent_proof(struct dpop_agent *agent, const struct dpop_proof_request *request, struct dpop_proof *out,
                     struct dpop_error *err);
void dpop_proof_clear(struct dpop_proof *proof);

/* An access token for a profile, from the agent's cache or from the authorization server. */
struct dpop_token_request {
    const char *profile;
    const char *scope;            /* NULL: the profile's */
    const char *const *resources; /* RFC 8707; NULL: the profile's. NULL-terminated */
    uint32_t min_valid;           /* seconds that the token must live at the least; 0: any that has not expired */
    int force;                    /* 1: a new token, whatever the cache holds */
    uint32_t timeout_ms;
    int raw;                      /* 1: the other members of the server's answer, too */
    /* Instead of the profile's; at most 65536 bytes each. The first four for token exchange (RFC 8693, grant
     * token-exchange), the last for a JWT bearer grant (RFC 7523, grant jwt-bearer). */
    const char *subject_token, *subject_token_type;
    const char *actor_token, *actor_token_type;
    const char *assertion;
};
struct dpop_token {
    char *access_token;
    char *token_type;    /* "DPoP"; "Bearer" only where the profile's dpop option allows it */
    char *scope;         /* NULL: the server did not say, so it is what was asked for (RFC 6749 section 5.1) */
    char *jkt;
    uint32_t expires_in; /* seconds left */
    uint64_t expires_at; /* seconds since 1970, by the agent's wall clock */
    char *raw;           /* JSON object, never with the refresh token; NULL: not asked for */
};
int dpop_agent_token(struct dpop_agent *agent, const struct dpop_token_request *request, struct dpop_token *out,
                     struct dpop_error *err);
void dpop_token_clear(struct dpop_token *token);

/* Both header values for one send of a request (RFC 9449 section 7.1), in one round trip. */
struct dpop_authorize {
    const char *profile;
    const char *method;
    const char *url;
    const struct dpop_authorization *earlier; /* whose outcome was DPOP_RETRY or DPOP_REFRESH, else NULL; not `out` */
    const char *scope;
    const char *const *resources;
    uint32_t timeout_ms;
};
struct dpop_authorization {
    char *url;           /* normalised: send exactly this */
    char *authorization; /* "DPoP <access token>"; "Bearer <access token>" where the profile's dpop option allows it */
    char *dpop;          /* the proof. NULL with a Bearer token: send no DPoP header then */
    void *attempt;       /* for dpop_agent_outcome and .earlier; opaque */
    size_t attempt_len;
};
int dpop_agent_authorize(struct dpop_agent *agent, const struct dpop_authorize *request, struct dpop_authorization *out,
                         struct dpop_error *err);
void dpop_authorization_clear(struct dpop_authorization *authorization);

/*
 * Tells the agent how the resource server answered; it learns nonces from every answer and says what is worth doing.
 * After DPOP_OK, err->message holds the agent's reason for any verdict but DPOP_DONE (it may be empty).
 */
enum dpop_verdict {
    DPOP_DONE = 1,    /* the answer stands, whatever its status */
    DPOP_RETRY = 2,   /* authorize again with .earlier, and send again */
    DPOP_REFRESH = 3, /* likewise; the next authorize brings another token */
    DPOP_LOGIN = 4,   /* a user has to log in: dpop login */
    DPOP_FAIL = 5     /* refused, and another send would be refused too */
};
struct dpop_outcome {
    const struct dpop_authorization *attempt;
    int http_status;
    const char *date;              /* value of the Date header, or NULL */
    const char *const *nonces;     /* value of every DPoP-Nonce header, NULL-terminated; or NULL */
    const char *const *challenges; /* value of every WWW-Authenticate header, NULL-terminated; or NULL */
    uint32_t timeout_ms;
};
int dpop_agent_outcome(struct dpop_agent *agent, const struct dpop_outcome *outcome, enum dpop_verdict *verdict,
                       struct dpop_error *err);

/* What the authorization server says about the access token that the agent holds (RFC 7662); none is fetched. */
struct dpop_introspection_request {
    const char *profile;
    const char *scope;            /* which token, as in dpop_token_request */
    const char *const *resources;
    uint32_t timeout_ms;
};
struct dpop_introspection {
    int active;   /* 1: the server takes it for good */
    char *claims; /* JSON object: the server's answer */
};
int dpop_agent_introspect(struct dpop_agent *agent, const struct dpop_introspection_request *request,
                          struct dpop_introspection *out, struct dpop_error *err);
void dpop_introspection_clear(struct dpop_introspection *introspection);

const char *dpop_status_name(int status); /* "key-absent" */
const char *dpop_status_text(int status);
enum dpop_class dpop_status_class(int status);
const char *dpop_version(void);

#ifdef __cplusplus
}
#endif

#endif
