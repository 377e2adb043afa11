/* See key_find.h. */
#include "key_find.h"

#include "failure.h"
#include "show.h"

#include <unistd.h>

#define STARTING_TRIES 50
#define STARTING_PAUSE 100000 /* microseconds */

int key_find(const struct list *keys, const char *name, struct key_info *key, struct dpop_error *err)
{
    struct span item;
    size_t cursor = 0, count = 0;
    while (list_next(keys, &cursor, &item)) {
        int status = command_item(item, &message_key_info, key, sizeof(*key), err);
        if (status != DPOP_OK || (name != NULL && span_is(key->name, name)))
            return status;
        count++;
    }
    if (name == NULL && count == 1)
        return DPOP_OK;
    if (name == NULL)
        return failure_set(err, STATUS_INVALID_ARGUMENT, "name one; dpop key list shows them", "there are %zu keys",
                           count);
    return failure_set(err, STATUS_UNKNOWN_KEY, "dpop key list shows the keys that there are",
                       "there is no key \"%s\"", name);
}

int key_find_opened(struct command *cmd, const char *name, struct key_info *key, struct dpop_error *err)
{
    for (int tries = 1;; tries++) {
        struct keys_answer answer;
        int status = command_call(cmd, OPERATION_KEYS, &message_empty, &(struct empty_message){false},
                                  &message_keys_answer, &answer, sizeof(answer), err);
        if (status != DPOP_OK)
            return status;
        status = key_find(&answer.keys, name, key, err);
        if (status == DPOP_OK && (show_has_jwk(key) || !span_is(key->state, "starting") || tries == STARTING_TRIES))
            return DPOP_OK;
        call_done(cmd->agent);
        if (status != DPOP_OK)
            return status;
        (void)usleep(STARTING_PAUSE);
    }
}
