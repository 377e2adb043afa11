/* See login_store.h. A call's steps: the store's public key, the sealed data key, its hand-over, then the call
   itself. */
#include "login_store.h"

#include "children.h"
#include "keys.h"

#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 2 /* the store process may end and be started again in between */

struct store_call {
    struct store_call *next; /* of those that wait to make a data key */
    struct login_store *store;
    const struct profile_config *profile;
    uint16_t operation; /* INTERNAL_LOGIN_LOAD, _SAVE, _DELETE */
    struct buffer record;
    uint64_t deadline;
    login_store_done done;
    void *context;
    unsigned int tries;
    uint32_t store_id; /* the store process that the data key is for */
    bool making;
};

struct login_store {
    struct front *front;
    uint32_t *handed_over; /* for each key of the configuration: the id of the store process that has its data key */
    struct store_call *making, **end; /* the first one is at work */
};

static void begin(struct store_call *c);

int login_store_open(struct front *f)
{
    struct login_store *store = calloc(1, sizeof(*store));
    if (store == NULL)
        return -1;
    f->login_store = store;
    store->front = f;
    store->end = &store->making;
    store->handed_over = calloc(f->config->key_count + 1, sizeof(*store->handed_over));
    return store->handed_over != NULL ? 0 : -1;
}

void login_store_free(struct login_store *store)
{
    if (store == NULL)
        return;
    free(store->handed_over);
    free(store);
}

static uint32_t store_id(const struct front *f)
{
    const struct child *child = children_first(f->children);
    while (child != NULL && child->role != ROLE_STORE)
        child = child->next;
    return child != NULL ? child->id : 0;
}

static uint32_t *handed_over(const struct store_call *c)
{
    const struct config *config = c->store->front->config;
    return &c->store->handed_over[config_key(config, span_text(c->profile->key)) - config->keys];
}

static struct key *key_of(const struct store_call *c)
{
    return keys_find(c->store->front->keys, span_text(c->profile->key));
}

static void ask_for_data_key(struct store_call *c);

/* The next one that wants to make a data key may begin. */
static void end_making(struct store_call *c)
{
    struct login_store *store = c->store;
    if (!c->making)
        return;
    c->making = false;
    store->making = c->next;
    if (store->making == NULL)
        store->end = &store->making;
    else
        ask_for_data_key(store->making);
}

static void finish(struct store_call *c, const struct error *err, bool unsealable, const struct login_record *record)
{
    end_making(c);
    c->done(c->context, err, unsealable, record);
    buffer_free(&c->record);
    free(c);
}

/* The store process may have ended on the way: a save is the same when it is done twice. */
static void fail(struct store_call *c, const struct error *err)
{
    end_making(c);
    if ((err->status == STATUS_RESTARTED || c->store_id != store_id(c->store->front)) && ++c->tries < TRIES_MAX) {
        begin(c);
        return;
    }
    finish(c, err, false, NULL);
}

/* --- the call itself --- */

static struct span issuer_of(const struct profile_config *p)
{
    return span_text(p->issuer != NULL ? p->issuer : p->token_endpoint != NULL ? p->token_endpoint
                     : p->resources.items[0]);
}

static void on_called(void *context, const struct error *failure, struct span fields)
{
    struct store_call *c = context;
    struct login_loaded loaded;
    struct login_record record;
    struct error err;
    if (failure != NULL) {
        fail(c, failure);
    } else if (c->operation != INTERNAL_LOGIN_LOAD) {
        finish(c, NULL, false, NULL);
    } else if (message_take(fields, &message_login_loaded, &loaded, sizeof(loaded), &err) != STATUS_OK ||
               (loaded.found && message_take(loaded.record, &message_login_record, &record, sizeof(record),
                                             &err) != STATUS_OK)) {
        finish(c, &err, false, NULL);
    } else {
        finish(c, NULL, false, loaded.found ? &record : NULL);
    }
}

static void call(struct store_call *c)
{
    struct front *f = c->store->front;
    const struct profile_config *p = c->profile;
    const struct key_public *key = keys_public(key_of(c));
    struct span jkt = span_text(key != NULL ? key->jkt : "none"); /* a removal needs no key */
    struct login_save save = {.profile = span_text(p->name), .key = span_text(p->key), .issuer = issuer_of(p),
                              .client_id = span_text(p->client_id), .jkt = jkt, .record = buffer_span(&c->record)};
    struct login_name name = {.profile = save.profile, .key = save.key, .issuer = save.issuer,
                              .client_id = save.client_id, .jkt = jkt};
    bool saves = c->operation == INTERNAL_LOGIN_SAVE;
    children_call(f->children, ROLE_STORE, c->operation, saves ? &message_login_save : &message_login_name,
                  saves ? (const void *)&save : (const void *)&name, c->deadline, on_called, c);
}

