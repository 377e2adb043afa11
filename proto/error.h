/*
 * What a failure says: its status, a sentence (what failed, where), the next step, and what an OAuth server said.
 *
 * Filled where the failure is noticed, carried unchanged through the processes and the wire to whoever reads it.
 * All text is cut to its array, and what is not plain text in it becomes '?': some of it comes from servers.
 */
#ifndef PROTO_ERROR_H
#define PROTO_ERROR_H

#include "buffer.h"
#include "status.h"

#include <stdint.h>

struct error {
    enum status status;
    uint16_t http_status; /* 0: no HTTP answer was involved */
    uint32_t retry_after; /* seconds; 0: the server named none */
    char message[512];
    char next[256];               /* what to do next; may be empty */
    char oauth_error[128];        /* RFC 6749 section 5.2 */
    char oauth_description[512];
    char oauth_uri[256];
    char stage[32]; /* what was being done: "discovery", "token request", "refresh", …; may be empty */
};

/* Clears the error, fills status, next step (NULL: none) and message, and returns the status. */
enum status error_set(struct error *e, enum status status, const char *next, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void error_put_text(char *out, size_t size, struct span text); /* cut, control characters replaced, terminated */

#endif
