/* dpop reload: the agent reads its configuration again, all or nothing; a mistake is told with its file and line. */
#include "command.h"
#include "messages.h"
#include "report.h"

static int run(struct command *cmd, char **operands, int count)
{
    struct empty_message answer;
    struct dpop_error err;
    struct json j;
    (void)operands;
    (void)count;
    int status = command_call(cmd, OPERATION_RELOAD, &message_empty, &(struct empty_message){false}, &message_empty,
                              &answer, sizeof(answer), &err);
    if (status == DPOP_OK) {
        call_done(cmd->agent);
        status = command_await_restart(cmd, &err);
    }
    if (status != DPOP_OK)
        return report_error(cmd, &err);
    if (!cmd->json) {
        (void)printf("reloaded\n");
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_bool(&j, "reloaded", true);
    json_close(&j, '}');
    return report_json(&j);
}

const struct verb verb_reload = {
    .name = "reload",
    .arguments = "",
    .summary = "Have the agent read its configuration again, all or nothing",
    .help = "",
    .short_options = "",
    .run = run,
};
