/*
 * Attempt handles: what an authorize used, given to the application and back in outcome and in the next authorize.
 *
 * The handle itself holds everything (profile, origin, token, nonce, how often was sent), authenticated with a key of this
 * process, so that the front keeps nothing for attempts that are never heard of again. A handle from before a restart of
 * the front is no error: it stands for an attempt of which nothing is known.
 * Pure.
 */
#ifndef FRONT_ATTEMPT_H
#define FRONT_ATTEMPT_H

#include "jwk.h"
#include "messages.h"
#include "nonce.h"
#include "url.h"

#define ATTEMPT_KEY_SIZE 32

struct attempt {
    char profile[LIMIT_NAME + 1];
    char origin[URL_ORIGIN_SIZE];
    char jkt[JWK_THUMBPRINT_SIZE];
    uint64_t token_serial;
    bool has_nonce;
    uint8_t nonce[NONCE_DIGEST_SIZE];
    uint16_t sends;         /* this one included */
    uint16_t nonce_retries; /* sends with another nonce than the one before, and the same token */
    uint16_t refreshes;     /* sends with another token than the one before */
    int64_t skew;           /* what was added to our clock */
    uint16_t clock_retries; /* sends with another skew than the one before */
};

void attempt_put(const struct attempt *a, const uint8_t key[ATTEMPT_KEY_SIZE], struct buffer *out);
/* -1: not a handle of this process. */
int attempt_take(struct span handle, const uint8_t key[ATTEMPT_KEY_SIZE], struct attempt *out) MUST_CHECK;

#endif
