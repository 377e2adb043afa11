/*
 * The operation `init`: a first token, key and configuration. A process of its own makes them (key/init.c), and gets
 * the PIN's descriptor if one came; when it has, the agent reloads. Only the agent's own user and root may ask for it.
 */
#include "operations.h"

#include "children.h"
#include "log.h"
#include "reload.h"

#define INIT_TIMEOUT UINT64_C(60000000)

static void on_reloaded(void *context, const struct error *err)
{
    (void)context;
    if (err != NULL)
        log_error("after init: %s%s%s", err->message, err->next[0] != '\0' ? "; " : "", err->next);
}

static void on_made(void *context, const struct error *err, struct span fields)
{
    struct request *r = context;
    struct front *f = r->front;
    struct init_answer answer;
    struct error wrong;
    f->init_at_work = false;
    if (err != NULL) {
        request_fail(r, err);
        return;
    }
    if (message_take(fields, &message_init_answer, &answer, sizeof(answer), &wrong) != STATUS_OK) {
        request_fail(r, &wrong);
        return;
    }
    request_answer(r, &message_init_answer, &answer);
    reload_start(f, on_reloaded, NULL);
}

void op_init(struct request *r, const void *message)
{
    const struct init_request *request = message;
    struct front *f = r->front;
    struct error err;
    int fd = -1; /* the PIN, which passes by here unread */
    if (!operations_owner(r, "make keys"))
        return;
    if (f->init_at_work) {
        (void)error_set(&err, STATUS_BUSY, "wait for its end, then look at dpop key list", "another init is at work");
        request_fail(r, &err);
        return;
    }
    if (request->pin && (fd = request_take_descriptor(r)) < 0) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, "pass the PIN's descriptor with the request's frame",
                        "a PIN's descriptor was announced, and none came");
        request_fail(r, &err);
        return;
    }
    f->init_at_work = true;
    children_command(f->children, INTERNAL_START_INIT);
    children_call_descriptors(f->children, ROLE_INIT, INTERNAL_INIT, &message_init_request, message, &fd,
                              fd >= 0 ? 1 : 0, front_now(f) + INIT_TIMEOUT, on_made, r);
}