/* --- the data key --- */

static void on_handed_over(void *context, const struct error *failure, struct span fields)
{
    struct store_call *c = context;
    (void)fields;
    if (failure != NULL) {
        fail(c, failure);
        return;
    }
    *handed_over(c) = c->store_id;
    end_making(c);
    call(c);
}

/* Did the token itself say no, or may it give its data key another time? */
static bool refused_for_good(enum status status)
{
    return status != STATUS_TIMEOUT && status != STATUS_BUSY && status != STATUS_RESTARTED &&
           status != STATUS_KEY_ABSENT &&
           status != STATUS_KEY_LOCKED && status != STATUS_KEY_WRONG && status != STATUS_SECRET_UNREADABLE &&
           status != STATUS_NO_MEMORY;
}

/* There may be no data key yet: then there is no record that it could open. */
static void on_data_key(void *context, const struct error *failure, struct span fields)
{
    struct store_call *c = context;
    struct data_key_answer answer;
    struct error err;
    if (failure != NULL) {
        finish(c, failure, refused_for_good(failure->status), NULL);
    } else if (message_take(fields, &message_data_key_answer, &answer, sizeof(answer), &err) != STATUS_OK) {
        finish(c, &err, false, NULL);
    } else if (answer.sealed.data == NULL) {
        finish(c, NULL, false, NULL);
    } else {
        struct store_key m = {.key = span_text(c->profile->key), .sealed = answer.sealed};
        children_call(c->store->front->children, ROLE_STORE, INTERNAL_STORE_KEY, &message_store_key, &m, c->deadline,
                      on_handed_over, c);
    }
}

static void on_public(void *context, const struct error *failure, struct span fields)
{
    struct store_call *c = context;
    struct store_public public;
    struct error err;
    if (failure != NULL) {
        fail(c, failure);
    } else if (message_take(fields, &message_store_public, &public, sizeof(public), &err) != STATUS_OK) {
        finish(c, &err, false, NULL);
    } else {
        struct data_key_request m = {.public_key = public.public_key, .make = c->operation == INTERNAL_LOGIN_SAVE};
        keys_call(key_of(c),
                  &(struct key_call){.operation = INTERNAL_DATA_KEY, .message = &message_data_key_request, .in = &m,
                                                .descriptors = {-1, -1}, .repeatable = true, .done = on_data_key,
                                                .context = c, .deadline = c->deadline});
    }
}

static void ask_for_data_key(struct store_call *c)
{
    struct empty_message nothing = {0};
    children_call(c->store->front->children, ROLE_STORE, INTERNAL_STORE_PUBLIC, &message_empty, &nothing, c->deadline,
                  on_public, c);
}

static void begin(struct store_call *c)
{
    struct login_store *store = c->store;
    c->store_id = store_id(store->front);
    if (c->operation == INTERNAL_LOGIN_DELETE || (c->store_id != 0 && *handed_over(c) == c->store_id)) {
        call(c);
    } else if (c->operation == INTERNAL_LOGIN_LOAD) {
        ask_for_data_key(c);
    } else {
        c->making = true;
        c->next = NULL;
        *store->end = c;
        store->end = &c->next;
        if (store->making == c)
            ask_for_data_key(c);
    }
}

static void start(struct front *f, const struct profile_config *profile, uint16_t operation,
                  const struct login_record *record, uint64_t deadline, login_store_done done, void *context)
{
    struct store_call *c = calloc(1, sizeof(*c));
    struct error err;
    if (c == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, false, NULL);
        return;
    }
    *c = (struct store_call){.store = f->login_store, .profile = profile, .operation = operation, .deadline = deadline,
                             .done = done, .context = context};
    buffer_init(&c->record, INTERNAL_FRAME_MAX);
    if (record != NULL)
        message_put(&c->record, &message_login_record, record);
    if (c->record.failed) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        finish(c, &err, false, NULL);
        return;
    }
    begin(c);
}

void login_store_load(struct front *f, const struct profile_config *profile, uint64_t deadline, login_store_done done,
                      void *context)
{
    start(f, profile, INTERNAL_LOGIN_LOAD, NULL, deadline, done, context);
}

void login_store_save(struct front *f, const struct profile_config *profile, const struct login_record *record,
                      uint64_t deadline, login_store_done done, void *context)
{
    start(f, profile, INTERNAL_LOGIN_SAVE, record, deadline, done, context);
}

void login_store_remove(struct front *f, const struct profile_config *profile, uint64_t deadline, login_store_done done,
                        void *context)
{
    start(f, profile, INTERNAL_LOGIN_DELETE, NULL, deadline, done, context);
}
