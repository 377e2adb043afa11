/* dpop logout PROFILE: the agent forgets the profile's tokens and asks the server to revoke them. */
#include "command.h"
#include "messages.h"
#include "report.h"
#include "show.h"

static int print(const struct command *cmd, const char *profile, const struct logout_answer *a)
{
    struct json j;
    if (!cmd->json) {
        (void)printf("%s: %s%s\n", profile, a->logged_in ? "logged out" : "was not logged in",
                     a->revoked ? "; the server has revoked its tokens" : "");
        if (a->note.len > 0)
            report_note("not revoked at the server: %.*s", SHOW(a->note));
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "profile", profile);
    json_bool(&j, "logged_in", a->logged_in);
    json_bool(&j, "revoked", a->revoked);
    json_span(&j, "note", a->note);
    json_close(&j, '}');
    return report_json(&j);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct logout_request in = {.profile = span_text(operands[0]), .timeout = command_timeout(cmd)};
    struct logout_answer answer;
    struct dpop_error err;
    (void)count;
    if (command_call(cmd, OPERATION_LOGOUT, &message_logout_request, &in, &message_logout_answer, &answer,
                     sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, operands[0], &answer);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_logout = {
    .name = "logout",
    .arguments = "PROFILE",
    .summary = "Forget a profile's tokens, and have the server revoke them",
    .help = "",
    .short_options = "",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
