/*
 * Where a profile's token endpoint is: named in the configuration, or discovered (RFC 8414, OpenID Connect Discovery).
 *
 * Discovered metadata are kept for an hour, and used on when they cannot be renewed. They must name exactly the issuer that
 * the configuration names, an https token endpoint, and, where they list DPoP algorithms, ES256.
 */
#ifndef FRONT_METADATA_H
#define FRONT_METADATA_H

#include "front.h"

/* `err` NULL: the token endpoint's URL, which lives during the call. */
typedef void (*metadata_done)(void *context, const struct error *err, const char *token_endpoint);

int metadata_open(struct front *f) MUST_CHECK;
void metadata_free(struct metadata *m);
void metadata_get(struct metadata *m, const struct profile_config *profile, uint64_t deadline, metadata_done done, void *context);
const char *metadata_token_endpoint(const struct metadata *m, const struct profile_config *profile); /* NULL: not known yet */

#endif
