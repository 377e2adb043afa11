/*
 * Reading application/x-www-form-urlencoded, as decide/form.h writes it: what stands in a form that is sent, for the session
 * log and for "is this parameter there already". A percent sign without two hex digits stays as it is.
 */
#ifndef NET_FORM_FIELDS_H
#define NET_FORM_FIELDS_H

#include "buffer.h"

/* The next field of `rest`, decoded, in place of what the buffers hold. False: there is none. */
bool form_fields_next(struct span *rest, struct buffer *name, struct buffer *value);
bool form_fields_has(struct span form, const char *name);

#endif
