/*
 * What a configuration must mean, beyond its syntax: values that the children could use (config_check.c, value_check.c,
 * form_check.c), options of a profile that go together (profile_check.c) and, where a profile asks for it, the FAPI 2.0
 * Security Profile (fapi2_check.c). Asked by the supervisor before anybody gets a slice, so that a mistake is told with its
 * line and changes nothing.
 */
#ifndef SUPERVISOR_CONFIG_CHECK_H
#define SUPERVISOR_CONFIG_CHECK_H

#include "config.h"

enum status config_check(const struct config *c, struct error *err) MUST_CHECK;

#endif
