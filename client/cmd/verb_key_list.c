/* dpop key list: every key of the configuration, a line each. */
#include "listing.h"
#include "messages.h"
#include "show.h"

#include <stdio.h>

static void print_head(void)
{
    (void)printf("%-16s %-11s %-20s %-12s %-9s %s\n", "KEY", "STATE", "TOKEN", "MODEL", "MADE", "THUMBPRINT");
}

static int print_item(struct json *j, struct span item, struct dpop_error *err)
{
    struct key_info key;
    int status = command_item(item, &message_key_info, &key, sizeof(key), err);
    if (status != DPOP_OK)
        return status;
    if (j != NULL) {
        show_key_json(j, &key);
        return DPOP_OK;
    }
    const char *made = key.jkt.len == 0 ? "-" : key.imported ? "imported" : "in token";
    (void)printf("%-16.*s %-11.*s %-20.*s %-12.*s %-9s %.*s\n", SHOW(key.name), SHOW(key.state), SHOW(key.token),
                 SHOW(key.model), made, SHOW(key.jkt));
    if (key.reason.len > 0)
        (void)printf("  reason: %.*s\n", SHOW(key.reason));
    if (key.next.len > 0)
        (void)printf("  next: %.*s\n", SHOW(key.next));
    if (key.warning.len > 0)
        (void)printf("  warning: %.*s\n", SHOW(key.warning));
    return DPOP_OK;
}

static int run(struct command *cmd, char **operands, int count)
{
    (void)operands;
    (void)count;
    return listing_run(cmd, &(struct listing){.operation = OPERATION_KEYS, .answer = &message_keys_answer,
                                              .head = print_head, .item = print_item});
}

const struct verb verb_key_list = {
    .name = "key list",
    .arguments = "",
    .summary = "List the keys",
    .help = "",
    .short_options = "",
    .run = run,
};
