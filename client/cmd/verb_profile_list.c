/* dpop profile list: every profile of the configuration, a line each. */
#include "command.h"
#include "messages.h"
#include "report.h"
#include "show.h"

static void print_line(const struct profile_info *p)
{
    (void)printf("%-16.*s %-12.*s %-9.*s %-20.*s %.*s\n", SHOW(p->name), SHOW(p->key), SHOW(p->state),
                 SHOW(p->client_authentication), SHOW(p->issuer.len > 0 ? p->issuer : p->token_endpoint));
}

static int print(const struct command *cmd, const struct profiles_answer *answer, struct dpop_error *err)
{
    struct json j;
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    json_init(&j);
    json_open(&j, NULL, '[');
    if (!cmd->json)
        (void)printf("%-16s %-12s %-9s %-20s %s\n", "PROFILE", "KEY", "STATE", "AUTHENTICATION", "ISSUER");
    while (list_next(&answer->profiles, &cursor, &item)) {
        struct profile_info profile;
        if ((status = command_item(item, &message_profile_info, &profile, sizeof(profile), err)) != DPOP_OK)
            break;
        if (cmd->json)
            show_profile_json(&j, &profile);
        else
            print_line(&profile);
    }
    json_close(&j, ']');
    if (status == DPOP_OK && cmd->json)
        return report_json(&j);
    json_free(&j);
    return status == DPOP_OK ? report_printed() : report_error(cmd, err);
}

static int run(struct command *cmd, char **operands, int count)
{
    struct profiles_answer answer;
    struct dpop_error err;
    (void)operands;
    (void)count;
    if (command_call(cmd, OPERATION_PROFILES, &message_empty, &(struct empty_message){false}, &message_profiles_answer,
                     &answer, sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, &answer, &err);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_profile_list = {
    .name = "profile list",
    .arguments = "",
    .summary = "List the profiles",
    .help = "",
    .short_options = "",
    .run = run,
};
