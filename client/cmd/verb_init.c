/*
 * dpop init: the agent makes a key, if need be a token for it, and a first configuration; it overwrites nothing.
 * Without a choice the agent takes the best token that it finds, and says why.
 */
#include "deadline.h"
#include "messages.h"
#include "pin_prompt.h"
#include "report.h"
#include "show.h"

#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS 90000 /* tokens are slow to make; the agent itself gives up after 60 s */

struct options {
    const char *name, *module, *token;
    bool tpm, softhsm, keep_pin;
    struct option_values environment;
    struct pin_prompt pin;
};

static const struct option long_options[] = {
    {"name", required_argument, NULL, 'n'},
    {"tpm", no_argument, NULL, 't'},
    {"softhsm", no_argument, NULL, 's'},
    {"module", required_argument, NULL, 'm'},
    {"token", required_argument, NULL, 'u'},
    {"environment", required_argument, NULL, 'e'},
    {"keep-pin", no_argument, NULL, 'k'},
    PIN_PROMPT_LONG_OPTIONS("pin-file"),
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'n', offsetof(struct options, name)},
    {'m', offsetof(struct options, module)},
    {'u', offsetof(struct options, token)},
    PIN_PROMPT_TEXT_OPTIONS(offsetof(struct options, pin)),
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    switch (c) {
    case 't':
        o->tpm = true;
        return NULL;
    case 's':
        o->softhsm = true;
        return NULL;
    case 'k':
        o->keep_pin = true;
        return NULL;
    default:
        return command_add_value(&o->environment, value);
    }
}

static int print(const struct command *cmd, const struct init_answer *a)
{
    struct json j;
    if (!cmd->json) {
        (void)printf("key            %.*s\nthumbprint     %.*s\nmodel          %.*s\n", SHOW(a->uri), SHOW(a->jkt),
                     SHOW(a->model));
        if (a->reason.len > 0)
            (void)printf("why this one   %.*s\n", SHOW(a->reason));
        (void)printf("token folder   %.*s\nPIN file       %.*s\nconfiguration  %.*s\n\n", SHOW(a->token_folder),
                     SHOW(a->pin_file), SHOW(a->configuration));
        if (a->pin_file.len == 0)
            (void)printf("The PIN is not kept: dpop unlock gives it to the agent after each start.\n");
        (void)printf("Next: add a [profile NAME] to the configuration; see dpop-agent.conf(5).\n");
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_span(&j, "uri", a->uri);
    json_span(&j, "thumbprint", a->jkt);
    json_span(&j, "model", a->model);
    json_span(&j, "reason", a->reason);
    json_span(&j, "token_folder", a->token_folder);
    json_span(&j, "pin_file", a->pin_file);
    json_span(&j, "configuration", a->configuration);
    json_close(&j, '}');
    return report_json(&j);
}

static int ask(struct command *cmd, int pin, struct init_answer *answer, struct dpop_error *err)
{
    const struct options *o = cmd->options;
    struct span environment[MOST_VALUES];
    for (size_t i = 0; i < o->environment.count; i++)
        environment[i] = span_text(o->environment.items[i]);
    const struct init_request in = {
        .name = span_text(o->name),
        .module = span_text(o->module),
        .kind = span_text(o->tpm ? "tpm" : o->softhsm ? "softhsm" : NULL),
        .token = span_text(o->token),
        .environment = {.items = environment, .count = o->environment.count},
        .pin = pin >= 0,
        .keep_pin = o->keep_pin,
    };
    int status = command_connect(cmd, err);
    if (status != DPOP_OK)
        return status;
    return call_perform(cmd->agent,
                        &(struct call){.operation = OPERATION_INIT,
                                       .request = &message_init_request,
                                       .in = &in,
                                       .answer = &message_init_answer,
                                       .out = answer,
                                       .out_size = sizeof(*answer),
                                       .deadline = deadline_after(cmd->timeout_ms != 0 ? cmd->timeout_ms : TIMEOUT_MS),
                                       .descriptors = {pin},
                                       .descriptor_count = pin >= 0 ? 1 : 0},
                        err);
}

/* First without a PIN: only a token that is initialised already needs one. */
static int make(struct command *cmd, struct init_answer *answer, struct dpop_error *err)
{
    const struct options *o = cmd->options;
    char description[sizeof(err->message)];
    int pin;
    int status = ask(cmd, -1, answer, err);
    if (status != DPOP_KEY_LOCKED || strcmp(err->stage, "PIN") != 0 || !pin_prompt_possible(&o->pin))
        return status;
    (void)snprintf(description, sizeof(description), "%s", err->message);
    status = pin_prompt_ask(cmd, &o->pin, description, "PIN", &pin, err);
    if (status != DPOP_OK)
        return status;
    status = ask(cmd, pin, answer, err);
    (void)close(pin);
    return status;
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    struct init_answer answer;
    struct dpop_error err;
    (void)operands;
    (void)count;
    if (o->tpm + o->softhsm + (o->module != NULL || o->token != NULL) > 1)
        return report_usage(cmd,
                            "give one of --tpm, --softhsm, --module and --token, or none for the best token there is");
    if (make(cmd, &answer, &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, &answer);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_init = {
    .name = "init",
    .arguments = "",
    .summary = "Make a first key, its token and a configuration",
    .help = "  --tpm                in this machine's TPM\n"
            "  --softhsm            in files, by SoftHSM\n"
            "  --module PATH        in the first blank token of this PKCS#11 module\n"
            "  --token URI          in this token, which is initialised (RFC 7512); with object or id: that key\n"
            "                       (default: the best of these that is there)\n"
            "  --name NAME          the key's name (default \"default\")\n"
            "  --environment N=V    for the module; may be repeated\n"
            "  --keep-pin           write that PIN into a file of mode 0600, so that no unlock is needed\n"
            "  --pin-file FILE      the PIN of a token that is initialised, - is standard input; else it is asked for\n"
            PIN_PROMPT_HELP,
    .short_options = "",
    .long_options = long_options,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
};
