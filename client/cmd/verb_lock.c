/* dpop lock [KEY]: the agent forgets the PIN of the key's token, and signs with no key in it until an unlock. */
#include "report.h"
#include "unlocked.h"

static int run(struct command *cmd, char **operands, int count)
{
    const struct lock_request in = {.key = span_text(count > 0 ? operands[0] : NULL)};
    struct unlock_answer answer;
    struct dpop_error err;
    if (command_call(cmd, OPERATION_LOCK, &message_lock_request, &in, &message_unlock_answer, &answer, sizeof(answer),
                     &err) != DPOP_OK)
        return report_error(cmd, &err);
    return unlocked_show(cmd, &answer, "locked");
}

const struct verb verb_lock = {
    .name = "lock",
    .arguments = "[KEY]",
    .summary = "Make the agent forget a PIN, and sign no more",
    .help = "",
    .short_options = "",
    .max_operands = 1,
    .run = run,
};
