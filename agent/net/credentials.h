/*
 * How a client shows its secret to the token endpoint (RFC 6749 section 2.3.1).
 *
 * Both ways write the id and the secret form-encoded first. All copies stand in buffers, which wipe themselves.
 */
#ifndef NET_CREDENTIALS_H
#define NET_CREDENTIALS_H

#include "buffer.h"

#define CREDENTIALS_SECRET_MAX 4096

/* Appends the value of the Authorization header. */
void credentials_put_basic(struct buffer *out, struct span id, struct span secret);
/* Appends to the fields that `form` holds. */
void credentials_put_post(struct buffer *form, struct span id, struct span secret);

#endif
