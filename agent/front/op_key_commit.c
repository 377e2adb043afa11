/*
 * The operation `key commit`: the second half of a key's rotation (rotation.h), and a reload, after which the agent's
 * processes are as its configuration says. Only the agent's own user and root may ask for it.
 */
#include "operations.h"

#include "keys.h"
#include "key_use.h"
#include "log.h"
#include "reload.h"
#include "rotation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct committing {
    struct request *request;
    struct front *front;
    struct key *key, *next;
    uint64_t deadline;
};

/* The rotation is done, whatever becomes of the reload. */
static void on_reloaded(void *context, const struct error *err)
{
    (void)context;
    if (err != NULL)
        log_error("after a key's rotation: %s%s%s", err->message, err->next[0] != '\0' ? "; " : "", err->next);
}

static void on_rotated(void *context, const struct error *err, const struct rotation_result *result)
{
    struct committing *x = context;
    struct front *f = x->front;
    f->init_at_work = false;
    if (err != NULL) {
        request_fail(x->request, err);
    } else {
        struct list_builder bound = result->bound;
        struct key_commit_answer answer = {.jkt = span_text(result->jkt),
                                           .old_jkt = span_text(result->old_jkt),
                                           .bound = list_builder_list(&bound),
                                           .configuration = span_text(result->configuration),
                                           .note = span_text(result->note[0] != '\0' ? result->note : NULL)};
        request_answer(x->request, &message_key_commit_answer, &answer);
        if (!f->ending)
            reload_start(f, on_reloaded, NULL);
    }
    free(x);
}

/* A certificate is for one key: nobody but a person can have another one made. */
static enum status check_certificates(const struct front *f, const char *name, struct error *err)
{
    char next[LIMIT_TEXT];
    for (size_t i = 0; i < f->config->profile_count; i++) {
        const struct profile_config *p = &f->config->profiles[i];
        if (!config_has_tls_client(p) || strcmp(p->client_key, name) != 0)
            continue;
        (void)snprintf(next, sizeof(next),
                       "have a certificate made for the new key (dpop key csr %s" KEYS_NEXT
                       "), set client-key = %s" KEYS_NEXT
                       " and client-certificate-file in [profile %s], reload, then commit again",
                       name, name, p->name);
        return error_set(err, STATUS_CONFIGURATION, next,
                         "profile \"%s\" shows a TLS certificate for key \"%s\", which the new key does not have",
                         p->name, name);
    }
    return STATUS_OK;
}

static enum status find_next(const struct front *f, const struct key *key, struct key **next, struct error *err)
{
    char name[LIMIT_NAME + sizeof(KEYS_NEXT) + 1], step[2 * LIMIT_NAME + 64];
    (void)snprintf(name, sizeof(name), "%s" KEYS_NEXT, keys_name(key));
    *next = keys_find(f->keys, span_text(name));
    (void)snprintf(step, sizeof(step), "make it first: dpop key rotate --prepare %s", keys_name(key));
    return *next != NULL ? STATUS_OK
                         : error_set(err, STATUS_UNKNOWN_KEY, step, "there is no key \"%s\" to commit", name);
}

/* Both work, which was waited for: after `prepare` they are just being opened. */
static void on_next_ready(void *context, const struct error *failure, const struct key_public *key,
                          const uint8_t *signature)
{
    struct committing *x = context;
    (void)key;
    (void)signature;
    if (failure != NULL)
        on_rotated(x, failure, NULL);
    else
        rotation_start(x->front, x->key, x->next, x->deadline, on_rotated, x);
}

static void on_key_ready(void *context, const struct error *failure, const struct key_public *key,
                         const uint8_t *signature)
{
    struct committing *x = context;
    (void)key;
    (void)signature;
    if (failure != NULL)
        on_rotated(x, failure, NULL);
    else
        keys_sign(x->next, &(struct sign_job){.done = on_next_ready, .context = x, .deadline = x->deadline});
}

void op_key_commit(struct request *r, const void *message)
{
    const struct key_commit_request *in = message;
    struct front *f = r->front;
    struct key *key, *next;
    struct error err;
    if (!operations_owner(r, "rotate keys") || (key = operations_key(r, in->key)) == NULL || !operations_may_begin(r))
        return;
    struct committing *x = NULL;
    enum status status = find_next(f, key, &next, &err);
    if (status == STATUS_OK)
        status = check_certificates(f, keys_name(key), &err);
    if (status == STATUS_OK && (x = malloc(sizeof(*x))) == NULL)
        status = error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
    if (status != STATUS_OK) {
        request_fail(r, &err);
        return;
    }
    f->init_at_work = true;
    *x = (struct committing){.request = r, .front = f, .key = key, .next = next,
                             .deadline = front_deadline(f, in->timeout)};
    keys_sign(key, &(struct sign_job){.done = on_key_ready, .context = x, .deadline = x->deadline});
}
