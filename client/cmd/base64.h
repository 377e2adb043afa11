/* Base64 (RFC 4648): base64url without padding for JWKs and proofs, base64 with padding for bodies in JSON. */
#ifndef CMD_BASE64_H
#define CMD_BASE64_H

#include "buffer.h"

void base64_put(struct buffer *out, struct span data);
void base64_put_url(struct buffer *out, struct span data);
int base64_take_url(struct buffer *out, struct span text) MUST_CHECK; /* -1: it is not base64url */

#endif
