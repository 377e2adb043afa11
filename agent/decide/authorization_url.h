/* The URL that a user's browser opens: the authorization endpoint with the request's parameters behind it. */
#ifndef DECIDE_AUTHORIZATION_URL_H
#define DECIDE_AUTHORIZATION_URL_H

#include "buffer.h"

#define AUTHORIZATION_URL_SIZE 65536 /* browsers take more; what is longer than this is for PAR */

/*
 * `form` is encoded already (form_put). A query that the endpoint has is kept (RFC 6749 section 3.1).
 * -1 (nothing written): the endpoint has a fragment, which RFC 6749 forbids, or its query has a parameter that `form`
 * has too, or the URL does not fit.
 */
int authorization_url(const char *endpoint, struct span form, char *out, size_t size) MUST_CHECK;

#endif
