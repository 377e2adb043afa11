/* application/x-www-form-urlencoded (the URL Standard's serialiser, which RFC 6749 appendix B describes). */
#ifndef DECIDE_FORM_H
#define DECIDE_FORM_H

#include "buffer.h"

void form_put_encoded(struct buffer *out, struct span text);              /* one name or value */
void form_put(struct buffer *out, const char *name, struct span value);   /* [&]name=value */
void form_put_pair(struct buffer *out, const char *pair);                 /* [&]name=value of a "name=value" that is not encoded */

#endif
