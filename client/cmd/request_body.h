/*
 * The body of `dpop request`: none, the text of -d, a file (-d @FILE) or standard input (-d @-).
 *
 * A regular file is read from where it stands and can be rewound, standard input included. A pipe cannot: it is
 * streamed in chunks and never sent twice. Nothing is buffered.
 */
#ifndef CMD_REQUEST_BODY_H
#define CMD_REQUEST_BODY_H

#include "dpop-agent.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <sys/types.h>

struct request_body {
    const char *text; /* NULL: not a text */
    int fd;           /* -1: not a file */
    off_t start, size; /* of a regular file */
    bool rewindable;
};

/* `data` is the value of -d, or NULL. */
int request_body_open(struct request_body *b, const char *data, struct dpop_error *err);
void request_body_close(struct request_body *b);
bool request_body_present(const struct request_body *b);
CURLcode request_body_apply(struct request_body *b, CURL *easy); /* sets POST and where the body comes from */
int request_body_rewind(void *body);

#endif
