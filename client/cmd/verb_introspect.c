/* dpop introspect PROFILE: what the authorization server says about the token that the agent holds, as JSON. */
#include "command.h"
#include "report.h"

struct options {
    const char *scope;
    struct option_values resources;
};

static const struct option long_options[] = {
    {"scope", required_argument, NULL, 's'},
    {"resource", required_argument, NULL, 'r'},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'s', offsetof(struct options, scope)},
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    (void)c;
    return command_add_value(&o->resources, value);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    struct dpop_introspection answer = {0};
    struct dpop_error err;
    struct json j;
    (void)count;
    int status = command_connect(cmd, &err);
    if (status == DPOP_OK)
        status = dpop_agent_introspect(
            cmd->agent,
            &(struct dpop_introspection_request){.profile = operands[0],
                                                 .scope = o->scope,
                                                 .resources = o->resources.count > 0 ? o->resources.items : NULL,
                                                 .timeout_ms = cmd->timeout_ms},
            &answer, &err);
    if (status != DPOP_OK)
        return report_error(cmd, &err);
    json_init(&j);
    json_raw(&j, NULL, span_text(answer.claims));
    dpop_introspection_clear(&answer);
    return report_json(&j);
}

const struct verb verb_introspect = {
    .name = "introspect",
    .arguments = "PROFILE",
    .summary = "Ask the server about the token that the agent holds; JSON",
    .help = "  --scope SCOPE        the token with this scope, instead of the profile's\n"
            "  --resource URI       the token for this resource; may be repeated\n",
    .short_options = "",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
};
