/* A server's answer as JSON again, for who wants more of it than the agent reads: `raw` of tokens, introspection. */
#ifndef FRONT_RAW_JSON_H
#define FRONT_RAW_JSON_H

#include "internal.h"

/* Appends an object of the answer's members except those in `without` (ends with NULL). Without control characters, so that it
   is text (text.h); a failure sticks in `out`. */
void raw_json_put(struct buffer *out, const struct fetch_answer *a, const char *const *without);

#endif
