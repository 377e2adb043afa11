/* Proof Key for Code Exchange, S256 alone (RFC 7636): a new verifier for each authorization request. */
#ifndef DECIDE_PKCE_H
#define DECIDE_PKCE_H

#include "base64url.h"

#define PKCE_RANDOM_SIZE 32
#define PKCE_SIZE (BASE64URL_LENGTH(PKCE_RANDOM_SIZE) + 1) /* 44: of a verifier made here, and of a challenge */

void pkce_verifier(const uint8_t random[PKCE_RANDOM_SIZE], char out[PKCE_SIZE]);

/* -1: not 43 to 128 unreserved characters (section 4.1), or SHA-256 failed. */
int pkce_challenge(struct span verifier, char out[PKCE_SIZE]) MUST_CHECK;

#endif
