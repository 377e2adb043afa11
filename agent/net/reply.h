/* The fetch_answer (internal.h) of a transfer that ended: a server's answer, or the failure. */
#ifndef NET_REPLY_H
#define NET_REPLY_H

#include "headers.h"
#include "json_answer.h"

/* Puts a frame behind what `out` holds. `trace` may be empty. */
void reply_put(struct buffer *out, uint32_t request, uint16_t http_status, const struct headers *headers,
               const struct json_answer *json, struct span trace, time_t now);
/* `sent`: some of the request may have gone out. */
void reply_put_failure(struct buffer *out, uint32_t request, const struct error *err, bool sent, struct span trace);

#endif
