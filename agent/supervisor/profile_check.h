/* The options of one profile together: what must be there, what belongs to another grant or client authentication, and
   which keys and profiles it names. */
#ifndef SUPERVISOR_PROFILE_CHECK_H
#define SUPERVISOR_PROFILE_CHECK_H

#include "config.h"

enum status profile_check(const struct config *c, const struct profile_config *p, struct error *err) MUST_CHECK;

#endif
