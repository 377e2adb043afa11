/* Values of a token request that come from outside: are they what the standards allow? */
#ifndef DECIDE_OAUTH_VALUE_H
#define DECIDE_OAUTH_VALUE_H

#include "buffer.h"

/* RFC 6749 section 3.3: words of %x21 / %x23-5B / %x5D-7E; more than one blank between them is no matter. */
bool oauth_scope_valid(struct span scope);
/* RFC 8707 section 2: an absolute URI without a fragment; it need not be a URL. */
bool oauth_resource_valid(struct span resource);

#endif
