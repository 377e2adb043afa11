/* See reload.h. */
#include "reload.h"

#include "children.h"
#include "messages.h"

#include <stdlib.h>

#define PATIENCE UINT64_C(10000000) /* the supervisor reads a file, perhaps over a network */

struct reload {
    struct front *front;
    reload_done done;
    void *context;
};

static void on_checked(void *context, const struct error *err, struct span fields)
{
    struct reload *x = context;
    struct reload_checked checked;
    struct error wrong;
    if (err == NULL && message_take(fields, &message_reload_checked, &checked, sizeof(checked), &wrong) != STATUS_OK)
        err = &wrong;
    if (err == NULL && checked.error.data != NULL) {
        if (messages_take_error(checked.error, &wrong) != STATUS_OK)
            (void)error_set(&wrong, STATUS_INTERNAL, NULL, "the supervisor's answer cannot be read");
        err = &wrong;
    }
    x->done(x->context, err);
    if (err == NULL)
        children_command(x->front->children, INTERNAL_RELOAD_GO);
    free(x);
}

void reload_start(struct front *f, reload_done done, void *context)
{
    struct reload *x = calloc(1, sizeof(*x));
    struct error err;
    if (x == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err);
        return;
    }
    *x = (struct reload){.front = f, .done = done, .context = context};
    children_ask(f->children, INTERNAL_RELOAD, front_now(f) + PATIENCE, on_checked, x);
}
