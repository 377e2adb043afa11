/* dpop key list: every key of the configuration, a line each. */
#include "command.h"
#include "messages.h"
#include "report.h"
#include "show.h"

static int print(const struct command *cmd, const struct keys_answer *answer, struct dpop_error *err)
{
    struct json j;
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    json_init(&j);
    json_open(&j, NULL, '[');
    if (!cmd->json)
        (void)printf("%-16s %-11s %-20s %-12s %s\n", "KEY", "STATE", "TOKEN", "MODEL", "THUMBPRINT");
    while (list_next(&answer->keys, &cursor, &item)) {
        struct key_info key;
        if ((status = command_item(item, &message_key_info, &key, sizeof(key), err)) != DPOP_OK)
            break;
        if (cmd->json)
            show_key_json(&j, &key);
        else
            (void)printf("%-16.*s %-11.*s %-20.*s %-12.*s %.*s\n", SHOW(key.name), SHOW(key.state), SHOW(key.token),
                         SHOW(key.model), SHOW(key.jkt));
    }
    json_close(&j, ']');
    if (status == DPOP_OK && cmd->json)
        return report_json(&j);
    json_free(&j);
    return status == DPOP_OK ? report_printed() : report_error(cmd, err);
}

static int run(struct command *cmd, char **operands, int count)
{
    struct keys_answer answer;
    struct dpop_error err;
    (void)operands;
    (void)count;
    if (command_call(cmd, OPERATION_KEYS, &message_empty, &(struct empty_message){false}, &message_keys_answer, &answer,
                     sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, &answer, &err);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_key_list = {
    .name = "key list",
    .arguments = "",
    .summary = "List the keys",
    .help = "",
    .short_options = "",
    .run = run,
};
