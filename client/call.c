/* See internal.h. */
#include "deadline.h"
#include "endpoint.h"
#include "failure.h"
#include "internal.h"
#include "messages.h"
#include "text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define FIRST_PAUSE_MS 20
#define LONGEST_PAUSE_MS 640

/* The table's limits, checked before anything is sent, so that the error names the caller's own value. */
static int check_field(const struct field *f, struct span value, struct dpop_error *err)
{
    if (value.len > f->max)
        return failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s is longer than %u bytes", f->name, f->max);
    if ((f->type == FIELD_TEXT || f->type == FIELD_TEXTS) && !text_valid(value))
        return failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s is not UTF-8 text without control characters",
                           f->name);
    return DPOP_OK;
}

static int check_request(const struct message *m, const void *in, struct dpop_error *err)
{
    int status = DPOP_OK;
    for (size_t i = 0; i < m->count && status == DPOP_OK; i++) {
        const struct field *f = &m->fields[i];
        const void *member = (const char *)in + f->offset;
        struct span item;
        size_t cursor = 0;
        if (f->type == FIELD_BYTES || f->type == FIELD_TEXT) {
            item = *(const struct span *)member;
            if (item.data != NULL)
                status = check_field(f, item, err);
            else if (f->flags & FIELD_REQUIRED)
                status = failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s is missing", f->name);
        } else if (f->type == FIELD_LIST || f->type == FIELD_TEXTS) {
            while (status == DPOP_OK && list_next(member, &cursor, &item))
                status = check_field(f, item, err);
        }
    }
    return status;
}

static int exchange(struct connection *c, const struct call *call, struct dpop_error *err)
{
    struct frame frame;
    struct error why;
    size_t begin = connection_begin(c, call->operation);
    message_put(&c->out, call->request, call->in);
    connection_attach(c, call->descriptors, call->descriptor_count);
    int status = connection_exchange(c, begin, call->deadline, &frame, err);
    if (status != DPOP_OK)
        return status;
    if (frame.operation == OPERATION_ERROR)
        status = failure_take(err, frame.fields);
    else if (frame.operation != (call->operation | OPERATION_ANSWER))
        status = failure_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the agent answered operation %u with operation %u",
                             call->operation, frame.operation);
    else if (message_take(frame.fields, call->answer, call->out, call->out_size, &why) != STATUS_OK)
        status = failure_set(err, STATUS_AGENT_MISBEHAVED, "check that agent and client are of fitting versions",
                             "the agent's answer cannot be read: %s", why.message);
    if (status != DPOP_OK)
        connection_done(c);
    return status;
}

static int say_hello(struct connection *c, int64_t deadline, struct dpop_error *err)
{
    char name[LIMIT_NAME + 1];
    struct hello_answer answer;
    (void)snprintf(name, sizeof(name), "%s", program_invocation_short_name);
    text_clean(name);
    const struct hello_request hello = {
        .version_min = PROTOCOL_VERSION_MIN,
        .version_max = PROTOCOL_VERSION_MAX,
        .client = span_text(name),
    };
    int status = exchange(c,
                          &(struct call){.operation = OPERATION_HELLO, .request = &message_hello_request, .in = &hello,
                                         .answer = &message_hello_answer, .out = &answer, .out_size = sizeof(answer),
                                         .deadline = deadline},
                          err);
    if (status != DPOP_OK)
        return status;
    if (answer.version < PROTOCOL_VERSION_MIN || answer.version > PROTOCOL_VERSION_MAX ||
        answer.max_frame < FRAME_MAX_BEFORE_HELLO)
        status = failure_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the agent chose version %u with frames of %u bytes",
                             answer.version, answer.max_frame);
    else
        c->max_frame = answer.max_frame < FRAME_MAX ? answer.max_frame : FRAME_MAX;
    connection_done(c);
    return status;
}

/* PROTOCOL.md, "Restarts": what may be asked again although the agent had begun with it. */
static bool may_be_sent_again(uint16_t operation)
{
    switch (operation) {
    case OPERATION_HELLO:
    case OPERATION_STATUS:
    case OPERATION_KEYS:
    case OPERATION_PROFILES:
    case OPERATION_PROOF:
    case OPERATION_TOKEN:
    case OPERATION_AUTHORIZE:
    case OPERATION_OUTCOME:
    case OPERATION_INTROSPECT:
    case OPERATION_PROFILE_TEST:
    case OPERATION_TRACE:
    case OPERATION_KEY_CSR:
    case OPERATION_KEY_CERT:
        return true;
    default:
        return false;
    }
}

/* The exchange failed because the agent restarts, and is to be made again: waits a little, longer each time. */
static bool comes_again(const struct connection *c, int status, bool again, int64_t deadline, int *pause_ms)
{
    bool nothing_done = c->unread && (status == STATUS_AGENT_UNREACHABLE || status == STATUS_RESTARTED);
    if (!nothing_done && !(again && status == STATUS_RESTARTED))
        return false;
    if (deadline_left(deadline) <= *pause_ms)
        return false;
    (void)poll(NULL, 0, *pause_ms);
    if (*pause_ms < LONGEST_PAUSE_MS)
        *pause_ms *= 2;
    return true;
}

static int open_once(struct dpop_agent *agent, int64_t deadline, struct dpop_error *err)
{
    struct connection *c = &agent->connection;
    int fd;
    if (c->fd >= 0)
        connection_settle(c);
    c->unread = false;
    if (c->fd >= 0 && c->last_request < UINT32_MAX)
        return DPOP_OK;
    int status = endpoint_open(agent->socket, deadline, &fd, err);
    if (status != DPOP_OK)
        return status;
    connection_adopt(c, fd);
    status = say_hello(c, deadline, err);
    if (status != DPOP_OK)
        connection_close(c);
    return status;
}

int call_open(struct dpop_agent *agent, int64_t deadline, struct dpop_error *err)
{
    int pause_ms = FIRST_PAUSE_MS, status;
    do
        status = open_once(agent, deadline, err);
    while (status != DPOP_OK && comes_again(&agent->connection, status, true, deadline, &pause_ms));
    return status;
}

int call_perform(struct dpop_agent *agent, const struct call *call, struct dpop_error *err)
{
    bool again = may_be_sent_again(call->operation) && !call->once;
    int pause_ms = FIRST_PAUSE_MS;
    int status = check_request(call->request, call->in, err);
    if (status != DPOP_OK)
        return status;
    do {
        status = call_open(agent, call->deadline, err);
        if (status != DPOP_OK)
            return status;
        status = exchange(&agent->connection, call, err);
    } while (status != DPOP_OK && comes_again(&agent->connection, status, again, call->deadline, &pause_ms));
    return status;
}

void call_done(struct dpop_agent *agent)
{
    connection_done(&agent->connection);
}
