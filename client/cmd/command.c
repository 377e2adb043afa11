/* See command.h. */
#include "command.h"

#include "deadline.h"
#include "failure.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define RESTART_MS 10000
#define PAUSE_MS 50

int command_connect(struct command *cmd, struct dpop_error *err)
{
    if (cmd->agent != NULL)
        return DPOP_OK;
    return dpop_agent_connect(&cmd->agent, cmd->socket, cmd->timeout_ms, err);
}

int command_call_within(struct command *cmd, uint32_t timeout_ms, uint16_t operation, const struct message *request,
                        const void *in, const struct message *answer, void *out, size_t out_size,
                        struct dpop_error *err)
{
    int status = command_connect(cmd, err);
    if (status != DPOP_OK)
        return status;
    const struct call call = {.operation = operation, .request = request, .in = in, .answer = answer, .out = out,
                              .out_size = out_size, .deadline = deadline_after(timeout_ms)};
    return call_perform(cmd->agent, &call, err);
}

int command_call(struct command *cmd, uint16_t operation, const struct message *request, const void *in,
                 const struct message *answer, void *out, size_t out_size, struct dpop_error *err)
{
    return command_call_within(cmd, cmd->timeout_ms, operation, request, in, answer, out, out_size, err);
}

uint32_t command_timeout(const struct command *cmd)
{
    return deadline_for_agent(deadline_after(cmd->timeout_ms));
}

int command_await_restart(struct command *cmd, struct dpop_error *err)
{
    int64_t deadline = deadline_after(RESTART_MS);
    int status;
    connection_settle(&cmd->agent->connection);
    while (cmd->agent->connection.fd >= 0 && deadline_left(deadline) > 0) {
        (void)poll(&(struct pollfd){.fd = cmd->agent->connection.fd, .events = POLLIN}, 1, PAUSE_MS);
        connection_settle(&cmd->agent->connection);
    }
    while ((status = call_open(cmd->agent, deadline, err)) != DPOP_OK && err->retryable && deadline_left(deadline) > 0)
        (void)poll(NULL, 0, PAUSE_MS);
    return status;
}

const char *command_add_value(struct option_values *values, const char *value)
{
    if (values->count == MOST_VALUES)
        return "an option is given more than 16 times";
    values->items[values->count++] = value;
    return NULL;
}

int command_seconds(const char *text, uint32_t max, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n == 0 || n > max)
        return -1;
    *out = (uint32_t)n;
    return 0;
}

int command_item(struct span item, const struct message *m, void *out, size_t out_size, struct dpop_error *err)
{
    struct error why;
    if (message_take(item, m, out, out_size, &why) == STATUS_OK)
        return DPOP_OK;
    return failure_set(err, STATUS_AGENT_MISBEHAVED, "check that agent and client are of fitting versions",
                       "the agent's answer cannot be read: %s", why.message);
}
