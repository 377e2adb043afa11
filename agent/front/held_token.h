/*
 * An access token with what came with it. Whoever has one owns it, and may move it: struct assignment, then forget the
 * source.
 */
#ifndef FRONT_HELD_TOKEN_H
#define FRONT_HELD_TOKEN_H

#include "exchange.h"
#include "jwk.h"
#include "secret.h"

struct held_token {
    struct secret *access_token; /* NULL: there is none */
    char *scope, *raw;           /* NULL: not told */
    const char *type;            /* a literal: "DPoP" or "Bearer" */
    char jkt[JWK_THUMBPRINT_SIZE]; /* of the key that it was asked for with; empty: none */
    uint64_t asked, expires;     /* CLOCK_BOOTTIME, microseconds */
    int64_t expires_at;          /* wall clock, seconds */
};

/* What was there is dropped. -1: no memory, and it is still there. */
int held_token_take(struct held_token *t, const struct granted *granted, uint64_t now) MUST_CHECK;
void held_token_drop(struct held_token *t);

/* One that was taken out of the cache, of a list. */
struct taken_token {
    struct taken_token *next;
    const struct profile_config *profile;
    struct held_token token;
};
void taken_tokens_free(struct taken_token *first);

#endif
