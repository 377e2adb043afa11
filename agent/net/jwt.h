/*
 * What the agent reads in a JWT (RFC 7519). Nothing is verified: of an access token that is the resource server's part,
 * and an id_token came over TLS from the token endpoint. An opaque token is simply not a JWT.
 *
 * Of an access token: whom it is bound to (RFC 9449 section 6.1), how long it lives, and whose it is.
 */
#ifndef NET_JWT_H
#define NET_JWT_H

#include "messages.h"

#include <jansson.h>

struct jwt {
    bool bound;                   /* the payload has cnf.jkt */
    char cnf_jkt[LIMIT_TEXT + 1]; /* empty if it is there and cannot be a thumbprint, so that it equals no key's */
    uint32_t lifetime;            /* exp - iat; 0: not known */
    char subject[LIMIT_TEXT + 1]; /* empty: none, or none that is text of that size */
};

/* Is it a compact JWS whose header and payload are JSON objects? Then fills `out`. */
bool jwt_read(struct span token, struct jwt *out);

/* The two objects, each to be freed with json_decref. */
bool jwt_decode(struct span token, json_t **header, json_t **payload);

/* A thumbprint: false if there is none; what cannot be one becomes an empty text. */
bool jwt_thumbprint(const json_t *object_with_cnf, char out[LIMIT_TEXT + 1]);

/* An id_token's claims as an encoded id_token_message (internal.h) behind what `out` holds. -1: it is no JWT, or a claim is
   not of its type. */
int jwt_put_id_claims(struct span token, struct buffer *out) MUST_CHECK;

#endif
