/* A proof as every send needs it: the claims that are given, the time of now, and a jti that was never used before. */
#ifndef FRONT_FRESH_PROOF_H
#define FRONT_FRESH_PROOF_H

#include "keys.h"

/* Replaces what `out` holds by the signing input, and gives its digest. `jti` and `iat` of `claims` are filled here;
   `skew`: seconds that the server's clock is known to be ahead of ours (skew.h). */
enum status fresh_proof(const struct key_public *key, struct proof_claims *claims, int64_t skew, struct buffer *out,
                        uint8_t digest[JWK_DIGEST_SIZE], struct error *err) MUST_CHECK;

#endif
