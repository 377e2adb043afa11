/* See keys.h. */
#include "keys.h"

#include "log.h"
#include "logins.h"
#include "pin_turns.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 4096        /* jobs that may wait for one key */
#define AT_WORKER_MAX 8       /* jobs that are at one worker at once: enough to keep it busy, few to lose */
#define OPEN_TIMEOUT 30000000 /* microseconds a worker may take to be ready or to say why not */

enum key_state { KEY_STARTING, KEY_STATE_READY, KEY_RECOVERING, KEY_REFUSED };

/* A job that asks for the data key instead of a signature; told through its sign_job like the others. */
struct data_job {
    uint8_t public_key[STORE_PUBLIC_SIZE];
    bool make;
    data_key_done done;
    void *context;
};

struct job {
    struct job *next;
    struct sign_job sign;  /* sign.done NULL: the caller has been told already */
    struct data_job *data; /* NULL: a signature is wanted */
    unsigned int tries;
    uint64_t sent;
};

struct worker {
    struct child *child; /* NULL: not running */
    bool ready;
    uint64_t progress; /* when it last said something while opening */
    struct job *first, **end; /* at the worker, oldest first */
    size_t count;
};

struct key {
    struct keys *keys;
    const struct key_config *config;
    enum key_state state;
    struct error reason; /* of KEY_REFUSED */
    bool seen;
    struct key_public public;
    uint32_t attributes;
    bool imported;
    char token[LIMIT_NAME], model[LIMIT_NAME];
    struct worker *workers;
    struct job *first, **end;
    uint32_t waiting;
    uint64_t signatures;
};

struct keys {
    struct front *front;
    struct key *keys;
    size_t count;
    struct pin_turns *turns;
};

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
        key->end = &key->first;
        key->workers = calloc(key->config->workers, sizeof(*key->workers));
        if (key->workers == NULL)
            return -1;
        for (unsigned int i = 0; i < key->config->workers; i++)
            key->workers[i].end = &key->workers[i].first;
    }
    return 0;
}

static struct job *take_first(struct job **first, struct job ***end)
{
    struct job *job = *first;
    *first = job->next;
    if (*first == NULL)
        *end = first;
    job->next = NULL;
    return job;
}

static void append(struct job ***end, struct job *job)
{
    job->next = NULL;
    **end = job;
    *end = &job->next;
}

struct key *keys_find(struct keys *keys, struct span name)
{
    for (size_t i = 0; i < keys->count; i++)
        if (span_is(name, keys->keys[i].config->name))
            return &keys->keys[i];
    return NULL;
}

struct key *keys_only(struct keys *keys)
{
    return keys->count == 1 ? &keys->keys[0] : NULL;
}

const struct key_config *keys_config(const struct key *key)
{
    return key->config;
}

const struct key_public *keys_public(const struct key *key)
{
    return key->seen ? &key->public : NULL;
}

static void free_job(struct job *job)
{
    free(job->data);
    free(job);
}

static void finish(struct job *job, const struct error *err, const struct key_public *public, const uint8_t *signature)
{
    if (job->sign.done != NULL)
        job->sign.done(job->sign.context, err, public, signature);
    free_job(job);
}

