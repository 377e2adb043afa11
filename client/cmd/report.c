/* See report.h. */
#include "report.h"

#include "dpop-agent-curl.h"
#include "failure.h"

#include <stdarg.h>

static const char *name_of(int status)
{
    switch (status) {
    case DPOP_CURL_TRANSFER_FAILED:
        return "transfer-failed";
    case DPOP_CURL_NOT_REWINDABLE:
        return "not-rewindable";
    case DPOP_CURL_REFUSED:
        return "request-refused";
    default:
        return dpop_status_name(status);
    }
}

int report_exit_status(int status)
{
    switch (status) {
    case DPOP_CURL_TRANSFER_FAILED:
    case DPOP_CURL_NOT_REWINDABLE:
        return DPOP_CLASS_UNAVAILABLE;
    case DPOP_CURL_REFUSED:
        return EXIT_HTTP_ERROR;
    default:
        return (int)dpop_status_class(status);
    }
}

/* NULL for an empty text, so that it becomes null. */
static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

void report_put_error(struct json *j, const struct dpop_error *err)
{
    json_open(j, "error", '{');
    json_text(j, "stage", or_null(err->stage));
    if (err->status >= 0)
        json_number(j, "status", (uint64_t)err->status);
    else
        json_text(j, "status", NULL);
    json_text(j, "name", name_of(err->status));
    json_text(j, "message", err->message);
    json_text(j, "next", or_null(err->next));
    json_bool(j, "retryable", err->retryable != 0);
    json_number(j, "retry_after", err->retry_after);
    json_number(j, "http_status", (uint64_t)err->http_status);
    json_text(j, "error", or_null(err->oauth_error));
    json_text(j, "error_description", or_null(err->oauth_description));
    json_text(j, "error_uri", or_null(err->oauth_uri));
    json_close(j, '}');
}

static void print_text(const struct dpop_error *err)
{
    (void)fprintf(stderr, "dpop: %s\n", err->message);
    if (err->stage[0] != '\0')
        (void)fprintf(stderr, "  stage: %s\n", err->stage);
    if (err->oauth_error[0] != '\0')
        (void)fprintf(stderr, "  server: %s%s%s\n", err->oauth_error, err->oauth_description[0] != '\0' ? ": " : "",
                      err->oauth_description);
    if (err->oauth_uri[0] != '\0')
        (void)fprintf(stderr, "  see: %s\n", err->oauth_uri);
    if (err->retry_after != 0)
        (void)fprintf(stderr, "  retry after: %u seconds\n", err->retry_after);
    if (err->next[0] != '\0')
        (void)fprintf(stderr, "  next: %s\n", err->next);
}

int report_error(const struct command *cmd, const struct dpop_error *err)
{
    struct json j;
    if (!cmd->json) {
        print_text(err);
        return report_exit_status(err->status);
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    report_put_error(&j, err);
    json_close(&j, '}');
    int exit_status = report_json(&j);
    return exit_status != 0 ? exit_status : report_exit_status(err->status);
}

int report_usage(const struct command *cmd, const char *format, ...)
{
    struct dpop_error err;
    char message[sizeof(err.message)];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    (void)failure_set(&err, STATUS_INVALID_ARGUMENT, "see dpop --help", "%s", message);
    return report_error(cmd, &err);
}

int report_local(const struct command *cmd, const char *next, const char *format, ...)
{
    struct dpop_error err;
    char message[sizeof(err.message)];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    (void)failure_set(&err, STATUS_INTERNAL, next, "%s", message);
    return report_error(cmd, &err);
}

void report_note(const char *format, ...)
{
    va_list args;
    (void)fputs("dpop: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

static int unwritten(void)
{
    (void)fprintf(stderr, "dpop: standard output cannot be written: %m\n");
    return DPOP_CLASS_INTERNAL;
}

int report_json(struct json *j)
{
    int written = json_print(j, stdout);
    json_free(j);
    return written == 0 ? 0 : unwritten();
}

int report_printed(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : unwritten();
}
