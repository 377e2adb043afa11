/*
 * dpop headers PROFILE METHOD URL: both headers of one send, two lines that `curl -H @-` reads. A Bearer token, which
 * the profile has to allow, has no proof beside it: then it is one line.
 */
#include "command.h"
#include "report.h"

#include <string.h>

static int print(const struct command *cmd, const struct dpop_authorization *a)
{
    struct json j;
    if (!cmd->json) {
        (void)printf("Authorization: %s\n", a->authorization);
        if (a->dpop != NULL)
            (void)printf("DPoP: %s\n", a->dpop);
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "url", a->url);
    json_open(&j, "headers", '{');
    json_text(&j, "Authorization", a->authorization);
    if (a->dpop != NULL)
        json_text(&j, "DPoP", a->dpop);
    json_close(&j, '}');
    json_close(&j, '}');
    return report_json(&j);
}

static int run(struct command *cmd, char **operands, int count)
{
    struct dpop_authorization a = {0};
    struct dpop_error err;
    (void)count;
    int status = command_connect(cmd, &err);
    if (status == DPOP_OK)
        status = dpop_agent_authorize(cmd->agent,
                                      &(struct dpop_authorize){.profile = operands[0],
                                                               .method = operands[1],
                                                               .url = operands[2],
                                                               .timeout_ms = cmd->timeout_ms},
                                      &a, &err);
    if (status == DPOP_OK && strcmp(a.url, operands[2]) != 0)
        report_note("the URL in its normalised form, for which the proof is: %s", a.url);
    status = status == DPOP_OK ? print(cmd, &a) : report_error(cmd, &err);
    dpop_authorization_clear(&a);
    return status;
}

const struct verb verb_headers = {
    .name = "headers",
    .arguments = "PROFILE METHOD URL",
    .summary = "Print the headers for one request, for curl -H @-",
    .help = "",
    .short_options = "",
    .min_operands = 3,
    .max_operands = 3,
    .run = run,
};
