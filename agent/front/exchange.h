/*
 * One token request: metadata, the form of its grant, the request (as_request.h), and the answer made into a token or
 * an error. Every grant and every refresh goes through here, so that every answer is judged in the same way: its type
 * against the profile's dpop policy, its key, its lifetime, its id_token.
 */
#ifndef FRONT_EXCHANGE_H
#define FRONT_EXCHANGE_H

#include "as_request.h"
#include "front.h"

struct exchange_request {
    const struct profile_config *profile;
    struct key_swap swap;            /* see as_request.h */
    const char *stage;               /* "token request" or "refresh" */
    const char *grant_type;          /* a literal */
    struct span grant_form;          /* the grant's own parameters, encoded; may be empty */
    struct span scope;               /* absent: none is asked for */
    const struct strings *resources; /* must live until `done`; NULL: none */
    bool audiences;                  /* the profile's audience and authorization-details go with it */
    bool precious, nonces, token_files, grant_assertion; /* see as_request.h */
    bool user;                       /* a user is logged in by it: an id_token is checked, */
    struct span id_token_nonce;      /* against this (absent: none was sent), which must live until `done`, */
    struct span subject;             /* and this (absent: any), too */
    uint64_t deadline;
};

struct granted {
    struct span access_token; /* absent after a failure */
    struct span token_type;   /* "DPoP" or "Bearer" */
    struct span scope;        /* absent: as asked for (RFC 6749 section 5.1) */
    const char *jkt;          /* of the key that signed the proof */
    uint32_t lifetime;        /* seconds, */
    uint64_t asked;           /* counted from here: the moment before the request (front_now) */
    struct span refresh_token; /* absent: the server gave none */
    struct span subject;      /* absent: not told */
    struct span raw;          /* JSON: the answer's other members */
};

struct exchange_result {
    bool in_doubt; /* the request may have reached the server, and no answer could be read */
    bool answered; /* the request was, with whatever; a failure before it (metadata, a nonce's probe) is none of it */
    bool nonces;   /* the server has asked for nonces */
};

/*
 * Called once. `err` NULL: the token; what it has lives during the call. After a failure `granted` is NULL, or has
 * nothing but a refresh token: one that was delivered with an answer that is otherwise of no use.
 */
typedef void (*exchange_done)(void *context, const struct error *err, const struct granted *granted,
                              const struct exchange_result *result);

void exchange_start(struct front *f, const struct exchange_request *request, exchange_done done, void *context);

#endif
