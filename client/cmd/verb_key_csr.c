/* dpop key csr [KEY]: a certificate signing request (PKCS #10), signed by the key. */
#include "certificate.h"
#include "messages.h"
#include "report.h"

struct options {
    const char *subject, *path;
};

static const struct option long_options[] = {
    {"subject", required_argument, NULL, 's'},
    {"output", required_argument, NULL, 'o'},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'s', offsetof(struct options, subject)},
    {'o', offsetof(struct options, path)},
    {0, 0},
};

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    if (o->subject == NULL)
        return report_usage(cmd, "--subject is missing: --subject CN=NAME");
    const struct key_csr_request in = {
        .key = span_text(count > 0 ? operands[0] : NULL),
        .subject = span_text(o->subject),
        .timeout = command_timeout(cmd),
    };
    return certificate_run(cmd, OPERATION_KEY_CSR, &message_key_csr_request, &in, o->path);
}

const struct verb verb_key_csr = {
    .name = "key csr",
    .arguments = "[KEY]",
    .summary = "Make a certificate signing request for a key",
    .help = "  --subject NAME       its distinguished name (RFC 4514): CN=app,O=Example\n"
            "  -o, --output FILE    instead of standard output\n",
    .short_options = "o:",
    .long_options = long_options,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .run = run,
};