void keys_end(struct keys *keys)
{
    struct error err;
    (void)error_set(&err, STATUS_RESTARTED, "try again", "the agent is ending or reloading its configuration");
    for (size_t i = 0; keys != NULL && i < keys->count; i++) {
        struct key *key = &keys->keys[i];
        while (key->first != NULL)
            finish(take_first(&key->first, &key->end), &err, NULL, NULL);
        for (unsigned int w = 0; w < key->config->workers; w++)
            while (key->workers[w].first != NULL)
                finish(take_first(&key->workers[w].first, &key->workers[w].end), &err, NULL, NULL);
    }
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

static struct worker *free_worker(struct key *key)
{
    struct worker *best = NULL;
    for (unsigned int i = 0; i < key->config->workers; i++) {
        struct worker *w = &key->workers[i];
        if (w->ready && w->count < AT_WORKER_MAX && (best == NULL || w->count < best->count))
            best = w;
    }
    return best;
}

static void send_job(struct key *key, struct worker *w, struct job *job)
{
    uint8_t digest[JWK_DIGEST_SIZE];
    struct error err;
    struct stream *s = &w->child->stream;
    if (job->sign.done == NULL) {
        free_job(job);
        return;
    }
    if (job->data != NULL) {
        struct data_key_request m = {.public_key = span_of(job->data->public_key, STORE_PUBLIC_SIZE), .make = job->data->make};
        message_put_frame(&s->out, INTERNAL_DATA_KEY, 0, &message_data_key_request, &m);
    } else if (job->sign.build(job->sign.context, &key->public, digest, &err) == STATUS_OK) {
        struct sign_request m = {.digest = span_of(digest, sizeof(digest))};
        message_put_frame(&s->out, INTERNAL_SIGN, 0, &message_sign_request, &m);
    } else {
        finish(job, &err, NULL, NULL);
        return;
    }
    stream_send(s);
    job->sent = front_now(key->keys->front);
    append(&w->end, job);
    w->count++;
}

/* Gives jobs to free workers, or tells why there will be none. */
static void pump(struct key *key)
{
    struct worker *w;
    while (key->first != NULL && (w = free_worker(key)) != NULL) {
        key->waiting--;
        send_job(key, w, take_first(&key->first, &key->end));
    }
    while (key->first != NULL && key->state == KEY_REFUSED) {
        struct error reason = key->reason;
        key->waiting--;
        finish(take_first(&key->first, &key->end), &reason, NULL, NULL);
    }
}

/* Takes `data` over. */
static void add_job(struct key *key, const struct sign_job *sign, struct data_job *data)
{
    struct error err;
    struct job *job = NULL;
    if (key->waiting >= QUEUE_MAX || (job = calloc(1, sizeof(*job))) == NULL) {
        (void)error_set(&err, STATUS_BUSY, "try again later", "key \"%s\": %u signatures are waiting already", key->config->name,
                        key->waiting);
        sign->done(sign->context, &err, NULL, NULL);
        free(data);
        return;
    }
    job->sign = *sign;
    job->data = data;
    append(&key->end, job);
    key->waiting++;
    pump(key);
    front_wait(key->keys->front);
}

void keys_sign(struct key *key, const struct sign_job *sign)
{
    add_job(key, sign, NULL);
}

static void on_no_data_key(void *context, const struct error *err, const struct key_public *key, const uint8_t *signature)
{
    const struct data_job *data = context;
    (void)key;
    (void)signature;
    data->done(data->context, err, NULL);
}

void keys_data_key(struct key *key, const struct data_key_request *request, uint64_t deadline, data_key_done done, void *context)
{
    struct error err;
    struct data_job *data = calloc(1, sizeof(*data));
    if (data == NULL || request->public_key.len != STORE_PUBLIC_SIZE) {
        free(data);
        (void)error_set(&err, STATUS_INTERNAL, NULL, "out of memory, or no public key of the store");
        done(context, &err, NULL);
        return;
    }
    *data = (struct data_job){.make = request->make, .done = done, .context = context};
    memcpy(data->public_key, request->public_key.data, STORE_PUBLIC_SIZE);
    struct sign_job told = {.done = on_no_data_key, .context = data, .deadline = deadline};
    add_job(key, &told, data);
}

static bool any_ready(const struct key *key)
{
    for (unsigned int i = 0; i < key->config->workers; i++)
        if (key->workers[i].ready)
            return true;
    return false;
}

/* A worker reports why it cannot serve. The key's state follows only when no other worker serves. */
static void refuse(struct key *key, const struct error *why)
{
    if (any_ready(key))
        return;
    if (key->state != KEY_REFUSED || key->reason.status != why->status)
        log_warning("key %s is %s: %s", key->config->name, status_name(why->status), why->message);
    key->state = KEY_REFUSED;
    key->reason = *why;
    pump(key);
}

/* Is it the key that we know? The first one seen is remembered. */
static enum status recognise(struct key *key, const struct key_ready *m, struct error *err)
{
    struct key_public public;
    const char *known = key->config->thumbprint != NULL ? key->config->thumbprint : key->seen ? key->public.jkt : NULL;
    if (m->x.len != sizeof(public.jwk.x) || m->y.len != sizeof(public.jwk.y))
        return error_set(err, STATUS_INTERNAL, NULL, "key \"%s\": its process reports no key", key->config->name);
    memcpy(public.jwk.x, m->x.data, sizeof(public.jwk.x));
    memcpy(public.jwk.y, m->y.data, sizeof(public.jwk.y));
    if (jwk_thumbprint(&public.jwk, public.jkt) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "key \"%s\": its thumbprint cannot be computed", key->config->name);
    if (known != NULL && strcmp(known, public.jkt) != 0)
        return error_set(err, STATUS_KEY_WRONG, "put the right token back, or correct thumbprint and uri and reload",
                         "key \"%s\": the token holds key %s, but %s is expected", key->config->name, public.jkt, known);
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
    pin_turns_over(key->keys->turns, w->child);
    if (recognise(key, &m, &err) != STATUS_OK) {
        refuse(key, &err);
        children_kill(key->keys->front->children, w->child, err.message);
        return true;
    }
    key->attributes = m.attributes;
    key->imported = m.imported;
    error_put_text(key->token, sizeof(key->token), m.token);
    error_put_text(key->model, sizeof(key->model), m.model);
    if (key->state != KEY_STATE_READY)
        log_info("key %s is ready: thumbprint %s", key->config->name, key->public.jkt);
    key->state = KEY_STATE_READY;
    w->ready = true;
    w->child->ready = true;
    pump(key);
    logins_key_ready(key->keys->front->logins, key->config->name);
    return true;
}

static bool on_failed(struct key *key, struct worker *w, const struct frame *frame)
{
    struct error err;
    if (messages_take_error(frame->fields, &err) != STATUS_OK)
        return false;
    w->ready = false;
    w->progress = UINT64_MAX; /* it has said what there is to say, and may now wait for another PIN */
    pin_turns_over(key->keys->turns, w->child);
    refuse(key, &err);
    return true;
}

static void put_back(struct key *key, struct job *job, const struct error *why)
{
    if (job->sign.done == NULL) {
        free_job(job);
    } else if (++job->tries >= 2) {
        finish(job, why, NULL, NULL);
    } else {
        if (key->first == NULL)
            key->end = &job->next;
        job->next = key->first;
        key->first = job;
        key->waiting++;
    }
}

/* The answer to a job that asked for the data key. A failure is that job's alone. */
static bool on_data_key(struct key *key, struct worker *w, const struct frame *frame)
{
    struct data_key_answer answer;
    struct error err;
    bool failed = frame->operation == OPERATION_ERROR;
    if (failed ? messages_take_error(frame->fields, &err) != STATUS_OK
               : frame->operation != (INTERNAL_DATA_KEY | OPERATION_ANSWER) ||
                     message_take(frame->fields, &message_data_key_answer, &answer, sizeof(answer), &err) != STATUS_OK)
        return false;
    w->count--;
    struct job *job = take_first(&w->first, &w->end);
    if (w->first != NULL)
        w->first->sent = front_now(key->keys->front);
    if (failed) {
        finish(job, &err, NULL, NULL);
    } else {
        if (job->sign.done != NULL)
            job->data->done(job->data->context, NULL, &answer);
        free_job(job);
    }
    pump(key);
    return true;
}

static bool on_signed(struct key *key, struct worker *w, const struct frame *frame)
{
    struct sign_answer m;
    struct error err;
    if (w->first == NULL)
        return false;
    if (w->first->data != NULL)
        return on_data_key(key, w, frame);
    if (frame->operation == OPERATION_ERROR) {
        if (messages_take_error(frame->fields, &err) != STATUS_OK)
            return false;
        w->ready = false; /* a session that failed once is not used again: the process ends */
        w->count--;
        put_back(key, take_first(&w->first, &w->end), &err);
        if (!any_ready(key))
            key->state = KEY_RECOVERING;
        pump(key);
        return true;
    }
    if (message_take(frame->fields, &message_sign_answer, &m, sizeof(m), &err) != STATUS_OK ||
        m.signature.len != JWK_SIGNATURE_SIZE)
        return false;
    w->count--;
    key->signatures++;
    struct job *signed_job = take_first(&w->first, &w->end);
    if (w->first != NULL)
        w->first->sent = front_now(key->keys->front); /* it is only now at the module */
    finish(signed_job, NULL, &key->public, m.signature.data);
    pump(key);
    return true;
}

static struct worker *worker_of(struct keys *keys, const struct child *child, struct key **key)
{
    *key = keys_find(keys, span_text(child->name));
    return *key != NULL && child->worker < (*key)->config->workers ? &(*key)->workers[child->worker] : NULL;
}

bool keys_frame(struct keys *keys, struct child *child, const struct frame *frame)
{
    struct key *key;
    struct worker *w = worker_of(keys, child, &key);
    if (w == NULL)
        return false;
    if (w->progress != UINT64_MAX)
        w->progress = front_now(keys->front);
    switch (frame->operation) {
    case INTERNAL_SIGN | OPERATION_ANSWER:
    case INTERNAL_DATA_KEY | OPERATION_ANSWER:
    case OPERATION_ERROR:
        return on_signed(key, w, frame);
    case INTERNAL_KEY_READY:
        return on_ready(key, w, frame);
    case INTERNAL_KEY_FAILED:
        return on_failed(key, w, frame);
    case INTERNAL_PIN_LOAD:
    case INTERNAL_PIN_RECORD:
        return pin_turns_frame(keys->turns, child, frame);
    default:
        return false;
    }
}

void keys_attached(struct keys *keys, struct child *child)
{
    struct key *key;
    struct worker *w = worker_of(keys, child, &key);
    if (w == NULL)
        return;
    w->child = child;
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
    w->child = NULL;
    w->ready = false;
    (void)error_set(&err, STATUS_RESTARTED, "try again", "key \"%s\": its process ended twice while it was signing",
                    key->config->name);
    struct job *reversed = NULL; /* put back last first, so that the oldest comes to the head */
    while (w->first != NULL) {
        struct job *job = take_first(&w->first, &w->end);
        job->next = reversed;
        reversed = job;
    }
    w->count = 0;
    while (reversed != NULL) {
        struct job *job = reversed;
        reversed = job->next;
        put_back(key, job, &err);
    }
    if (was_ready && !any_ready(key) && key->state == KEY_STATE_READY)
        key->state = KEY_RECOVERING;
    pump(key);
}

/* Tells the caller of one job whose time is over. Jobs that are at a worker stay there until it answers or ends. */
static bool expire_one(struct key *key, struct job *first, uint64_t now)
{
    struct error err;
    struct job *job = first;
    while (job != NULL && (job->sign.done == NULL || now < job->sign.deadline))
        job = job->next;
    if (job == NULL)
        return false;
    struct sign_job sign = job->sign;
    job->sign.done = NULL;
    (void)error_set(&err, STATUS_TIMEOUT, "see dpop status; try again", "key \"%s\": no signature came in time", key->config->name);
    sign.done(sign.context, &err, NULL, NULL);
    return true;
}

/* Takes the jobs out of the queue that nobody waits for any more. */
static void drop_told(struct key *key)
{
    struct job **p = &key->first;
    while (*p != NULL) {
        struct job *job = *p;
        if (job->sign.done != NULL) {
            p = &job->next;
            continue;
        }
        *p = job->next;
        key->waiting--;
        free_job(job);
    }
    key->end = p;
}

static void tick_worker(struct key *key, struct worker *w, uint64_t now)
{
    while (expire_one(key, w->first, now)) {
    }
    if (w->child == NULL)
        return;
    /* Making a data key writes to the token, which takes longer than a signature. */
    uint64_t patience = w->first != NULL && w->first->data != NULL ? OPEN_TIMEOUT : key->config->sign_timeout * UINT64_C(1000000);
    if (w->first != NULL && now > w->first->sent + patience) {
        w->ready = false;
        if (!any_ready(key) && key->state == KEY_STATE_READY)
            key->state = KEY_RECOVERING;
        children_kill(key->keys->front->children, w->child, "it did not sign in time");
    } else if (!w->ready && w->progress != UINT64_MAX && now > w->progress + OPEN_TIMEOUT &&
               !pin_turns_waits(key->keys->turns, w->child)) {
        struct error err;
        (void)error_set(&err, STATUS_KEY_FAILED, "look at the token; the agent tries again by itself",
                        "key \"%s\": its module did not open the token within %d seconds", key->config->name,
                        OPEN_TIMEOUT / 1000000);
        refuse(key, &err);
        children_kill(key->keys->front->children, w->child, "it did not open its token in time");
    }
}

void keys_tick(struct keys *keys, uint64_t now)
{
    for (size_t i = 0; i < keys->count; i++) {
        struct key *key = &keys->keys[i];
        while (expire_one(key, key->first, now)) {
        }
        drop_told(key);
        for (unsigned int w = 0; w < key->config->workers; w++)
            tick_worker(key, &key->workers[w], now);
    }
}

bool keys_waiting(const struct keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        const struct key *key = &keys->keys[i];
        if (key->first != NULL)
            return true;
        for (unsigned int w = 0; w < key->config->workers; w++) {
            const struct worker *worker = &key->workers[w];
            if (worker->first != NULL || (worker->child != NULL && !worker->ready && worker->progress != UINT64_MAX))
                return true;
        }
    }
    return false;
}

uint32_t keys_jobs_waiting(const struct keys *keys)
{
    uint32_t n = 0;
    for (size_t i = 0; i < keys->count; i++)
        n += keys->keys[i].waiting;
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
        bool refused = key->state == KEY_REFUSED;
        struct key_info info = {.name = span_text(key->config->name),
                                .uri = span_text(key->config->uri),
                                .state = span_text(state_name(key)),
                                .reason = span_text(refused ? key->reason.message : NULL),
                                .next = span_text(refused && key->reason.next[0] != '\0' ? key->reason.next : NULL),
                                .workers = (uint16_t)key->config->workers,
                                .waiting = key->waiting,
                                .signatures = key->signatures};
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
