/* One line `option = value`: is the value what the standards and our own parsers take? What other lines say matters only
   for the permission to speak plain http with a loopback address. */
#ifndef SUPERVISOR_VALUE_CHECK_H
#define SUPERVISOR_VALUE_CHECK_H

#include "config.h"

enum status value_check(const struct config *c, const struct config_entry *e, struct error *err) MUST_CHECK;
/* A URL that the agent itself sends requests to: https, or http to a loopback address that the profile allows. */
enum status value_check_url(const struct config *c, const struct config_entry *e, struct span text, struct error *err) MUST_CHECK;

#endif
