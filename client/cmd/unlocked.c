/* See unlocked.h. */
#include "unlocked.h"

#include "report.h"
#include "show.h"

int unlocked_show(struct command *cmd, const struct unlock_answer *answer, const char *state)
{
    struct json j;
    struct span item;
    size_t cursor = 0;
    json_init(&j);
    json_open(&j, NULL, '{');
    json_text(&j, "state", state);
    json_span(&j, "token", answer->token);
    json_open(&j, "keys", '[');
    if (!cmd->json)
        (void)printf("%s       token %.*s; keys:", state, SHOW(answer->token));
    while (list_next(&answer->keys, &cursor, &item)) {
        json_span(&j, NULL, item);
        if (!cmd->json)
            (void)printf(" %.*s", SHOW(item));
    }
    json_close(&j, ']');
    json_close(&j, '}');
    call_done(cmd->agent);
    if (cmd->json)
        return report_json(&j);
    json_free(&j);
    (void)printf("\n");
    return report_printed();
}
