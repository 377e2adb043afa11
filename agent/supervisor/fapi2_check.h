/*
 * `fapi2 = yes`: whatever in a profile is weaker than the FAPI 2.0 Security Profile asks of a client (section 5.3.3) is an
 * error. What only the server's metadata show, and pushed authorization requests, the front sees to.
 */
#ifndef SUPERVISOR_FAPI2_CHECK_H
#define SUPERVISOR_FAPI2_CHECK_H

#include "config.h"

/* A profile without it passes. */
enum status fapi2_check(const struct config *c, const struct profile_config *p, struct error *err) MUST_CHECK;

#endif
