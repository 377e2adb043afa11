/*
 * What is known of a profile's authorization server: named in the configuration, or discovered (RFC 8414, OpenID Connect
 * Discovery), with the issuer itself found through the API's metadata (RFC 9728) where the configuration names none.
 *
 * Discovered metadata are kept for an hour, and used on when they cannot be renewed. They must name exactly the issuer that
 * was asked for, https endpoints, and, where they list DPoP algorithms, ES256 (unless the profile's dpop option is
 * optional). What the configuration names counts before what was discovered; a profile with a TLS client certificate gets the
 * mtls_endpoint_aliases (RFC 8705 section 5) in the endpoints' places.
 */
#ifndef FRONT_METADATA_H
#define FRONT_METADATA_H

#include "front.h"

/* Texts are NULL where the server names none. */
struct server_metadata {
    char *issuer; /* NULL only where the profile names endpoints and no issuer */
    char *token_endpoint;
    char *authorization_endpoint;
    char *pushed_authorization_request_endpoint;
    char *device_authorization_endpoint;
    char *revocation_endpoint;
    char *introspection_endpoint;
    char *registration_endpoint;
    bool discovered; /* else the lists below say nothing */
    bool require_pushed_authorization_requests;
    bool authorization_response_iss_parameter_supported;
    struct strings dpop_signing_alg_values; /* empty: the server lists none; and so on */
    struct strings code_challenge_methods;
    struct strings token_endpoint_auth_methods;
    struct strings token_endpoint_auth_signing_alg_values;
    struct strings grant_types;
    char *date; /* the Date header of the document's answer */
};

/* `err` NULL: what is known, which lives during the call. */
typedef void (*metadata_done)(void *context, const struct error *err, const struct server_metadata *server);

int metadata_open(struct front *f) MUST_CHECK;
void metadata_free(struct metadata *m);
void metadata_get(struct metadata *m, const struct profile_config *profile, uint64_t deadline, metadata_done done, void *context);
/* The same for who wants to know how it is just now: fetched anew whatever is kept, in spite of back-off, and not judged by
   the profile's rules (ES256, fapi2), only by what holds for every document. */
void metadata_renew(struct metadata *m, const struct profile_config *profile, uint64_t deadline, metadata_done done, void *context);
const struct server_metadata *metadata_known(const struct metadata *m, const struct profile_config *profile); /* NULL: not yet */

/* A server that no profile names yet (registration): either issuer or resource is given. Nothing is kept. */
struct metadata_query {
    const char *issuer;
    const char *resource; /* an API's URL (RFC 9728) */
    const char *ca_file;
    bool allow_http_loopback;
};
void metadata_find(struct metadata *m, const struct metadata_query *query, uint64_t deadline, metadata_done done, void *context);

/* A tick, for deadlines of those who wait for another's fetch. */
void metadata_tick(struct metadata *m, uint64_t now);
bool metadata_waiting(const struct metadata *m);

#endif
