/* Where a key stands in the profiles, besides signing their proofs. Pure. */
#ifndef FRONT_KEY_USE_H
#define FRONT_KEY_USE_H

#include "config.h"

/* Does the profile's client, or its assertion, authenticate with the key? Then a server has to know the key before it
   is used. */
bool key_use_authenticates(const struct profile_config *p, const char *key);
/* Does anything that the profile does need the key? */
bool key_use_any(const struct profile_config *p, const char *key);
/* Can it get a token with what is in the configuration: without a user, and without what an application gives? */
bool key_use_provable(const struct config *config, const struct profile_config *p);

#endif
