/*
 * How a profile comes to a token: by its grant. Client credentials, token exchange (RFC 8693) and JWT bearer (RFC 7523)
 * are one token request each; a profile with a login has its refresh token (logins.c).
 */
#ifndef FRONT_GRANTS_H
#define FRONT_GRANTS_H

#include "exchange.h"
#include "secret.h"
#include "token_kind.h"

/* What an application gave for this token instead of what the profile says. NULL: not given. */
struct grant_inputs {
    struct secret *subject_token, *actor_token, *assertion;
    char *subject_token_type, *actor_token_type;
};
void grant_inputs_free(struct grant_inputs *inputs);

struct grant_request {
    const struct profile_config *profile;
    struct key_swap swap;              /* see as_request.h; for a profile without logins */
    const struct token_kind *kind;
    bool own;                          /* of the profile's own scope and resources */
    struct span scope;                 /* absent: none is asked for */
    const struct strings *resources;   /* must live until `done`, and so must inputs */
    const struct grant_inputs *inputs;
    uint32_t min_valid;                /* seconds; for a token that is there already */
    bool force;
    uint64_t deadline;
};

void grants_fetch(struct front *f, const struct grant_request *request, exchange_done done, void *context);

#endif
