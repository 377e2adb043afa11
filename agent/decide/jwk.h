/*
 * A public P-256 key as JOSE knows it (RFC 7517, RFC 7518 section 6.2.1): two coordinates, always 32 bytes each.
 *
 * Its JSON text has exactly the members crv, kty, x, y, in this order and without white space: that is the input of the
 * thumbprint (RFC 7638 section 3), and the same text goes into the header of a proof.
 */
#ifndef DECIDE_JWK_H
#define DECIDE_JWK_H

#include "base64url.h"

#define JWK_COORDINATE_SIZE 32
#define JWK_SIGNATURE_SIZE 64 /* r‖s, as JOSE (RFC 7518 section 3.4) and C_Sign write it */
#define JWK_DIGEST_SIZE 32
#define JWK_JSON_SIZE \
    (sizeof("{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"\",\"y\":\"\"}") + 2 * BASE64URL_LENGTH(JWK_COORDINATE_SIZE))
#define JWK_THUMBPRINT_SIZE (BASE64URL_LENGTH(JWK_DIGEST_SIZE) + 1)

struct jwk {
    uint8_t x[JWK_COORDINATE_SIZE];
    uint8_t y[JWK_COORDINATE_SIZE];
};

/* CKA_EC_POINT: 04‖x‖y in a DER OCTET STRING, or bare, as some modules give it; -1: other forms, not on the curve. */
int jwk_from_point(struct span ec_point, struct jwk *jwk) MUST_CHECK;

void jwk_json(const struct jwk *jwk, char out[JWK_JSON_SIZE]);
int jwk_thumbprint(const struct jwk *jwk, char out[JWK_THUMBPRINT_SIZE]) MUST_CHECK;

/* 0: the signature of the digest is good; -1: it is not, or it could not be checked. */
int jwk_verify(const struct jwk *jwk, const uint8_t digest[JWK_DIGEST_SIZE],
               const uint8_t signature[JWK_SIGNATURE_SIZE]) MUST_CHECK;

#endif
