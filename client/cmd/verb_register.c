/* dpop register: registers a client with an authorization server (RFC 7591) and adds a profile for it. */
#include "registration.h"
#include "report.h"

struct options {
    struct registration registration;
};

static const struct option long_options[] = {
    REGISTRATION_LONG_OPTIONS,
    {"issuer", required_argument, NULL, REGISTRATION_ISSUER},
    {"resource", required_argument, NULL, REGISTRATION_RESOURCE},
    {"grant", required_argument, NULL, REGISTRATION_GRANT},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    REGISTRATION_TEXT_OPTIONS(offsetof(struct options, registration)),
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    return registration_option(&o->registration, c, value);
}

static int show(const struct command *cmd, const struct register_answer *answer)
{
    struct json j;
    if (!cmd->json) {
        registration_print(stdout, answer);
        return report_printed();
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    registration_put_json(&j, answer);
    json_close(&j, '}');
    return report_json(&j);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    struct dpop_error err;
    (void)operands;
    (void)count;
    if (o->registration.name == NULL)
        return report_usage(cmd, "--name is missing: what the new profile is called");
    if ((o->registration.issuer == NULL) == (o->registration.resource == NULL))
        return report_usage(cmd, "give --issuer (the authorization server) or --resource (an API's URL)");
    return registration_run(cmd, &o->registration, show, &err) == DPOP_OK ? 0 : report_error(cmd, &err);
}

const struct verb verb_register = {
    .name = "register",
    .arguments = "",
    .summary = "Register a client with a server, and add a profile for it",
    .help = "  --name NAME                of the new profile; needed\n"
            "  --issuer URL               the authorization server; this or --resource is needed\n"
            "  --resource URL             an API: the server is found by its metadata (RFC 9728)\n"
            "  --grant GRANT              default authorization_code\n" REGISTRATION_HELP,
    .short_options = "",
    .long_options = long_options,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
};
