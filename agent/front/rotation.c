/* See rotation.h. The steps stand in their order; each starts the next one from its callback. */
#include "rotation.h"

#include "children.h"
#include "key_proof.h"
#include "key_use.h"
#include "log.h"
#include "logins.h"
#include "revocation.h"
#include "tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000)
#define WRITE_TIMEOUT (60 * SECOND)
#define GRACE (3 * SECOND) /* for requests that are on their way with tokens of the old key */
#define REVOKE_TIMEOUT (15 * SECOND)
#define DESTROY_TIMEOUT (15 * SECOND)
#define BOUND_MAX (16 * 1024 * 1024)

struct rotation {
    struct front *front;
    struct key *old, *new;
    char name[LIMIT_NAME + 1];
    struct taken_token *proofs; /* tokens of the new key */
    struct taken_token *taken;  /* and those of the old one that were in the cache */
    const struct profile_config **profiles; /* of the key */
    size_t profile_count;
    sd_event_source *grace; /* NULL: it is not that time */
    struct rotation_result result;
    rotation_done done;
    void *context;
};

static void free_rotation(struct rotation *x)
{
    (void)sd_event_source_disable_unref(x->grace);
    taken_tokens_free(x->proofs);
    taken_tokens_free(x->taken);
    list_builder_free(&x->result.bound);
    free(x->profiles);
    free(x);
}

static void finish(struct rotation *x, const struct error *err)
{
    if (x->front->rotation == x)
        x->front->rotation = NULL;
    x->done(x->context, err, &x->result);
    free_rotation(x);
}

/* --- the old key --- */

static void on_destroyed(void *context, const struct error *err, struct span fields)
{
    struct rotation *x = context;
    char text[2 * LIMIT_TEXT];
    (void)fields;
    if (err != NULL) {
        (void)snprintf(text, sizeof(text), "the old key (%s) is still in the token: %s", keys_config(x->old)->uri,
                       err->message);
        error_put_text(x->result.note, sizeof(x->result.note), span_text(text));
        log_warning("key %s: %s", x->name, x->result.note);
    }
    finish(x, NULL);
}

static void on_revoked(void *context)
{
    struct rotation *x = context;
    struct destroy_key m = {.uri = span_text(keys_config(x->old)->uri), .jkt = span_text(x->result.old_jkt)};
    keys_call(x->old, &(struct key_call){.operation = INTERNAL_KEY_DESTROY, .message = &message_destroy_key, .in = &m,
                                         .descriptors = {-1, -1}, .done = on_destroyed, .context = x,
                                         .deadline = front_now(x->front) + DESTROY_TIMEOUT});
}

static void end_bound(struct rotation *x)
{
    struct revocation_request request = {.profiles = x->profiles, .count = x->profile_count, .jkt = x->result.old_jkt,
                                         .taken = x->taken, .keep_logins = true, .why = "its key was rotated",
                                         .deadline = front_now(x->front) + REVOKE_TIMEOUT, .bound = &x->result.bound};
    x->grace = sd_event_source_disable_unref(x->grace);
    x->taken = NULL;
    revocation_start(x->front, &request, on_revoked, x);
}

/* --- the switch --- */

static int on_grace_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    end_bound(userdata);
    return 0;
}

bool rotation_busy(const struct front *f)
{
    return f->rotation != NULL;
}

void rotation_hurry(struct front *f)
{
    if (f->rotation != NULL && f->rotation->grace != NULL)
        end_bound(f->rotation);
}

void rotation_end(struct front *f)
{
    struct error err;
    (void)error_set(&err, STATUS_RESTARTED, "see dpop key list",
                    "the agent is ending; the old key is still in the token");
    if (f->rotation != NULL && f->rotation->grace != NULL)
        finish(f->rotation, &err);
}

