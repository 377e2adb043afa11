/* See keys.h. */
#include "key_parts.h"

#include "log.h"
#include "logins.h"
#include "pin_turns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int keys_open(struct front *f)
{
    struct keys *keys = calloc(1, sizeof(*keys));
    if (keys == NULL)
        return -1;
    f->keys = keys;
    keys->front = f;
    keys->turns = pin_turns_new(f);
    keys->keys = calloc(f->config->key_count + 1, sizeof(*keys->keys));
    if (keys->turns == NULL || keys->keys == NULL)
        return -1;
    for (; keys->count < f->config->key_count; keys->count++) {
        struct key *key = &keys->keys[keys->count];
        key->keys = keys;
        key->config = &f->config->keys[keys->count];
        key->name = key->config->name;
        key->workers = calloc(key->config->workers, sizeof(*key->workers));
        if (key->workers == NULL)
            return -1;
        for (unsigned int i = 0; i < key->config->workers; i++)
            key->workers[i].end = &key->workers[i].first;
    }
    return 0;
}

void keys_end(struct keys *keys)
{
    struct error err;
    (void)error_set(&err, STATUS_RESTARTED, "try again", "the agent is ending or reloading its configuration");
    for (size_t i = 0; keys != NULL && i < keys->count; i++)
        key_workers_end(&keys->keys[i], &err);
}

void keys_free(struct keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->count; i++)
        free(keys->keys[i].workers);
    free(keys->keys);
    pin_turns_free(keys->turns);
    free(keys);
}

struct key *keys_find(struct keys *keys, struct span name)
{
    for (size_t i = 0; i < keys->count; i++)
        if (span_is(name, keys->keys[i].name))
            return &keys->keys[i];
    return NULL;
}

/* Is it what `dpop key rotate --prepare` has made for another one? */
static bool is_next(struct keys *keys, const struct key *key)
{
    size_t len = strlen(key->name), suffix = strlen(KEYS_NEXT);
    return len > suffix && strcmp(key->name + len - suffix, KEYS_NEXT) == 0 &&
           keys_find(keys, span_of(key->name, len - suffix)) != NULL;
}

struct key *keys_only(struct keys *keys)
{
    struct key *only = NULL;
    for (size_t i = 0; i < keys->count; i++) {
        if (is_next(keys, &keys->keys[i]))
            continue;
        if (only != NULL)
            return NULL;
        only = &keys->keys[i];
    }
    return only;
}

struct key *keys_of(struct keys *keys, const char *jkt)
{
    for (size_t i = 0; i < keys->count; i++)
        if (keys->keys[i].seen && strcmp(keys->keys[i].public.jkt, jkt) == 0)
            return &keys->keys[i];
    return NULL;
}

struct key *keys_next(struct keys *keys, const struct key *key)
{
    size_t i = key == NULL ? 0 : (size_t)(key - keys->keys) + 1;
    return i < keys->count ? &keys->keys[i] : NULL;
}

void keys_switch(struct key *a, struct key *b)
{
    const char *name = a->name;
    a->name = b->name;
    b->name = name;
}

const struct key_config *keys_config(const struct key *key)
{
    return key->config;
}

const char *keys_name(const struct key *key)
{
    return key->name;
}

const struct key_public *keys_public(const struct key *key)
{
    return key->seen ? &key->public : NULL;
}

bool keys_ready(const struct key *key)
{
    return key->state == KEY_STATE_READY;
}

bool keys_on_the_way(const struct key *key)
{
    return key->state == KEY_STARTING || key->state == KEY_RECOVERING;
}

enum status keys_reason(const struct key *key, struct error *err)
{
    if (key->state == KEY_REFUSED || key->state == KEY_RECOVERING)
        *err = key->reason;
    else
        (void)error_set(err, key->state == KEY_STATE_READY ? STATUS_OK : STATUS_KEY_FAILED, "try again",
                        "key \"%s\" is %s", key->name, key->state == KEY_STATE_READY ? "ready" : "starting");
    return err->status;
}

uint32_t keys_reports(const struct key *key)
{
    return key->reports;
}

const char *keys_token(const struct key *key)
{
    return key->token[0] != '\0' ? key->token : NULL;
}

const struct child *keys_process(const struct key *key)
{
    return key->process;
}

void keys_sign(struct key *key, const struct sign_job *sign)
{
    key_workers_sign(key, sign);
}

void keys_call(struct key *key, const struct key_call *call)
{
    key_workers_call(key, call);
}

bool keys_unlock(struct key *key, const struct key_call *call)
{
    return key_workers_unlock(key, call);
}

void keys_restart(struct key *key, const char *reason)
{
    struct error err;
    for (unsigned int i = 0; i < key->config->workers; i++) {
        struct worker *w = &key->workers[i];
        w->ready = false;
        w->progress = front_now(key->keys->front); /* one that hangs is killed after a while */
        if (w->child != NULL)
            children_dismiss(w->child);
    }
    front_wait(key->keys->front);
    (void)error_set(&err, STATUS_RESTARTED, "the agent starts others by itself",
                    "key \"%s\": its processes are restarted: %s", key->name, reason);
    if (key->process != NULL)
        keys_recovering(key, &err); /* who asks for the key now waits */
}

