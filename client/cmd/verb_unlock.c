/* dpop unlock [KEY]: gives the PIN of the key's token to its key process, and to nobody else. */
#include "deadline.h"
#include "key_find.h"
#include "pin_prompt.h"
#include "report.h"
#include "show.h"
#include "unlocked.h"

#include <string.h>
#include <unistd.h>

struct options {
    struct pin_prompt pin;
};

static const struct option long_options[] = {
    PIN_PROMPT_LONG_OPTIONS("pin-file"),
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    PIN_PROMPT_TEXT_OPTIONS(offsetof(struct options, pin)),
    {0, 0},
};

/* What is asked for: the agent's names, none of the caller's. */
static void describe(const struct key_info *key, char *text, size_t size)
{
    if (key->token.len > 0)
        (void)snprintf(text, size, "Key \"%.*s\" in token \"%.*s\" (%.*s).", SHOW(key->name), SHOW(key->token),
                       SHOW(key->model));
    else
        (void)snprintf(text, size, "Key \"%.*s\" (%.*s).", SHOW(key->name), SHOW(key->uri));
    if (key->warning.len > 0) {
        size_t len = strlen(text);
        (void)snprintf(text + len, size - len, " The token warns: %.*s.", SHOW(key->warning));
    }
}

static int unlock(struct command *cmd, const char *key, int pin, struct unlock_answer *answer, struct dpop_error *err)
{
    const struct unlock_request in = {.key = span_text(key), .timeout = command_timeout(cmd)};
    return call_perform(cmd->agent,
                        &(struct call){.operation = OPERATION_UNLOCK,
                                       .request = &message_unlock_request,
                                       .in = &in,
                                       .answer = &message_unlock_answer,
                                       .out = answer,
                                       .out_size = sizeof(*answer),
                                       .deadline = deadline_after(cmd->timeout_ms),
                                       .descriptors = {pin},
                                       .descriptor_count = 1},
                        err);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    struct unlock_answer answer;
    struct key_info key;
    struct dpop_error err;
    char description[500], name[LIMIT_NAME + 1];
    int pin;
    if (key_find_opened(cmd, count > 0 ? operands[0] : NULL, &key, &err) != DPOP_OK)
        return report_error(cmd, &err);
    /* A token that is logged in looks at no PIN: a mistyped one would be kept, and spent later. */
    if (span_is(key.state, "ready"))
        return unlocked_show(cmd, &(struct unlock_answer){.token = key.token, .keys = {.items = &key.name, .count = 1}},
                             "unlocked");
    (void)snprintf(name, sizeof(name), "%.*s", SHOW(key.name));
    describe(&key, description, sizeof(description));
    call_done(cmd->agent);
    int status = pin_prompt_ask(cmd, &o->pin, description, "PIN", &pin, &err);
    if (status != DPOP_OK)
        return report_error(cmd, &err);
    status = unlock(cmd, name, pin, &answer, &err);
    (void)close(pin);
    if (status != DPOP_OK)
        return report_error(cmd, &err);
    return unlocked_show(cmd, &answer, "unlocked");
}

const struct verb verb_unlock = {
    .name = "unlock",
    .arguments = "[KEY]",
    .summary = "Give the agent the PIN of a key's token",
    .help = "  --pin-file FILE      the PIN, - is standard input; else it is asked for\n" PIN_PROMPT_HELP,
    .short_options = "",
    .long_options = long_options,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .texts = texts,
    .run = run,
};