/* The tokens of logins that end with the key stay in use until then. */
static void switch_tokens(struct rotation *x)
{
    struct tokens *tokens = x->front->tokens;
    for (size_t i = 0; i < x->profile_count; i++) {
        if (logins_bound(x->front, x->profiles[i]))
            continue;
        struct taken_token **end = &x->taken;
        while (*end != NULL)
            end = &(*end)->next;
        *end = tokens_take(tokens, x->profiles[i], x->result.old_jkt);
        if (config_needs_login(x->profiles[i]))
            logins_rekey(x->front, x->profiles[i]);
    }
    for (struct taken_token *t = x->proofs; t != NULL; t = t->next)
        tokens_put(tokens, t->profile, &t->token);
}

static void on_written(void *context, const struct error *failure, struct span fields)
{
    struct rotation *x = context;
    struct front *f = x->front;
    struct keys_changed changed;
    struct error err;
    if (failure == NULL && message_take(fields, &message_keys_changed, &changed, sizeof(changed), &err) != STATUS_OK)
        failure = &err;
    if (failure != NULL) {
        finish(x, failure);
        return;
    }
    error_put_text(x->result.configuration, sizeof(x->result.configuration), changed.configuration);
    keys_switch(x->old, x->new);
    switch_tokens(x);
    log_info("key %s: %s is followed by %s", x->name, x->result.old_jkt, x->result.jkt);
    f->rotation = x;
    if (f->ending || sd_event_add_time_relative(f->event, &x->grace, CLOCK_BOOTTIME, GRACE, 0, on_grace_over, x) < 0)
        end_bound(x);
}

static void on_proved(void *context, const struct error *failure, struct taken_token *tokens)
{
    struct rotation *x = context;
    struct front *f = x->front;
    char next[LIMIT_NAME + sizeof(KEYS_NEXT)];
    x->proofs = tokens;
    if (failure != NULL) {
        finish(x, failure);
        return;
    }
    (void)snprintf(next, sizeof(next), "%s", keys_name(x->new));
    struct switch_key m = {.name = span_text(x->name), .next = span_text(next)};
    children_command(f->children, INTERNAL_START_INIT);
    children_call(f->children, ROLE_INIT, INTERNAL_SWITCH_KEY, &message_switch_key, &m, front_now(f) + WRITE_TIMEOUT,
                  on_written, x);
}

/* --- the beginning --- */

static enum status set_up(struct rotation *x, struct error *err)
{
    const struct config *config = x->front->config;
    const struct key_public *old = keys_public(x->old), *new = keys_public(x->new);
    if (old == NULL || new == NULL)
        return error_set(err, STATUS_KEY_FAILED, "try again", "key \"%s\" has not been ready yet",
                         keys_name(old == NULL ? x->old : x->new));
    if (span_copy(span_text(keys_name(x->old)), x->name, sizeof(x->name)) != 0 ||
        (x->profiles = calloc(config->profile_count + 1, sizeof(*x->profiles))) == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    memcpy(x->result.jkt, new->jkt, sizeof(x->result.jkt));
    memcpy(x->result.old_jkt, old->jkt, sizeof(x->result.old_jkt));
    for (size_t i = 0; i < config->profile_count; i++)
        if (strcmp(config->profiles[i].key, x->name) == 0)
            x->profiles[x->profile_count++] = &config->profiles[i];
    return STATUS_OK;
}

void rotation_start(struct front *f, struct key *key, struct key *next, uint64_t deadline, rotation_done done,
                    void *context)
{
    struct rotation *x = calloc(1, sizeof(*x));
    struct error err;
    if (x == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL);
        return;
    }
    *x = (struct rotation){.front = f, .old = key, .new = next, .done = done, .context = context};
    list_builder_init(&x->result.bound, BOUND_MAX);
    if (set_up(x, &err) != STATUS_OK)
        finish(x, &err);
    else
        key_proof_start(f, &(struct key_swap){.instead_of = key, .use = next}, deadline, on_proved, x);
}
