/* See listing.h. */
#include "listing.h"

#include "messages.h"
#include "report.h"

static int print(const struct command *cmd, const struct listing *l, const struct list *items, struct dpop_error *err)
{
    struct json j;
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    json_init(&j);
    json_open(&j, NULL, '[');
    if (!cmd->json)
        l->head();
    while (status == DPOP_OK && list_next(items, &cursor, &item))
        status = l->item(cmd->json ? &j : NULL, item, err);
    json_close(&j, ']');
    if (status == DPOP_OK && cmd->json)
        return report_json(&j);
    json_free(&j);
    return status == DPOP_OK ? report_printed() : report_error(cmd, err);
}

int listing_run(struct command *cmd, const struct listing *l)
{
    struct list items;
    struct dpop_error err;
    if (command_call(cmd, l->operation, &message_empty, &(struct empty_message){false}, l->answer, &items,
                     sizeof(items), &err) != DPOP_OK)
        return report_error(cmd, &err);
    int status = print(cmd, l, &items, &err);
    call_done(cmd->agent);
    return status;
}
