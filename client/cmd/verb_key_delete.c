/* dpop key delete KEY: asks, as nothing brings a key back; revokes what is bound to it. */
#include "failure.h"
#include "key_change.h"
#include "key_find.h"
#include "report.h"
#include "show.h"
#include "terminal.h"
#include "text.h"

#include <string.h>

struct options {
    bool yes;
};

static const struct option long_options[] = {
    {"yes", no_argument, NULL, 'y'},
    {NULL, 0, NULL, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    (void)c;
    (void)value;
    o->yes = true;
    return NULL;
}

/* Appends the names of the profiles that use the key. */
static int add_profiles(struct command *cmd, const char *key, char *text, size_t size, struct dpop_error *err)
{
    struct profiles_answer answer;
    struct profile_info p;
    struct span item;
    size_t cursor = 0, count = 0;
    int status = command_call(cmd, OPERATION_PROFILES, &message_empty, &(struct empty_message){false},
                              &message_profiles_answer, &answer, sizeof(answer), err);
    if (status != DPOP_OK)
        return status;
    while (list_next(&answer.profiles, &cursor, &item) &&
           (status = command_item(item, &message_profile_info, &p, sizeof(p), err)) == DPOP_OK)
        if (span_is(p.key, key)) {
            size_t len = strlen(text);
            (void)snprintf(text + len, size - len, "%s\"%.*s\"", count++ > 0 ? ", " : "Profiles that end with it: ",
                           SHOW(p.name));
        }
    if (count > 0)
        (void)snprintf(text + strlen(text), size - strlen(text), ". ");
    call_done(cmd->agent);
    return status;
}

/* What would be lost, as a question. A status. */
static int question(struct command *cmd, const char *name, char *text, size_t size, struct dpop_error *err)
{
    struct key_info key;
    int status = key_find_opened(cmd, name, &key, err);
    if (status != DPOP_OK)
        return status;
    (void)snprintf(text, size, "Key \"%.*s\", thumbprint %.*s, in token \"%.*s\". ", SHOW(key.name), SHOW(key.jkt),
                   SHOW(key.token));
    call_done(cmd->agent);
    status = add_profiles(cmd, name, text, size, err);
    if (strlen(text) + 40 > size) /* a list of profiles that is cut says so */
        (void)strcpy(text + size - 50, "…. ");
    (void)snprintf(text + strlen(text), size - strlen(text), "Delete it for good?");
    text_clean(text);
    return status;
}

static int print(struct command *cmd, const char *name, const struct key_delete_answer *a)
{
    struct dpop_error err;
    struct json j;
    int status;
    if (!cmd->json) {
        (void)printf("deleted        %s\n", name);
        status = key_change_print_bound(&a->bound, &err);
        if (a->bound.count > 0)
            (void)printf("configuration  %.*s: these profiles are commented out in it\n", SHOW(a->configuration));
        return status == DPOP_OK ? report_printed() : report_error(cmd, &err);
    }
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "deleted", name);
    status = key_change_put_bound(&j, &a->bound, &err);
    json_span(&j, "configuration", a->configuration);
    json_close(&j, '}');
    if (status == DPOP_OK)
        return report_json(&j);
    json_free(&j);
    return report_error(cmd, &err);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    const struct key_delete_request in = {.key = span_text(operands[0]), .timeout = command_timeout(cmd)};
    struct key_delete_answer answer;
    struct dpop_error err;
    char text[1024];
    int sure = 1;
    (void)count;
    if (!o->yes) {
        if (question(cmd, operands[0], text, sizeof(text), &err) != DPOP_OK)
            return report_error(cmd, &err);
        sure = terminal_confirm(text);
    }
    if (sure < 0)
        return report_usage(cmd, "nothing brings a deleted key back: say --yes, or call this at a terminal");
    if (sure == 0)
        return report_local(cmd, NULL, "nothing was deleted");
    if (command_call(cmd, OPERATION_KEY_DELETE, &message_key_delete_request, &in, &message_key_delete_answer, &answer,
                     sizeof(answer), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, operands[0], &answer);
    call_done(cmd->agent);
    if (status == 0 && command_await_restart(cmd, &err) != DPOP_OK)
        report_note("the key is deleted, but the agent has not come back: %s", err.message);
    return status;
}

const struct verb verb_key_delete = {
    .name = "key delete",
    .arguments = "KEY",
    .summary = "Destroy a key, and revoke what is bound to it",
    .help = "  -y, --yes            do not ask\n",
    .short_options = "y",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .option = take_option,
    .run = run,
};
