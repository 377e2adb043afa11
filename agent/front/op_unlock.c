/*
 * The operations `unlock` and `lock`. Both are about a token, and so about all keys in it.
 *
 * The PIN comes as a descriptor, which goes on to a key process unread. That process seals the PIN (internal.h,
 * sealed_pin); what comes back is kept by pin_turns.c, and given to every process that opens the token from then on,
 * the first of which tries it. A PIN that it refuses is forgotten here (and remembered as refused in the state folder).
 * A locked token stays so, over restarts of its processes and reloads, until it is unlocked or the agent ends.
 */
#include "operations.h"

#include "children.h"
#include "keys.h"
#include "pin_turns.h"
#include "unlocks.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct unlocking {
    struct unlocking *next;
    struct request *request;
    struct key *key;
    char *token_id;
    size_t token_id_len;
    uint64_t deadline;
    int pin;          /* -1: a process has it; until then one is waited for that can take it */
    bool sealed;      /* from then on for the first report of a process that tries it, */
    uint32_t reports; /* after so many */
    bool was_locked;
};

struct unlocks {
    struct front *front;
    struct unlocking *first;
};

int unlocks_open(struct front *f)
{
    f->unlocks = calloc(1, sizeof(*f->unlocks));
    if (f->unlocks == NULL)
        return -1;
    f->unlocks->front = f;
    return 0;
}

static void free_unlocking(struct unlocking *u)
{
    if (u->pin >= 0)
        (void)close(u->pin);
    free(u->token_id);
    free(u);
}

static void fail(struct unlocking *u, const struct error *err)
{
    request_fail(u->request, err);
    free_unlocking(u);
}

static struct span token_id(const struct unlocking *u)
{
    return span_of(u->token_id, u->token_id_len);
}

static bool of_token(struct front *f, const struct child *child, struct span id)
{
    struct span other = child != NULL ? pin_turns_token_of(keys_pin_turns(f->keys), child) : span_text(NULL);
    return other.data != NULL && other.len == id.len && memcmp(other.data, id.data, id.len) == 0;
}

#define NAMED_MAX 256 /* keys of one token that an answer names */

static void answer(struct request *r, const struct key *key, struct span id)
{
    struct front *f = r->front;
    struct span names[NAMED_MAX];
    size_t count = 0;
    for (struct key *k = keys_next(f->keys, NULL); k != NULL && count < NAMED_MAX; k = keys_next(f->keys, k))
        if (k == key || of_token(f, keys_process(k), id))
            names[count++] = span_text(keys_name(k));
    struct unlock_answer m = {.token = span_text(keys_token(key)), .keys = {.items = names, .count = count}};
    request_answer(r, &message_unlock_answer, &m);
}

/* The token's other keys, and net processes that use it, are to look again. */
static void restart_others(struct front *f, const struct key *but, struct span id, bool ready_ones, const char *why)
{
    for (struct key *k = keys_next(f->keys, NULL); k != NULL; k = keys_next(f->keys, k))
        if (k != but && (ready_ones || !keys_ready(k)) && of_token(f, keys_process(k), id))
            keys_restart(k, why);
    for (const struct child *child = children_first(f->children); child != NULL; child = child->next)
        if (child->role == ROLE_NET_TLS && child->id != 0 && of_token(f, child, id))
            children_kill(f->children, (struct child *)(uintptr_t)child, why);
}

/* A process with the PIN has said how it went. */
static void conclude(struct unlocks *unlocks, struct unlocking *u)
{
    struct front *f = unlocks->front;
    struct error err;
    if (keys_reason(u->key, &err) == STATUS_OK) {
        restart_others(f, u->key, token_id(u), false, "its token has been unlocked");
        answer(u->request, u->key, token_id(u));
        free_unlocking(u);
        return;
    }
    if (err.status == STATUS_KEY_LOCKED)
        pin_turns_keep(keys_pin_turns(f->keys), token_id(u), span_text(NULL), u->was_locked);
    fail(u, &err);
}

static void wait_here(struct unlocking *u)
{
    struct unlocks *unlocks = u->request->front->unlocks;
    u->next = unlocks->first;
    unlocks->first = u;
    front_wait(unlocks->front);
}

static void on_sealed(void *context, const struct error *failure, struct span fields)
{
    struct unlocking *u = context;
    struct sealed_pin m;
    struct error err;
    if (failure == NULL && message_take(fields, &message_sealed_pin, &m, sizeof(m), &err) != STATUS_OK)
        failure = &err;
    if (failure != NULL) {
        fail(u, failure);
        return;
    }
    pin_turns_keep(keys_pin_turns(u->request->front->keys), token_id(u), m.sealed, false);
    keys_restart(u->key, "it has been given a PIN"); /* whoever asked for the PIN before would report of another one */
    u->reports = keys_reports(u->key);
    u->sealed = true;
    wait_here(u);
}

