/*
 * What a configuration must mean, beyond its syntax: URIs, URLs and origins that the children could use. Asked by the
 * supervisor before anybody gets a slice, so that a mistake is told with its line and changes nothing.
 */
#ifndef SUPERVISOR_CONFIG_CHECK_H
#define SUPERVISOR_CONFIG_CHECK_H

#include "config.h"

enum status config_check(const struct config *c, struct error *err) MUST_CHECK;

#endif
