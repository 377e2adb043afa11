/* See fresh_proof.h. */
#include "fresh_proof.h"

#include <sodium.h>
#include <time.h>

enum status fresh_proof(const struct key_public *key, struct proof_claims *claims, int64_t skew, struct buffer *out,
                        uint8_t digest[JWK_DIGEST_SIZE], struct error *err)
{
    claims->iat = (int64_t)time(NULL) + skew;
    randombytes_buf(claims->jti, sizeof(claims->jti));
    buffer_clear(out);
    enum status status = proof_signing_input(&key->header, claims, out, err);
    if (status == STATUS_OK && proof_digest(buffer_span(out), digest) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "a proof cannot be hashed");
    return status;
}
