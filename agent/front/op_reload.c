/*
 * The operation `reload`: the configuration is read again, all or nothing (reload.h). The answer comes before the agent's
 * processes are replaced. Only the agent's own user and root may ask for it.
 */
#include "operations.h"

#include "reload.h"

static void on_reloaded(void *context, const struct error *err)
{
    struct request *r = context;
    if (err != NULL)
        request_fail(r, err);
    else
        request_answer(r, &message_empty, &(struct empty_message){false});
}

void op_reload(struct request *r, const void *message)
{
    (void)message;
    if (operations_owner(r, "reload the configuration"))
        reload_start(r->front, on_reloaded, r);
}
