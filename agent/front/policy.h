/*
 * Which origin a profile's tokens and proofs, or a key's proofs, may go to. Anything that is not named is refused.
 * Pure after policy_new: origins are normalised once, and a check is a comparison.
 */
#ifndef FRONT_POLICY_H
#define FRONT_POLICY_H

#include "config.h"

struct policy;

enum status policy_new(const struct config *config, struct policy **out, struct error *err) MUST_CHECK;
void policy_free(struct policy *p);
enum status policy_profile(const struct policy *p, const struct profile_config *profile, const char *origin,
                           struct error *err) MUST_CHECK;
/* For a proof that names only a key: the key's own origins, and those of the profiles that use it. */
enum status policy_key(const struct policy *p, const struct key_config *key, const char *origin, struct error *err) MUST_CHECK;

#endif
