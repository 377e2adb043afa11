/* dpop key generate NAME: another key in the token of one that there is. */
#include "key_change.h"
#include "report.h"

struct options {
    const char *like;
};

static const struct option long_options[] = {
    {"like", required_argument, NULL, 'l'},
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'l', offsetof(struct options, like)},
    {0, 0},
};

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    const struct key_generate_request in = {
        .name = span_text(operands[0]),
        .like = span_text(o->like),
        .timeout = command_timeout(cmd),
    };
    struct key_made_answer answer;
    struct dpop_error err;
    (void)count;
    if (command_call(cmd, OPERATION_KEY_GENERATE, &message_key_generate_request, &in, &message_key_made_answer, &answer,
                     sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    return key_change_finish_made(cmd, &answer);
}

const struct verb verb_key_generate = {
    .name = "key generate",
    .arguments = "NAME",
    .summary = "Make another key in a token",
    .help = "  --like KEY           in the token of this key, with its options (default: the only key)\n",
    .short_options = "",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .run = run,
};
