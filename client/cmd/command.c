/* See command.h. */
#include "command.h"

#include "deadline.h"
#include "failure.h"

#include <errno.h>
#include <stdlib.h>

int command_connect(struct command *cmd, struct dpop_error *err)
{
    if (cmd->agent != NULL)
        return DPOP_OK;
    return dpop_agent_connect(&cmd->agent, cmd->socket, cmd->timeout_ms, err);
}

int command_call(struct command *cmd, uint16_t operation, const struct message *request, const void *in,
                 const struct message *answer, void *out, size_t out_size, struct dpop_error *err)
{
    int status = command_connect(cmd, err);
    if (status != DPOP_OK)
        return status;
    const struct call call = {.operation = operation, .request = request, .in = in, .answer = answer, .out = out,
                              .out_size = out_size, .deadline = deadline_after(cmd->timeout_ms)};
    return call_perform(cmd->agent, &call, err);
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
