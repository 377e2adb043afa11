/*
 * The operation `key delete`: what is bound to the key is revoked, the key is destroyed in its token, and its section
 * and the profiles that cannot be without it are commented out in the configuration. First it is seen whether the file
 * can be changed so and whether the key can be reached: nothing is revoked in vain.
 *
 * Only the agent's own user and root may ask for it.
 */
#include "operations.h"

#include "children.h"
#include "keys.h"
#include "log.h"
#include "reload.h"
#include "revocation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000)
#define WRITE_TIMEOUT (60 * SECOND)
#define REVOKE_TIMEOUT (15 * SECOND)
#define DESTROY_TIMEOUT (30 * SECOND)
#define BOUND_MAX (16 * 1024 * 1024)

struct deleting {
    struct front *front;
    struct request *request;
    struct key *key;
    char name[LIMIT_NAME + 1];
    char jkt[JWK_THUMBPRINT_SIZE];
    const struct profile_config **profiles;
    size_t profile_count;
    struct list_builder bound;
    char configuration[LIMIT_TEXT];
};

static void free_deleting(struct deleting *x)
{
    x->front->init_at_work = false;
    list_builder_free(&x->bound);
    free(x->profiles);
    free(x);
}

static void fail(struct deleting *x, const struct error *err)
{
    request_fail(x->request, err);
    free_deleting(x);
}

/* With what has become of it already. */
static void fail_late(struct deleting *x, const char *done, const struct error *why)
{
    struct error err = *why;
    char text[2 * LIMIT_TEXT];
    (void)snprintf(text, sizeof(text), "%s, but %s", done, why->message);
    error_put_text(err.message, sizeof(err.message), span_text(text));
    fail(x, &err);
}

static void edit(struct deleting *x, bool check, call_done done)
{
    struct front *f = x->front;
    struct remove_key m = {.name = span_text(x->name), .check = check};
    children_command(f->children, INTERNAL_START_INIT);
    children_call(f->children, ROLE_INIT, INTERNAL_REMOVE_KEY, &message_remove_key, &m, front_now(f) + WRITE_TIMEOUT,
                  done, x);
}

/* --- its end --- */

static void on_reloaded(void *context, const struct error *err)
{
    struct deleting *x = context;
    struct key_delete_answer answer = {.bound = list_builder_list(&x->bound),
                                       .configuration = span_text(x->configuration)};
    if (err != NULL)
        log_error("after the end of key %s: %s%s%s", x->name, err->message, err->next[0] != '\0' ? "; " : "",
                  err->next);
    request_answer(x->request, &message_key_delete_answer, &answer);
    free_deleting(x);
}

static void on_removed(void *context, const struct error *failure, struct span fields)
{
    struct deleting *x = context;
    struct keys_changed changed;
    struct error err;
    if (failure == NULL && message_take(fields, &message_keys_changed, &changed, sizeof(changed), &err) != STATUS_OK)
        failure = &err;
    if (failure != NULL) {
        fail_late(x, "the key is destroyed", failure);
        return;
    }
    error_put_text(x->configuration, sizeof(x->configuration), changed.configuration);
    reload_start(x->front, on_reloaded, x);
}

static void on_destroyed(void *context, const struct error *failure, struct span fields)
{
    struct deleting *x = context;
    (void)fields;
    if (failure != NULL) {
        fail_late(x, "what was bound to the key is revoked", failure);
        return;
    }
    log_info("key %s is destroyed: thumbprint %s", x->name, x->jkt);
    edit(x, false, on_removed);
}

static void on_revoked(void *context)
{
    struct deleting *x = context;
    struct destroy_key m = {.uri = span_text(keys_config(x->key)->uri), .jkt = span_text(x->jkt)};
    keys_call(x->key, &(struct key_call){.operation = INTERNAL_KEY_DESTROY, .message = &message_destroy_key, .in = &m,
                                         .descriptors = {-1, -1}, .done = on_destroyed, .context = x,
                                         .deadline = front_now(x->front) + DESTROY_TIMEOUT});
}

/* --- what goes with it --- */

static enum status list_profiles(struct deleting *x, struct span fields, struct error *err)
{
    struct keys_changed changed;
    const struct config *config = x->front->config;
    const struct profile_config *p;
    struct span name;
    size_t cursor = 0;
    if (message_take(fields, &message_keys_changed, &changed, sizeof(changed), err) != STATUS_OK)
        return err->status;
    if ((x->profiles = calloc(config->profile_count + 1, sizeof(*x->profiles))) == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    while (list_next(&changed.profiles, &cursor, &name))
        if ((p = config_profile(config, name)) != NULL && x->profile_count < config->profile_count)
            x->profiles[x->profile_count++] = p;
    return STATUS_OK;
}

static void on_checked(void *context, const struct error *failure, struct span fields)
{
    struct deleting *x = context;
    struct error err;
    if (failure != NULL) {
        fail(x, failure);
        return;
    }
    if (list_profiles(x, fields, &err) != STATUS_OK) {
        fail(x, &err);
        return;
    }
    struct revocation_request request = {.profiles = x->profiles,
                                         .count = x->profile_count,
                                         .why = "its key was deleted",
                                         .deadline = front_now(x->front) + REVOKE_TIMEOUT,
                                         .bound = &x->bound};
    revocation_start(x->front, &request, on_revoked, x);
}

/* --- the key: it has to be there --- */

static void on_shown(void *context, const struct error *failure, const struct key_public *key, const uint8_t *signature)
{
    struct deleting *x = context;
    struct error err;
    char next[LIMIT_TEXT];
    (void)signature;
    if (failure != NULL) {
        err = *failure;
        (void)snprintf(next, sizeof(next),
                       "%s%sor take [key %s] and its profiles out of the configuration by hand, and reload",
                       failure->next, failure->next[0] != '\0' ? "; " : "bring its token back, ", x->name);
        error_put_text(err.next, sizeof(err.next), span_text(next));
        fail(x, &err);
        return;
    }
    memcpy(x->jkt, key->jkt, sizeof(x->jkt));
    edit(x, true, on_checked);
}

void op_key_delete(struct request *r, const void *message)
{
    const struct key_delete_request *in = message;
    struct front *f = r->front;
    struct key *key;
    struct error err;
    if (!operations_owner(r, "delete keys") || (key = operations_key(r, in->key)) == NULL || !operations_may_begin(r))
        return;
    struct deleting *x = calloc(1, sizeof(*x));
    if (x == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        request_fail(r, &err);
        return;
    }
    f->init_at_work = true;
    *x = (struct deleting){.front = f, .request = r, .key = key};
    (void)!span_copy(span_text(keys_name(key)), x->name, sizeof(x->name));
    list_builder_init(&x->bound, BOUND_MAX);
    keys_sign(key, &(struct sign_job){.done = on_shown, .context = x, .deadline = front_deadline(f, in->timeout)});
}
