/*
 * Assertions (RFC 7523 and its update, which fixes `typ` and the audience): private_key_jwt client assertions, where issuer
 * and subject are the client id, and authorization grants.
 *
 * Header {"typ":"client-authentication+jwt","alg":"ES256","kid":…} ("authorization-grant+jwt" for a grant); payload iss, sub,
 * aud (the authorization server's issuer, as one string: an array or an endpoint's URL is what the update forbids), jti, iat,
 * exp. Single use: every attempt, retries included, builds a new one. Digest and signature are as for a proof:
 * proof_digest, proof_append_signature.
 */
#ifndef DECIDE_ASSERTION_H
#define DECIDE_ASSERTION_H

#include "error.h"
#include "jwk.h"

#define ASSERTION_JTI_BYTES 16
#define ASSERTION_LIFETIME_MAX 600 /* seconds; FAPI 2.0 wants it short */
#define ASSERTION_TEXT_MAX 2048    /* bytes of client id, issuer, kid */
#define ASSERTION_MAX 65536

struct assertion_claims {
    struct span issuer, subject, audience;
    struct span kid; /* absent: the key's thumbprint */
    bool grant;      /* an authorization grant, not a client's authentication */
    int64_t iat;
    uint32_t lifetime;                /* exp = iat + lifetime */
    uint8_t jti[ASSERTION_JTI_BYTES]; /* fresh random bytes */
};

/* Appends to `out`; nothing is appended on failure. */
enum status assertion_signing_input(const struct jwk *jwk, const struct assertion_claims *claims, struct buffer *out,
                                    struct error *e) MUST_CHECK;

#endif
