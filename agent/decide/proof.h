/*
 * A DPoP proof (RFC 9449 section 4.2) around a signature that is made elsewhere, in three steps:
 *
 *   proof_signing_input   base64url(header).base64url(payload), from claims that are checked here
 *   proof_digest          what the key process signs
 *   proof_append_signature
 *
 * The header is {"typ":"dpop+jwt","alg":"ES256","jwk":{…}} and nothing else. It depends on the key alone, so it is
 * encoded once per key; a proof costs the payload: jti, htm, htu, iat, and ath and nonce where they are given.
 * `htu` must come from htu_claim or htu_sent: here only its characters are checked.
 */
#ifndef DECIDE_PROOF_H
#define DECIDE_PROOF_H

#include "error.h"
#include "jwk.h"

#define PROOF_HTM_MAX 64
#define PROOF_JTI_BYTES 16
#define PROOF_ATH_SIZE (BASE64URL_LENGTH(JWK_DIGEST_SIZE) + 1)
#define PROOF_MAX 32768 /* no proof is longer: the greatest htu and nonce, encoded, and the rest */

/* The encoded header, computed once per key. */
struct proof_header {
    size_t len;
    char text[BASE64URL_LENGTH(sizeof("{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":}") + JWK_JSON_SIZE) + 1];
};

struct proof_claims {
    struct span htm;
    struct span htu;
    struct span ath;   /* absent: no access token goes with the request */
    struct span nonce; /* absent: the server gave none */
    int64_t iat;
    uint8_t jti[PROOF_JTI_BYTES]; /* fresh random bytes */
};

void proof_header_init(struct proof_header *header, const struct jwk *jwk);

/* Appends to `out`; nothing is appended on failure. */
enum status proof_signing_input(const struct proof_header *header, const struct proof_claims *claims,
                                struct buffer *out, struct error *e) MUST_CHECK;
int proof_digest(struct span signing_input, uint8_t digest[JWK_DIGEST_SIZE]) MUST_CHECK;
void proof_append_signature(struct buffer *out, const uint8_t signature[JWK_SIGNATURE_SIZE]);

/* -1: the token is empty or has characters that RFC 6749 appendix A.12 does not allow. */
int proof_ath(struct span access_token, char out[PROOF_ATH_SIZE]) MUST_CHECK;
bool proof_ath_valid(struct span ath); /* 43 characters of base64url that are 32 bytes */

#endif
