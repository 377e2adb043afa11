/*
 * The processes (workers) of one key, and the jobs that they are at: see keys.h for what happens to a job.
 *
 * A worker has few jobs at once: enough to keep a fast token busy, and of a slow one no more than the next, since what
 * is at a worker has left the fair queue. It answers in order. One that does not answer in time is killed; what it was
 * at goes back to the head of the queue, once. So does a job that it answered with a failure; it then heals (KEY_READY
 * follows) or ends (KEY_FAILED).
 */
#include "key_parts.h"

#include "pin_turns.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT_WORKER_MAX 8
#define AT_SLOW_WORKER_MAX 2
#define SLOW 1000             /* microseconds for a signature */
#define OPEN_TIMEOUT 30000000 /* microseconds a worker may take to be ready or to say why not, and for a call */

static void close_descriptors(struct key_call *call)
{
    for (size_t i = 0; i < LIMIT_DESCRIPTORS; i++)
        if (call->descriptors[i] >= 0)
            (void)close(call->descriptors[i]);
}

static void free_job(struct job *job)
{
    if (job->call != NULL)
        close_descriptors(job->call);
    free(job->call);
    buffer_free(&job->fields);
    free(job);
}

static void tell(struct job *job, const struct error *err, const uint8_t *signature, const struct key_public *public,
                 struct span fields)
{
    if (job->told)
        return;
    job->told = true;
    if (job->call != NULL)
        job->call->done(job->call->context, err, fields);
    else
        job->sign.done(job->sign.context, err, public, signature);
}

static void fail(struct job *job, const struct error *err)
{
    tell(job, err, NULL, NULL, span_of("", 0));
    free_job(job);
}

static struct job *take_first(struct worker *w)
{
    struct job *job = w->first;
    w->first = job->next;
    if (w->first == NULL)
        w->end = &w->first;
    job->next = NULL;
    w->count--;
    return job;
}

/* To the worker's stream, behind what it has already. */
static void hand_over(struct key *key, struct worker *w, struct job *job)
{
    job->next = NULL;
    job->sent = front_now(key->keys->front);
    *w->end = job;
    w->end = &job->next;
    w->count++;
    stream_send(&w->child->stream);
}

