/* dpop key show KEY: one key with its JWK, thumbprint, URI, attributes and state. */
#include "command.h"
#include "failure.h"
#include "messages.h"
#include "report.h"
#include "show.h"
#include <unistd.h>

#define STARTING_TRIES 50
#define STARTING_PAUSE 100000 /* microseconds */

static void print_text(const struct key_info *key)
{
    char attributes[256];
    show_attributes(key, attributes, sizeof(attributes));
    (void)printf("key         %.*s\nstate       %.*s\n", SHOW(key->name), SHOW(key->state));
    if (key->reason.len > 0)
        (void)printf("reason      %.*s\n", SHOW(key->reason));
    if (key->next.len > 0)
        (void)printf("next        %.*s\n", SHOW(key->next));
    (void)printf(
        "URI         %.*s\ntoken       %.*s\nmodel       %.*s\nthumbprint  %.*s\nattributes  %s\nimported    %s\n"
        "JWK         ",
        SHOW(key->uri), SHOW(key->token), SHOW(key->model), SHOW(key->jkt), attributes[0] != '\0' ? attributes : "-",
        key->imported ? "yes: the key was not made in the token" : "no");
}

static int print(const struct command *cmd, const struct key_info *key)
{
    struct json j;
    json_init(&j);
    if (cmd->json) {
        show_key_json(&j, key);
        return report_json(&j);
    }
    print_text(key);
    if (show_has_jwk(key)) {
        show_jwk_json(&j, NULL, key);
        return report_json(&j);
    }
    json_free(&j);
    (void)printf("-\n");
    return report_printed();
}

static int find(const struct keys_answer *answer, const char *name, struct key_info *key, struct dpop_error *err)
{
    struct span item;
    size_t cursor = 0;
    while (list_next(&answer->keys, &cursor, &item)) {
        int status = command_item(item, &message_key_info, key, sizeof(*key), err);
        if (status != DPOP_OK || span_is(key->name, name))
            return status;
    }
    return failure_set(err, STATUS_UNKNOWN_KEY, "dpop key list shows the keys that there are",
                       "there is no key \"%s\"", name);
}

/* Right after init or a reload a key is being opened: it has no JWK to show yet, but will in a moment. */
static bool still_starting(const struct key_info *key)
{
    return !show_has_jwk(key) && span_is(key->state, "starting");
}

static int run(struct command *cmd, char **operands, int count)
{
    struct keys_answer answer;
    struct key_info key;
    struct dpop_error err;
    (void)count;
    for (int i = 0; i < STARTING_TRIES; i++) {
        if (command_call(cmd, OPERATION_KEYS, &message_empty, &(struct empty_message){false}, &message_keys_answer, &answer,
                         sizeof(answer), &err) != DPOP_OK)
            break;
        bool wait = find(&answer, operands[0], &key, &err) == DPOP_OK && still_starting(&key);
        call_done(cmd->agent);
        if (!wait)
            break;
        (void)usleep(STARTING_PAUSE);
    }
    if (command_call(cmd, OPERATION_KEYS, &message_empty, &(struct empty_message){false}, &message_keys_answer, &answer,
                     sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = find(&answer, operands[0], &key, &err) == DPOP_OK ? print(cmd, &key) : report_error(cmd, &err);
    call_done(cmd->agent);
    return status;
}

const struct verb verb_key_show = {
    .name = "key show",
    .arguments = "KEY",
    .summary = "Show a key: JWK, thumbprint, URI, attributes, state",
    .help = "",
    .short_options = "",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
