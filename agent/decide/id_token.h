/*
 * Is this id_token for us? The rules of OpenID Connect Core 1.0 section 3.1.3.7, of 12.2 for a refresh.
 *
 * Its signature is not checked: it came from the token endpoint over TLS, which rule 6 takes for enough. Every failure
 * is STATUS_SERVER_MISBEHAVED and names the claim. More than one audience is fine when `azp` is this client.
 */
#ifndef DECIDE_ID_TOKEN_H
#define DECIDE_ID_TOKEN_H

#include "error.h"
#include "message.h"

#define ID_TOKEN_CLOCK_SKEW 300 /* seconds that exp may be past */

struct id_token_claims {
    struct span iss, sub, nonce, azp; /* absent: the token has none */
    struct list aud;                  /* a string is a list of one */
    int64_t exp, iat;
    bool has_exp, has_iat;
};

struct id_token_expected {
    struct span issuer; /* absent: the profile knows none; then `iss` must be there, and may be anything */
    struct span client_id;
    struct span nonce;   /* absent: none was sent */
    struct span subject; /* absent: any; after a refresh it is the one from before */
    int64_t now;         /* our clock, with what skew_get says for the token endpoint */
    const char *where;   /* the profile's name, for errors */
};

enum status id_token_check(const struct id_token_claims *claims, const struct id_token_expected *expected,
                           struct error *e) MUST_CHECK;

#endif
