/*
 * What the agent reads in an access token that is a JWT (RFC 7519): whom it is bound to (RFC 9449 section 6.1) and
 * how long it lives. Nothing is verified: that is the resource server's part. An opaque token is simply not a JWT.
 */
#ifndef NET_JWT_H
#define NET_JWT_H

#include "messages.h"

struct jwt {
    bool bound;                   /* the payload has cnf.jkt */
    char cnf_jkt[LIMIT_TEXT + 1]; /* empty if it is there and cannot be a thumbprint, so that it equals no key's */
    uint32_t lifetime;            /* exp - iat; 0: not known */
};

/* Is it a compact JWS whose header and payload are JSON objects? Then fills `out`. */
bool jwt_read(struct span token, struct jwt *out);

#endif