/* Gives the PIN to a process, if one can take it now; `u` is then the call's. */
static bool hand_over(struct unlocking *u)
{
    const struct key_call call = {.operation = INTERNAL_UNLOCK, .message = &message_empty,
                                  .in = &(struct empty_message){false},
                                  .descriptors = {u->pin, -1}, .done = on_sealed, .context = u,
                                  .deadline = u->deadline};
    int pin = u->pin;
    u->pin = -1;
    if (keys_unlock(u->key, &call))
        return true;
    u->pin = pin;
    return false;
}

/* A key that is absent or failed takes no PIN; one that is on its way will. */
static bool hopeless(const struct unlocking *u, struct error *err)
{
    enum status status = keys_reason(u->key, err);
    return status != STATUS_OK && status != STATUS_KEY_LOCKED && status != STATUS_SECRET_UNREADABLE &&
           !keys_on_the_way(u->key);
}

/* True: it has been told, or handed over. */
static bool look_again(struct unlocks *unlocks, struct unlocking *u, bool late)
{
    struct error err;
    if (u->sealed && keys_reports(u->key) != u->reports) {
        conclude(unlocks, u);
    } else if (!u->sealed && !late && hopeless(u, &err)) {
        fail(u, &err);
    } else if (late) {
        (void)error_set(&err, STATUS_TIMEOUT,
                        u->sealed ? "see dpop status: the PIN is used as soon as the token answers"
                        : "see dpop status; try again",
                        "key \"%s\": the token did not say in time whether the PIN is right", keys_name(u->key));
        fail(u, &err);
    } else {
        return !u->sealed && hand_over(u);
    }
    return true;
}

void unlocks_tick(struct unlocks *unlocks, uint64_t now)
{
    struct unlocking *all = unlocks->first;
    unlocks->first = NULL;
    while (all != NULL) {
        struct unlocking *u = all;
        all = u->next;
        if (!look_again(unlocks, u, now >= u->deadline))
            wait_here(u);
    }
}

bool unlocks_waiting(const struct unlocks *unlocks)
{
    return unlocks->first != NULL;
}

void unlocks_end(struct unlocks *unlocks)
{
    struct error err;
    (void)error_set(&err, STATUS_RESTARTED, "see dpop status", "the agent is ending or reloading its configuration");
    while (unlocks != NULL && unlocks->first != NULL) {
        struct unlocking *u = unlocks->first;
        unlocks->first = u->next;
        fail(u, &err);
    }
    free(unlocks);
}

static enum status prepare(struct request *r, struct key *key, uint32_t timeout, struct unlocking **out,
                           struct error *err)
{
    struct pin_turns *turns = keys_pin_turns(r->front->keys);
    const struct child *process = keys_process(key);
    struct span id = process != NULL ? pin_turns_token_of(turns, process) : span_text(NULL);
    struct unlocking *u = calloc(1, sizeof(*u));
    if (id.data == NULL || u == NULL || (u->token_id = span_dup(id)) == NULL) {
        free(u);
        if (id.data != NULL)
            return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
        if (keys_reason(key, err) == STATUS_OK)
            return error_set(err, STATUS_INVALID_ARGUMENT, "use the key as it is",
                             "the token of key \"%s\" needs no PIN", keys_name(key));
        return err->status;
    }
    u->pin = -1;
    u->token_id_len = id.len;
    u->request = r;
    u->key = key;
    u->deadline = front_deadline(r->front, timeout);
    (void)pin_turns_kept(turns, id, &u->was_locked);
    *out = u;
    return STATUS_OK;
}

void op_unlock(struct request *r, const void *message)
{
    const struct unlock_request *in = message;
    struct unlocking *u;
    struct error err;
    int pin = request_take_descriptor(r);
    struct key *key = operations_owner(r, "unlock tokens") ? operations_key(r, in->key) : NULL;
    if (key == NULL)
        goto out;
    if (pin < 0) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, "send it with the request (SCM_RIGHTS)",
                        "the PIN's descriptor is missing");
        request_fail(r, &err);
    } else if (prepare(r, key, in->timeout, &u, &err) != STATUS_OK) {
        request_fail(r, &err);
    } else {
        u->pin = pin;
        pin = -1;
        if (keys_ready(key)) {
            answer(r, key, token_id(u));
            free_unlocking(u);
        } else {
            wait_here(u);
            unlocks_tick(r->front->unlocks, front_now(r->front));
        }
    }
out:
    if (pin >= 0)
        (void)close(pin);
}

void op_lock(struct request *r, const void *message)
{
    const struct lock_request *in = message;
    struct unlocking *u;
    struct error err;
    struct key *key = operations_owner(r, "lock tokens") ? operations_key(r, in->key) : NULL;
    if (key == NULL)
        return;
    if (prepare(r, key, 0, &u, &err) != STATUS_OK) {
        request_fail(r, &err);
        return;
    }
    pin_turns_keep(keys_pin_turns(r->front->keys), token_id(u), span_text(NULL), true);
    restart_others(r->front, NULL, token_id(u), true, "its token has been locked");
    answer(r, key, token_id(u));
    free_unlocking(u);
}