static bool put_call(struct stream *s, struct job *job)
{
    struct key_call *call = job->call;
    struct span fields = buffer_span(&job->fields);
    size_t count = 0;
    while (count < LIMIT_DESCRIPTORS && call->descriptors[count] >= 0)
        count++;
    if (count > 0 && stream_put_descriptors(s, call->descriptors, count) != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        call->descriptors[i] = -1; /* the stream's now */
    size_t begin = frame_begin(&s->out, call->operation, 0);
    buffer_put(&s->out, fields.data, fields.len);
    frame_end(&s->out, begin);
    return true;
}

static enum status build(const struct key *key, const struct job *job, uint8_t digest[JWK_DIGEST_SIZE],
                         struct error *err)
{
    if (job->sign.build != NULL)
        return job->sign.build(job->sign.context, &key->public, digest, err);
    randombytes_buf(digest, JWK_DIGEST_SIZE);
    return STATUS_OK;
}

static void send_job(struct key *key, struct worker *w, struct job *job)
{
    uint8_t digest[JWK_DIGEST_SIZE];
    struct error err;
    struct stream *s = &w->child->stream;
    if (job->call != NULL) {
        if (!put_call(s, job)) {
            (void)error_set(&err, STATUS_BUSY, "try again", "key \"%s\" is at another such request", key->name);
            fail(job, &err);
            return;
        }
    } else if (build(key, job, digest, &err) == STATUS_OK) {
        struct sign_request m = {.digest = span_of(digest, sizeof(digest))};
        message_put_frame(&s->out, INTERNAL_SIGN, 0, &message_sign_request, &m);
    } else {
        fail(job, &err);
        return;
    }
    hand_over(key, w, job);
}

static struct worker *free_worker(const struct key *key)
{
    struct worker *best = NULL;
    size_t most = key->sign_time > SLOW ? AT_SLOW_WORKER_MAX : AT_WORKER_MAX;
    for (unsigned int i = 0; i < key->config->workers; i++) {
        struct worker *w = &key->workers[i];
        if (w->ready && w->count < most && (best == NULL || w->count < best->count))
            best = w;
    }
    return best;
}

void key_workers_pump(struct key *key)
{
    struct worker *w;
    while (key->queue.waiting > 0 && (w = free_worker(key)) != NULL)
        send_job(key, w, (struct job *)key_queue_take(&key->queue));
    while (key->queue.waiting > 0 && key->state == KEY_REFUSED) {
        struct error reason = key->reason;
        fail((struct job *)key_queue_take(&key->queue), &reason);
    }
}

static struct job *new_job(const struct sign_job *sign, const struct key_call *call, struct buffer *fields)
{
    struct job *job = calloc(1, sizeof(*job));
    struct key_call *copy = call != NULL ? malloc(sizeof(*copy)) : NULL;
    if (job == NULL || (call != NULL && copy == NULL)) {
        free(job);
        free(copy);
        return NULL;
    }
    if (call != NULL) {
        *copy = *call;
        job->call = copy;
        job->deadline = call->deadline;
        job->fields = *fields;
        *fields = (struct buffer){0};
    } else {
        job->sign = *sign;
        job->queued.owner = sign->owner;
        job->deadline = sign->deadline;
    }
    return job;
}

static void no_room(struct key *key, const struct job *job, bool own, struct error *err)
{
    if (own)
        (void)error_set(err, STATUS_BUSY, "wait for answers before asking more",
                        "key \"%s\": %d signatures for this program (process %u) are waiting already", key->name,
                        KEY_QUEUE_OWNER_MAX, job->queued.owner);
    else
        (void)error_set(err, STATUS_BUSY, "try again later", "key \"%s\": %u signatures are waiting already", key->name,
                        key->queue.waiting);
}

void key_workers_sign(struct key *key, const struct sign_job *sign)
{
    struct error err;
    bool own = false;
    struct job *job = new_job(sign, NULL, NULL);
    if (job == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        sign->done(sign->context, &err, NULL, NULL);
    } else if (!key_queue_add(&key->queue, &job->queued, &own)) {
        no_room(key, job, own, &err);
        fail(job, &err);
    } else {
        key_workers_pump(key);
        front_wait(key->keys->front);
    }
}

/* NULL: it has been told. */
static struct job *new_call(const struct key_call *call)
{
    struct buffer fields;
    struct error err;
    struct key_call mine = *call;
    buffer_init(&fields, INTERNAL_FRAME_MAX);
    message_put(&fields, call->message, call->in);
    struct job *job = fields.failed ? NULL : new_job(NULL, call, &fields);
    buffer_free(&fields);
    if (job != NULL)
        return job;
    close_descriptors(&mine);
    (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
    call->done(call->context, &err, span_of("", 0));
    return NULL;
}

void key_workers_call(struct key *key, const struct key_call *call)
{
    struct error err;
    bool own = false;
    struct job *job = new_call(call);
    if (job == NULL)
        return;
    if (!key_queue_add(&key->queue, &job->queued, &own)) {
        no_room(key, job, own, &err);
        fail(job, &err);
        return;
    }
    key_workers_pump(key);
    front_wait(key->keys->front);
}

bool key_workers_unlock(struct key *key, const struct key_call *call)
{
    struct worker *w = NULL;
    for (unsigned int i = 0; i < key->config->workers && w == NULL; i++)
        if (key->workers[i].child != NULL && (key->workers[i].ready || key->workers[i].progress == UINT64_MAX))
            w = &key->workers[i];
    struct job *job = w != NULL ? new_call(call) : NULL;
    if (job != NULL) {
        send_job(key, w, job);
        front_wait(key->keys->front);
    }
    return w != NULL;
}

/* A call is not known to have done nothing, and its descriptors are gone: only one that may be asked twice goes
   back. */
static void put_back(struct key *key, struct job *job, const struct error *why)
{
    if (job->told)
        free_job(job);
    else if (++job->tries >= 2 || (job->call != NULL && !job->call->repeatable))
        fail(job, why);
    else
        key_queue_return(&key->queue, &job->queued);
}

/* The worker's session failed. It heals by itself and says so, or ends. */
static void on_failure(struct key *key, struct worker *w, const struct error *err)
{
    w->ready = false;
    w->progress = front_now(key->keys->front);
    put_back(key, take_first(w), err);
    if (!keys_any_ready(key))
        keys_recovering(key, err);
}

static void on_signed(struct key *key, struct worker *w, struct span signature)
{
    uint64_t now = front_now(key->keys->front);
    struct job *job = take_first(w);
    uint32_t took = (uint32_t)(now - job->sent);
    key->sign_time = key->sign_time == 0 ? took : (7 * key->sign_time + took) / 8;
    key->signatures++;
    if (w->first != NULL)
        w->first->sent = now; /* it is only now at the module */
    tell(job, NULL, signature.data, &key->public, span_of("", 0));
    free_job(job);
}

/* The answer to what is a call. A failure is that call's alone: a worker that cannot go on says so besides. */
static bool on_called(struct key *key, struct worker *w, const struct frame *frame)
{
    struct error err;
    bool failed = frame->operation == OPERATION_ERROR;
    if (failed ? messages_take_error(frame->fields, &err) != STATUS_OK
               : frame->operation != (w->first->call->operation | OPERATION_ANSWER))
        return false;
    struct job *job = take_first(w);
    if (w->first != NULL)
        w->first->sent = front_now(key->keys->front);
    tell(job, failed ? &err : NULL, NULL, NULL, frame->fields);
    free_job(job);
    return true;
}

bool key_workers_frame(struct key *key, struct worker *w, const struct frame *frame)
{
    struct sign_answer m;
    struct error err;
    if (w->first == NULL)
        return false;
    if (w->first->call != NULL) {
        if (!on_called(key, w, frame))
            return false;
    } else if (frame->operation == OPERATION_ERROR) {
        if (messages_take_error(frame->fields, &err) != STATUS_OK)
            return false;
        on_failure(key, w, &err);
    } else {
        if (frame->operation != (INTERNAL_SIGN | OPERATION_ANSWER) ||
            message_take(frame->fields, &message_sign_answer, &m, sizeof(m), &err) != STATUS_OK ||
            m.signature.len != JWK_SIGNATURE_SIZE)
            return false;
        on_signed(key, w, m.signature);
    }
    key_workers_pump(key);
    return true;
}

void key_workers_ended(struct key *key, struct worker *w)
{
    struct error err;
    struct job *reversed = NULL; /* put back last first, so that the oldest comes to the head */
    w->child = NULL;
    w->ready = false;
    (void)error_set(&err, STATUS_RESTARTED, "try again", "key \"%s\": its process ended while it was at this request",
                    key->name);
    while (w->first != NULL) {
        struct job *job = take_first(w);
        job->next = reversed;
        reversed = job;
    }
    while (reversed != NULL) {
        struct job *job = reversed;
        reversed = job->next;
        job->next = NULL;
        put_back(key, job, &err);
    }
}

static void say_late(const struct key *key, struct error *err)
{
    bool known = key->state == KEY_RECOVERING || key->state == KEY_REFUSED;
    (void)error_set(err, STATUS_TIMEOUT,
                    known && key->reason.next[0] != '\0' ? key->reason.next : "see dpop status; try again",
                    "key \"%s\": no answer of its token came in time%s%s", key->name,
                    known ? "; it is recovering: " : "", known ? key->reason.message : "");
}

static bool is_over(const struct queued *item, void *context)
{
    const struct job *job = (const struct job *)(const void *)item;
    return *(const uint64_t *)context >= job->deadline;
}

/* Tells those whose time is over. Jobs that are at a worker stay there until it answers or ends. */
static void expire(struct key *key, uint64_t now)
{
    struct error err;
    struct queued *late;
    while ((late = key_queue_take_if(&key->queue, is_over, &now)) != NULL) {
        say_late(key, &err);
        fail((struct job *)late, &err);
    }
    for (unsigned int i = 0; i < key->config->workers; i++) {
        struct job *job = key->workers[i].first;
        while (job != NULL && (job->told || now < job->deadline))
            job = job->next;
        if (job != NULL) {
            say_late(key, &err);
            tell(job, &err, NULL, NULL, span_of("", 0));
            i--; /* `done` may have changed the list: from its beginning again */
        }
    }
}

static void watch_worker(struct key *key, struct worker *w, uint64_t now)
{
    struct front *f = key->keys->front;
    struct error err;
    if (w->child == NULL)
        return;
    uint64_t patience = w->first != NULL &&
        w->first->call != NULL ? OPEN_TIMEOUT : key->config->sign_timeout * UINT64_C(1000000);
    if (w->first != NULL && now > w->first->sent + patience) {
        w->ready = false;
        (void)error_set(&err, STATUS_KEY_FAILED, "look at the token; the agent tries again by itself",
                        "key \"%s\": the token has not answered for %" PRIu64 " seconds", key->name,
                        patience / 1000000);
        if (!keys_any_ready(key) && key->state == KEY_STATE_READY)
            keys_recovering(key, &err);
        children_kill(f->children, w->child, "it did not sign in time");
    } else if (!w->ready && w->progress != UINT64_MAX && now > w->progress + OPEN_TIMEOUT &&
               !pin_turns_waits(key->keys->turns, w->child)) {
        (void)error_set(&err, STATUS_KEY_FAILED, "look at the token; the agent tries again by itself",
                        "key \"%s\": its module did not open the token within %d seconds", key->name,
                        OPEN_TIMEOUT / 1000000);
        keys_refuse(key, &err);
        children_kill(f->children, w->child, "it did not open its token in time");
    }
}

void key_workers_tick(struct key *key, uint64_t now)
{
    expire(key, now);
    for (unsigned int i = 0; i < key->config->workers; i++)
        watch_worker(key, &key->workers[i], now);
}

bool key_workers_waiting(const struct key *key)
{
    bool waiting = key->queue.waiting > 0;
    for (unsigned int i = 0; i < key->config->workers && !waiting; i++) {
        const struct worker *w = &key->workers[i];
        waiting = w->first != NULL || (w->child != NULL && !w->ready && w->progress != UINT64_MAX);
    }
    return waiting;
}

uint32_t key_workers_stalled(const struct key *key, uint64_t now)
{
    uint64_t longest = 0;
    for (unsigned int i = 0; i < key->config->workers; i++) {
        const struct job *job = key->workers[i].first;
        if (job != NULL && now - job->sent > longest)
            longest = now - job->sent;
    }
    return (uint32_t)(longest / 1000);
}

void key_workers_end(struct key *key, const struct error *why)
{
    struct queued *item;
    while ((item = key_queue_take(&key->queue)) != NULL)
        fail((struct job *)item, why);
    for (unsigned int i = 0; i < key->config->workers; i++)
        while (key->workers[i].first != NULL)
            fail(take_first(&key->workers[i]), why);
}
