/* See login_session.h. */
#include "login_session.h"

#include "deadline.h"
#include "failure.h"
#include "interrupt.h"
#include "report.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 500    /* one call */
#define GRACE_MS 10000 /* until the agent must have answered it */

static struct span handle_of(const struct login_session *s)
{
    return span_of(s->handle, s->handle_len);
}

/* Nobody waits for it any longer; what the agent says to that changes nothing. */
static void cancel(struct command *cmd, const struct login_session *s)
{
    const struct login_cancel_request in = {.login = handle_of(s)};
    struct empty_message answer;
    struct dpop_error unused;
    if (command_call(cmd, OPERATION_LOGIN_CANCEL, &message_login_cancel_request, &in, &message_empty, &answer,
                     sizeof(answer), &unused) == DPOP_OK)
        call_done(cmd->agent);
}

static int wait_once(struct command *cmd, const struct login_session *s, struct login_wait_answer *out,
                     struct dpop_error *err)
{
    const struct login_wait_request in = {.login = handle_of(s), .timeout = WAIT_MS};
    return command_call_within(cmd, WAIT_MS + GRACE_MS, OPERATION_LOGIN_WAIT, &message_login_wait_request, &in,
                               &message_login_wait_answer, out, sizeof(*out), err);
}

/* Gives the agent a pasted line; one that is no redirect of this login may be followed by a better one. */
static int send_line(struct command *cmd, struct login_session *s, struct span line, struct dpop_error *err)
{
    const struct login_redirect_request in = {.login = handle_of(s), .url = line};
    struct empty_message answer;
    if (line.len == 0)
        return DPOP_OK;
    int status = command_call(cmd, OPERATION_LOGIN_REDIRECT, &message_login_redirect_request, &in, &message_empty,
                              &answer, sizeof(answer), err);
    if (status == DPOP_OK) {
        call_done(cmd->agent);
    } else if (dpop_status_class(status) == DPOP_CLASS_USAGE) {
        report_note("%s; paste the whole address at which the browser ended", err->message);
        status = DPOP_OK;
    }
    return status;
}

static struct span trimmed(struct span s)
{
    while (s.len > 0 && strchr(" \t\r", s.data[0]) != NULL)
        s = span_of(s.data + 1, s.len - 1);
    while (s.len > 0 && strchr(" \t\r", s.data[s.len - 1]) != NULL)
        s.len--;
    return s;
}

/* What stands on standard input now: whole lines are sent, the rest is kept. */
static int take_lines(struct command *cmd, struct login_session *s, struct dpop_error *err)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    char bytes[4096];
    int status = DPOP_OK;
    if (poll(&p, 1, 0) <= 0)
        return DPOP_OK;
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n <= 0) {
        s->paste = n < 0 && errno == EINTR;
        return DPOP_OK;
    }
    buffer_put(&s->line, bytes, (size_t)n);
    for (const uint8_t *end; status == DPOP_OK && !s->line.failed && s->line.len > 0 &&
                             (end = memchr(buffer_span(&s->line).data, '\n', s->line.len)) != NULL;) {
        size_t len = (size_t)(end - buffer_span(&s->line).data);
        status = send_line(cmd, s, trimmed(span_of(buffer_span(&s->line).data, len)), err);
        buffer_consume(&s->line, len + 1);
    }
    wipe(bytes, sizeof(bytes));
    return status;
}

int login_session_wait(struct command *cmd, struct login_session *s, struct login_wait_answer *out,
                       struct dpop_error *err)
{
    int64_t end = deadline_after(s->seconds * 1000);
    for (;;) {
        int status = wait_once(cmd, s, out, err);
        /* A time-out without a stage is that of the wait; the login goes on. */
        if (status != DPOP_TIMEOUT || err->stage[0] != '\0')
            return status;
        if (interrupt_came()) {
            cancel(cmd, s);
            return failure_set(err, STATUS_LOGIN_REQUIRED, "begin another one: dpop login", "the login was cancelled");
        }
        if (deadline_left(end) == 0) {
            cancel(cmd, s);
            return failure_set(err, STATUS_TIMEOUT, "begin another one: dpop login",
                               "nobody logged in within %u seconds", s->seconds);
        }
        if (s->paste && (status = take_lines(cmd, s, err)) != DPOP_OK)
            return status;
    }
}
