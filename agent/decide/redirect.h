/*
 * What the browser brings back from the authorization server (RFC 6749 section 4.1.2, RFC 9207), and whether it is the
 * answer to our request.
 *
 * redirect_read decodes the query. A parameter of ours that comes twice, is not UTF-8 or has control characters makes
 * it unreadable; other parameters are skipped, and an empty one is as good as none (RFC 6749 section 3.1). The texts
 * for people are cleaned instead of refused: servers are known to put line breaks in them.
 *
 * redirect_check looks at `state` first: without the right one nothing else in the query is believed, not even an
 * error.
 */
#ifndef DECIDE_REDIRECT_H
#define DECIDE_REDIRECT_H

#include "error.h"

#define REDIRECT_QUERY_MAX 16384
#define REDIRECT_CODE_MAX 8192

/* NULL: the query has none. */
struct redirect {
    char *code, *state, *iss;
    char *error, *error_description, *error_uri;
};

struct redirect_expected {
    const char *state;
    const char *issuer; /* NULL: the profile knows none; then `iss` is not compared */
    bool iss_required;  /* the server's metadata says that it sends one (RFC 9207 section 3), or the profile wants it */
    const char *where;  /* the profile's name, for errors */
};

/* `query` without `?`. *out is written only when all is well; redirect_free wipes and clears it. */
enum status redirect_read(struct span query, struct redirect *out, struct error *e) MUST_CHECK;
void redirect_free(struct redirect *redirect);

/*
 * STATUS_OK: there is a code, and it is the answer to our request. STATUS_SERVER_REFUSED: the server's `error`, with
 * its description and URI in the error. Otherwise STATUS_SERVER_MISBEHAVED.
 */
enum status redirect_check(const struct redirect *redirect, const struct redirect_expected *expected,
                           struct error *e) MUST_CHECK;

#endif
