/*
 * Where the answer of `dpop request` goes: standard output or a file, with its header lines (-i) or without; or, with
 * --json and without a file, into memory, to become one JSON value.
 *
 * The file is opened when the first byte of the final answer comes, so that a request that fails before leaves it as
 * it was.
 */
#ifndef CMD_REQUEST_SINK_H
#define CMD_REQUEST_SINK_H

#include "json.h"

struct request_sink {
    const char *path; /* NULL: standard output or memory */
    bool json;
    bool include; /* header lines before the body */
    FILE *file;
    struct buffer head; /* with json: the header lines */
    struct buffer body; /* with json and no path */
    char failure[256];  /* why a callback refused; empty: none did */
    const char *next;   /* what to do then; or NULL */
};

void request_sink_init(struct request_sink *s, const char *path, bool json, bool include);
size_t request_sink_header(char *data, size_t one, size_t len, void *sink); /* curl_write_callback */
size_t request_sink_body(char *data, size_t one, size_t len, void *sink);
int request_sink_finish(struct request_sink *s) MUST_CHECK; /* flushes and closes; -1: see failure */
void request_sink_free(struct request_sink *s);
void request_sink_json(const struct request_sink *s, struct json *j); /* the members headers, body or body_base64 */

#endif
