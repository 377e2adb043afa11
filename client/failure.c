/* See failure.h. */
#include "failure.h"

#include "messages.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>

int failure_set(struct dpop_error *err, enum status status, const char *next, const char *format, ...)
{
    struct dpop_error e = {.status = (int)status, .retryable = status_retryable(status)};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e.message, sizeof(e.message), format, args);
    va_end(args);
    text_clean(e.message);
    (void)snprintf(e.next, sizeof(e.next), "%s", next != NULL ? next : "");
    text_clean(e.next);
    *err = e;
    return e.status;
}

int failure_take(struct dpop_error *err, struct span fields)
{
    struct error_message m;
    struct error why;
    if (message_take(fields, &message_error, &m, sizeof(m), &why) != STATUS_OK)
        return failure_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the agent's error cannot be read: %s", why.message);
    if (m.status == STATUS_OK)
        return failure_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the agent sent an error that says it is none");
    struct dpop_error e = {
        .status = m.status,
        .http_status = m.http_status,
        .retry_after = m.retry_after,
        .retryable = m.retryable,
    };
    error_put_text(e.message, sizeof(e.message), m.message.data != NULL ? m.message : span_text(status_text(m.status)));
    error_put_text(e.next, sizeof(e.next), m.next);
    error_put_text(e.oauth_error, sizeof(e.oauth_error), m.oauth_error);
    error_put_text(e.oauth_description, sizeof(e.oauth_description), m.oauth_description);
    error_put_text(e.oauth_uri, sizeof(e.oauth_uri), m.oauth_uri);
    error_put_text(e.stage, sizeof(e.stage), m.stage);
    *err = e;
    return e.status;
}
