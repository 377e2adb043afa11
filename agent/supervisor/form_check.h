/*
 * Further fields of a request, `name=value`: `form`, `authorization-form` and their like. What the agent sets at that
 * endpoint itself cannot be replaced, and must not come twice (RFC 6749 sections 3.1 and 3.2).
 */
#ifndef SUPERVISOR_FORM_CHECK_H
#define SUPERVISOR_FORM_CHECK_H

#include "config.h"

/* Other options pass. */
enum status form_check(const struct config *c, const struct config_entry *e, struct error *err) MUST_CHECK;

#endif
