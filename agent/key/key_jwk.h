/*
 * A private key as a JWK (RFC 7517, RFC 7518 section 6.2): kty EC, crv P-256, with x, y and d of 32 bytes each. What
 * the JWK says of its use must allow signatures with ES256. Duplicate members are refused: two readers may take
 * different ones.
 */
#ifndef KEY_KEY_JWK_H
#define KEY_KEY_JWK_H

#include "private_key.h"

bool key_jwk_recognise(struct span file); /* the first character is a brace */
enum status key_jwk_read(struct span file, struct private_key *out, struct error *err) MUST_CHECK;

#endif
