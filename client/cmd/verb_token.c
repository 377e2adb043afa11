/* dpop token PROFILE: an access token. It is of no use without the key, but still printed only because it was asked
 * for. */
#include "command.h"
#include "report.h"
#include "secret_file.h"

#include <string.h>

struct options {
    const char *scope;
    struct option_values resources;
    uint32_t min_valid;
    int force;
    const char *subject_file, *subject_type, *actor_file, *actor_type, *assertion_file;
};

enum { OPTION_SUBJECT_FILE = 1, OPTION_SUBJECT_TYPE, OPTION_ACTOR_FILE, OPTION_ACTOR_TYPE, OPTION_ASSERTION_FILE };

static const struct option long_options[] = {
    {"min-valid", required_argument, NULL, 'm'},
    {"scope", required_argument, NULL, 's'},
    {"resource", required_argument, NULL, 'r'},
    {"force", no_argument, NULL, 'f'},
    {"subject-token-file", required_argument, NULL, OPTION_SUBJECT_FILE},
    {"subject-token-type", required_argument, NULL, OPTION_SUBJECT_TYPE},
    {"actor-token-file", required_argument, NULL, OPTION_ACTOR_FILE},
    {"actor-token-type", required_argument, NULL, OPTION_ACTOR_TYPE},
    {"assertion-file", required_argument, NULL, OPTION_ASSERTION_FILE},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'s', offsetof(struct options, scope)},
    {OPTION_SUBJECT_FILE, offsetof(struct options, subject_file)},
    {OPTION_SUBJECT_TYPE, offsetof(struct options, subject_type)},
    {OPTION_ACTOR_FILE, offsetof(struct options, actor_file)},
    {OPTION_ACTOR_TYPE, offsetof(struct options, actor_type)},
    {OPTION_ASSERTION_FILE, offsetof(struct options, assertion_file)},
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    switch (c) {
    case 'm':
        if (command_seconds(value, UINT32_MAX, &o->min_valid) != 0)
            return "--min-valid takes a whole number of seconds";
        break;
    case 'r':
        return command_add_value(&o->resources, value);
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
    json_raw(&j, "raw", span_text(token->raw));
    json_close(&j, '}');
    return report_json(&j);
}

/* Subject token, actor token and assertion, each from its file. */
struct inputs {
    struct buffer subject, actor, assertion;
};

static int read_inputs(struct inputs *in, const struct options *o, struct dpop_error *err)
{
    int status = DPOP_OK;
    if (o->subject_file != NULL)
        status = secret_file_read(&in->subject, o->subject_file, err);
    if (status == DPOP_OK && o->actor_file != NULL)
        status = secret_file_read(&in->actor, o->actor_file, err);
    if (status == DPOP_OK && o->assertion_file != NULL)
        status = secret_file_read(&in->assertion, o->assertion_file, err);
    return status;
}

static int get(struct command *cmd, const char *profile, const struct inputs *in, struct dpop_token *token,
               struct dpop_error *err)
{
    const struct options *o = cmd->options;
    const struct dpop_token_request request = {
        .profile = profile,
        .scope = o->scope,
        .resources = o->resources.count > 0 ? o->resources.items : NULL,
        .min_valid = o->min_valid,
        .force = o->force,
        .timeout_ms = cmd->timeout_ms,
        .raw = cmd->json,
        .subject_token = (const char *)in->subject.data,
        .subject_token_type = o->subject_type,
        .actor_token = (const char *)in->actor.data,
        .actor_token_type = o->actor_type,
        .assertion = (const char *)in->assertion.data,
    };
    int status = command_connect(cmd, err);
    return status == DPOP_OK ? dpop_agent_token(cmd->agent, &request, token, err) : status;
}

/* Two secrets cannot both come from standard input. */
static bool one_is_stdin(const struct options *o)
{
    const char *files[] = {o->subject_file, o->actor_file, o->assertion_file};
    int count = 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        count += files[i] != NULL && strcmp(files[i], "-") == 0;
    return count <= 1;
}

static int run(struct command *cmd, char **operands, int count)
{
    struct inputs in;
    struct dpop_token token = {0};
    struct dpop_error err;
    (void)count;
    if (!one_is_stdin(cmd->options))
        return report_usage(cmd, "only one of the files can be standard input");
    buffer_init(&in.subject, 0);
    buffer_init(&in.actor, 0);
    buffer_init(&in.assertion, 0);
    int status = read_inputs(&in, cmd->options, &err);
    if (status == DPOP_OK)
        status = get(cmd, operands[0], &in, &token, &err);
    buffer_free(&in.subject);
    buffer_free(&in.actor);
    buffer_free(&in.assertion);
    status = status == DPOP_OK ? print(cmd, &token) : report_error(cmd, &err);
    dpop_token_clear(&token);
    return status;
}

const struct verb verb_token = {
    .name = "token",
    .arguments = "PROFILE",
    .summary = "Get an access token",
    .help = "  --min-valid SECONDS        that the token must live at the least\n"
            "  --scope SCOPE              instead of the profile's\n"
            "  --resource URI             instead of the profile's (RFC 8707); may be repeated\n"
            "  --force                    a new token, whatever the agent holds\n"
            "  --subject-token-file FILE  token exchange (RFC 8693): instead of the profile's; -: standard input\n"
            "  --subject-token-type URI   of what type it is\n"
            "  --actor-token-file FILE    likewise, the actor's\n"
            "  --actor-token-type URI     of what type it is\n"
            "  --assertion-file FILE      JWT bearer grant (RFC 7523): instead of the profile's; -: standard input\n",
    .short_options = "",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
};
