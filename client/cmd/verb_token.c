/* dpop token PROFILE: an access token. It is of no use without the key, but still printed only because it was asked
 * for. */
#include "command.h"
#include "report.h"

#define MOST_RESOURCES 16

struct options {
    const char *scope;
    const char *resources[MOST_RESOURCES + 1];
    int resource_count;
    uint32_t min_valid;
    int force;
};

static const struct option long_options[] = {
    {"min-valid", required_argument, NULL, 'm'},
    {"scope", required_argument, NULL, 's'},
    {"resource", required_argument, NULL, 'r'},
    {"force", no_argument, NULL, 'f'},
    {NULL, 0, NULL, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    switch (c) {
    case 'm':
        if (command_seconds(value, UINT32_MAX, &o->min_valid) != 0)
            return "--min-valid takes a whole number of seconds";
        break;
    case 's':
        o->scope = value;
        break;
    case 'r':
        if (o->resource_count == MOST_RESOURCES)
            return "more than 16 --resource";
        o->resources[o->resource_count++] = value;
        break;
    default:
        o->force = 1;
    }
    return NULL;
}

static int print(const struct command *cmd, const struct dpop_token *token)
{
    struct json j;
    if (!cmd->json) {
        (void)printf("%s\n", token->access_token);
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "access_token", token->access_token);
    json_text(&j, "token_type", token->token_type);
    json_number(&j, "expires_in", token->expires_in);
    json_number(&j, "expires_at", token->expires_at);
    json_text(&j, "scope", token->scope);
    json_text(&j, "jkt", token->jkt);
    json_close(&j, '}');
    return report_json(&j);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    struct dpop_token token = {0};
    struct dpop_error err;
    (void)count;
    int status = command_connect(cmd, &err);
    if (status == DPOP_OK)
        status = dpop_agent_token(cmd->agent,
                                  &(struct dpop_token_request){.profile = operands[0],
                                                               .scope = o->scope,
                                                               .resources = o->resource_count > 0 ? o->resources : NULL,
                                                               .min_valid = o->min_valid,
                                                               .force = o->force,
                                                               .timeout_ms = cmd->timeout_ms},
                                  &token, &err);
    status = status == DPOP_OK ? print(cmd, &token) : report_error(cmd, &err);
    dpop_token_clear(&token);
    return status;
}

const struct verb verb_token = {
    .name = "token",
    .arguments = "PROFILE",
    .summary = "Get an access token",
    .help = "  --min-valid SECONDS  that the token must live at the least\n"
            "  --scope SCOPE        instead of the profile's\n"
            "  --resource URI       instead of the profile's (RFC 8707); may be repeated\n"
            "  --force              a new token, whatever the agent holds\n",
    .short_options = "",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .option = take_option,
    .run = run,
};