bool keys_any_ready(const struct key *key)
{
    for (unsigned int i = 0; i < key->config->workers; i++)
        if (key->workers[i].ready)
            return true;
    return false;
}

void keys_recovering(struct key *key, const struct error *why)
{
    if (key->state == KEY_STATE_READY)
        log_warning("key %s is recovering: %s", key->name, why->message);
    key->state = KEY_RECOVERING;
    key->reason = *why;
}

/* The key's state follows only when no other worker serves. */
void keys_refuse(struct key *key, const struct error *why)
{
    if (keys_any_ready(key))
        return;
    if (key->state != KEY_REFUSED || key->reason.status != why->status)
        log_warning("key %s is %s: %s%s%s", key->name, status_name(why->status), why->message,
                    why->next[0] != '\0' ? "; " : "", why->next);
    key->state = KEY_REFUSED;
    key->reason = *why;
    key_workers_pump(key);
}

/* Is it the key that we know? The first one seen is remembered. */
static enum status recognise(struct key *key, const struct key_ready *m, struct error *err)
{
    struct key_public public;
    const char *known = key->config->thumbprint != NULL ? key->config->thumbprint : key->seen ? key->public.jkt : NULL;
    if (m->x.len != sizeof(public.jwk.x) || m->y.len != sizeof(public.jwk.y))
        return error_set(err, STATUS_INTERNAL, NULL, "key \"%s\": its process reports no key", key->name);
    memcpy(public.jwk.x, m->x.data, sizeof(public.jwk.x));
    memcpy(public.jwk.y, m->y.data, sizeof(public.jwk.y));
    if (jwk_thumbprint(&public.jwk, public.jkt) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "key \"%s\": its thumbprint cannot be computed", key->name);
    if (known != NULL && strcmp(known, public.jkt) != 0)
        return error_set(err, STATUS_KEY_WRONG, "put the right token back, or correct thumbprint and uri and reload",
                         "key \"%s\": the token holds key %s, but %s is expected", key->name, public.jkt, known);
    proof_header_init(&public.header, &public.jwk);
    key->public = public;
    key->seen = true;
    return STATUS_OK;
}

static bool on_ready(struct key *key, struct worker *w, const struct frame *frame)
{
    struct key_ready m;
    struct error err;
    if (message_take(frame->fields, &message_key_ready, &m, sizeof(m), &err) != STATUS_OK)
        return false;
    key->reports++;
    pin_turns_over(key->keys->turns, w->child);
    bool before = key->seen;
    if (recognise(key, &m, &err) != STATUS_OK) {
        w->ready = false;
        keys_refuse(key, &err);
        children_kill(key->keys->front->children, w->child, err.message);
        return true;
    }
    key->attributes = m.attributes;
    key->imported = m.imported;
    error_put_text(key->token, sizeof(key->token), m.token);
    error_put_text(key->model, sizeof(key->model), m.model);
    error_put_text(key->warning, sizeof(key->warning), m.warning);
    if (key->state != KEY_STATE_READY) {
        log_info("key %s is ready: thumbprint %s", key->name, key->public.jkt);
        key->recoveries += before ? 1 : 0;
    }
    key->state = KEY_STATE_READY;
    w->ready = true;
    w->child->ready = true;
    const struct kill_message alive = {.id = w->child->id};
    children_tell(key->keys->front->children, INTERNAL_CHILD_READY, &message_kill_message, &alive);
    key_workers_pump(key);
    logins_key_ready(key->keys->front->logins, key->name);
    return true;
}

static bool on_failed(struct key *key, struct worker *w, const struct frame *frame)
{
    struct error err;
    if (messages_take_error(frame->fields, &err) != STATUS_OK)
        return false;
    key->reports++;
    w->ready = false;
    w->progress = UINT64_MAX; /* it has said what there is to say, and may now wait for another PIN */
    pin_turns_over(key->keys->turns, w->child);
    keys_refuse(key, &err);
    return true;
}

/* It wants a fresh process in its place, and nothing more to do. What it has it still answers; then it ends. */
static bool on_ending(struct key *key, struct worker *w, const struct frame *frame)
{
    w->ready = false;
    w->progress = front_now(key->keys->front);
    message_put_frame(&w->child->stream.out, INTERNAL_ENDING | OPERATION_ANSWER, frame->request, &message_empty,
                      &(struct empty_message){false});
    stream_send(&w->child->stream);
    log_info("key %s: a process that has grown too large is replaced, as planned", key->name);
    if (key->state == KEY_STATE_READY && !keys_any_ready(key)) {
        key->state = KEY_RECOVERING;
        (void)error_set(&key->reason, STATUS_RESTARTED, "it is ready again by itself",
                        "key \"%s\": its process has grown too large and is replaced, as planned", key->name);
    }
    return true;
}

