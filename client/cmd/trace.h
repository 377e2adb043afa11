/*
 * -v of `dpop request`: the header lines of every request and answer on standard error, secrets masked.
 *
 *     > Authorization: DPoP <masked>
 *     > DPoP: {"typ":"dpop+jwt",…} {"jti":"…","htm":"GET",…} <signature masked>
 *
 * libcurl gives header lines in pieces of any size: only whole lines are looked at and printed. Bodies and libcurl's
 * own remarks (which repeat header values on HTTP/2) are not shown.
 */
#ifndef CMD_TRACE_H
#define CMD_TRACE_H

#include "buffer.h"

#include <curl/curl.h>

struct trace {
    struct buffer out, in; /* the unfinished lines of either direction */
};

void trace_init(struct trace *t);
void trace_free(struct trace *t);
CURLcode trace_apply(struct trace *t, CURL *easy);

/* One line without its line break, as it is shown. `sent`: it is ours. */
void trace_line(struct buffer *shown, struct span line, bool sent);

#endif
