/* dpop key cert [KEY]: a self-signed certificate, for self_signed_tls_client_auth (RFC 8705). */
#include "certificate.h"
#include "messages.h"
#include "report.h"

#define MOST_DAYS 36500

struct options {
    const char *subject, *path;
    uint32_t days;
};

static const struct option long_options[] = {
    {"subject", required_argument, NULL, 's'},
    {"days", required_argument, NULL, 'd'},
    {"output", required_argument, NULL, 'o'},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'s', offsetof(struct options, subject)},
    {'o', offsetof(struct options, path)},
    {0, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    (void)c;
    return command_seconds(value, MOST_DAYS, &o->days) == 0 ? NULL : "--days takes 1 to 36500 days";
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    if (o->subject == NULL)
        return report_usage(cmd, "--subject is missing: --subject CN=NAME");
    const struct key_cert_request in = {
        .key = span_text(count > 0 ? operands[0] : NULL),
        .subject = span_text(o->subject),
        .days = o->days,
        .timeout = command_timeout(cmd),
    };
    return certificate_run(cmd, OPERATION_KEY_CERT, &message_key_cert_request, &in, o->path);
}

const struct verb verb_key_cert = {
    .name = "key cert",
    .arguments = "[KEY]",
    .summary = "Make a self-signed certificate for a key",
    .help = "  --subject NAME       its distinguished name (RFC 4514): CN=app,O=Example\n"
            "  --days N             how long it is valid (default 365)\n"
            "  -o, --output FILE    instead of standard output\n",
    .short_options = "o:",
    .long_options = long_options,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .option = take_option,
    .run = run,
};
