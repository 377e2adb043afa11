/* dpop init: the agent makes a token, a key in it, and a first configuration; it overwrites nothing. */
#include "command.h"
#include "messages.h"
#include "report.h"
#include "show.h"

#define TIMEOUT_MS 90000 /* tokens are slow to make; the agent itself gives up after 60 s */

struct options {
    const char *name;
    const char *module;
};

static const struct option long_options[] = {
    {"name", required_argument, NULL, 'n'},
    {"module", required_argument, NULL, 'm'},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'n', offsetof(struct options, name)},
    {'m', offsetof(struct options, module)},
    {0, 0},
};

static int print(const struct command *cmd, const struct init_answer *a)
{
    struct json j;
    if (!cmd->json) {
        (void)printf(
            "key            %.*s\nthumbprint     %.*s\ntoken folder   %.*s\nPIN file       %.*s\n"
            "configuration  %.*s\n\nNext: add a [profile NAME] to the configuration; see dpop-agent.conf(5).\n",
            SHOW(a->uri), SHOW(a->jkt), SHOW(a->token_folder), SHOW(a->pin_file), SHOW(a->configuration));
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_span(&j, "uri", a->uri);
    json_span(&j, "thumbprint", a->jkt);
    json_span(&j, "token_folder", a->token_folder);
    json_span(&j, "pin_file", a->pin_file);
    json_span(&j, "configuration", a->configuration);
    json_close(&j, '}');
    return report_json(&j);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    const struct init_request in = {.name = span_text(o->name), .module = span_text(o->module)};
    struct init_answer answer;
    struct dpop_error err;
    (void)operands;
    (void)count;
    if (cmd->timeout_ms == 0)
        cmd->timeout_ms = TIMEOUT_MS;
    if (command_call(cmd, OPERATION_INIT, &message_init_request, &in, &message_init_answer, &answer, sizeof(answer),
                     &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, &answer);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_init = {
    .name = "init",
    .arguments = "",
    .summary = "Make a token, a first key in it, and a configuration",
    .help = "  --name NAME        the key's name (default \"default\")\n"
            "  --module PATH      the PKCS#11 module (default SoftHSM)\n",
    .short_options = "",
    .long_options = long_options,
    .options_size = sizeof(struct options),
    .texts = texts,
    .run = run,
};