/* By the name that the supervisor knows, whatever a rotation has done. */
static struct worker *worker_of(struct keys *keys, const struct child *child, struct key **key)
{
    *key = NULL;
    for (size_t i = 0; i < keys->count && *key == NULL; i++)
        if (strcmp(child->name, keys->keys[i].config->name) == 0)
            *key = &keys->keys[i];
    return *key != NULL && child->worker < (*key)->config->workers ? &(*key)->workers[child->worker] : NULL;
}

bool keys_frame(struct keys *keys, struct child *child, const struct frame *frame)
{
    struct key *key;
    struct worker *w = worker_of(keys, child, &key);
    if (w == NULL)
        return false;
    if ((child->killed || child->dismissed) && (frame->operation == INTERNAL_KEY_READY || frame->operation == INTERNAL_KEY_FAILED))
        return true; /* what it says of the token counts no more */
    if (w->progress != UINT64_MAX)
        w->progress = front_now(keys->front);
    switch (frame->operation) {
    case INTERNAL_KEY_READY:
        return on_ready(key, w, frame);
    case INTERNAL_KEY_FAILED:
        return on_failed(key, w, frame);
    case INTERNAL_ENDING:
        return on_ending(key, w, frame);
    case INTERNAL_PIN_LOAD:
    case INTERNAL_PIN_RECORD:
        return pin_turns_frame(keys->turns, child, frame);
    default:
        return key_workers_frame(key, w, frame);
    }
}

void keys_attached(struct keys *keys, struct child *child)
{
    struct key *key;
    struct worker *w = worker_of(keys, child, &key);
    if (w == NULL)
        return;
    w->child = child;
    key->process = child;
    w->progress = front_now(keys->front);
    front_wait(keys->front);
}

void keys_ended(struct keys *keys, struct child *child)
{
    struct key *key;
    struct error err;
    struct worker *w = worker_of(keys, child, &key);
    if (w == NULL || w->child == NULL)
        return;
    bool was_ready = w->ready;
    pin_turns_over(keys->turns, child);
    key_workers_ended(key, w);
    if (was_ready && !keys_any_ready(key) && key->state == KEY_STATE_READY) {
        (void)error_set(&err, STATUS_RESTARTED, "the agent starts another by itself", "key \"%s\": its process ended",
                        key->name);
        keys_recovering(key, &err);
    }
    key_workers_pump(key);
}

void keys_tick(struct keys *keys, uint64_t now)
{
    for (size_t i = 0; i < keys->count; i++)
        key_workers_tick(&keys->keys[i], now);
}

bool keys_waiting(const struct keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        if (key_workers_waiting(&keys->keys[i]))
            return true;
    return false;
}

uint32_t keys_jobs_waiting(const struct keys *keys)
{
    uint32_t n = 0;
    for (size_t i = 0; i < keys->count; i++)
        n += keys->keys[i].queue.waiting;
    return n;
}

struct pin_turns *keys_pin_turns(struct keys *keys)
{
    return keys->turns;
}

static const char *state_name(const struct key *key)
{
    if (key->state != KEY_REFUSED)
        return key->state == KEY_STATE_READY ? "ready" : key->state == KEY_STARTING ? "starting" : "recovering";
    switch (key->reason.status) {
    case STATUS_KEY_ABSENT:
        return "absent";
    case STATUS_KEY_LOCKED:
    case STATUS_SECRET_UNREADABLE:
        return "locked";
    case STATUS_KEY_WRONG:
        return "wrong key";
    case STATUS_KEY_UNFIT:
        return "unfit";
    default:
        return "failed";
    }
}

void keys_put_info(const struct keys *keys, struct list_builder *out)
{
    for (size_t i = 0; i < keys->count; i++) {
        const struct key *key = &keys->keys[i];
        bool wrong = key->state == KEY_REFUSED || key->state == KEY_RECOVERING;
        struct key_info info = {.name = span_text(key->name),
                                .uri = span_text(key->config->uri),
                                .state = span_text(state_name(key)),
                                .reason = wrong ? span_text_or_absent(key->reason.message) : span_text(NULL),
                                .next = wrong ? span_text_or_absent(key->reason.next) : span_text(NULL),
                                .workers = (uint16_t)key->config->workers,
                                .waiting = key->queue.waiting,
                                .signatures = key->signatures,
                                .sign_time = key->sign_time,
                                .stalled = key_workers_stalled(key, front_now(keys->front)),
                                .recoveries = key->recoveries,
                                .warning = span_text_or_absent(key->warning)};
        if (key->seen) {
            info.jkt = span_text(key->public.jkt);
            info.x = span_of(key->public.jwk.x, sizeof(key->public.jwk.x));
            info.y = span_of(key->public.jwk.y, sizeof(key->public.jwk.y));
            info.attributes = key->attributes;
            info.imported = key->imported;
            info.token = span_text(key->token);
            info.model = span_text(key->model);
        }
        list_builder_add(out, &message_key_info, &info);
    }
}
