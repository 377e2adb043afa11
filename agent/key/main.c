/*
 * The key process: one module, one token, one session, one key; digests in, signatures out (role.h, internal.h).
 *
 * It opens the key (opened.h), says KEY_READY, and answers requests in their order. What fails is answered at once,
 * as an error; then the ladder (heal.h) brings the key back, and KEY_READY is said again, or KEY_FAILED, which ends
 * the process: the supervisor starts the next one, with back-off. While a rung waits for an answer of the front,
 * what else comes is kept and answered afterwards. Without requests the token is looked at every IDLE_MS: one that
 * was pulled is noticed before it is needed. A process that a module has let grow too large is replaced (growth.h).
 *
 * Without a PIN that may be sent the process stays, the module closed, until the PIN file changes, the user gives a PIN
 * (unlock.h), or it is time to ask a locked token again. It blocks where the module blocks; deadlines are the
 * front's, which kills.
 */
#include "ckr.h"
#include "data_key.h"
#include "growth.h"
#include "heal.h"
#include "internal.h"
#include "make.h"
#include "role.h"
#include "unlock.h"
#include "wiping_heap.h"

#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>

#define BATCH 4            /* signatures that wait for each other's write at most, */
#define BATCH_TIME 1000000 /* unless they take longer than these nanoseconds: a slow token's answers leave at once */
#define IDLE_MS 2000
#define WAITING_MAX (4 * INTERNAL_FRAME_MAX)
#define MILLISECOND INT64_C(1000000)

struct process {
    struct opened o;
    struct heal heal;
    struct unlock unlock;
    struct channel *channel;
    struct buffer waiting; /* frames that came while an answer was waited for */
    struct buffer current; /* the one of them that is being answered */
    unsigned int unsent;   /* answers since the last write, */
    int64_t begun;         /* and when that was */
    const char *warning;   /* that KEY_READY told last */
    struct growth growth;
    bool ending; /* the front knows it; its answer is the last frame */
};

/* --- frames --- */

static void keep_frame(void *context, const struct frame *frame)
{
    struct process *p = context;
    size_t begin = frame_begin(&p->waiting, frame->operation, frame->request);
    buffer_put(&p->waiting, frame->fields.data, frame->fields.len);
    frame_end(&p->waiting, begin);
}

/* 1: a frame, which lives until the next call, 0: none, -1: malformed, or more than may wait. */
static int next_frame(struct process *p, struct frame *out)
{
    size_t size;
    if (p->waiting.failed)
        return -1;
    if (p->waiting.len == 0)
        return channel_take(p->channel, out);
    struct span all = buffer_span(&p->waiting);
    if (frame_take(all, WAITING_MAX, out, &size) != FRAME_COMPLETE)
        return -1;
    buffer_clear(&p->current);
    buffer_put(&p->current, all.data, size);
    buffer_consume(&p->waiting, size);
    return !p->current.failed && frame_take(buffer_span(&p->current), WAITING_MAX, out,
                                            &size) == FRAME_COMPLETE ? 1 : -1;
}

static void put_ready(struct process *p)
{
    struct opened *o = &p->o;
    p->warning = token_pin_warning(&o->token);
    struct key_ready ready = {
        .x = span_of(o->object.jwk.x, JWK_COORDINATE_SIZE),
        .y = span_of(o->object.jwk.y, JWK_COORDINATE_SIZE),
        .attributes = o->object.attributes,
        .imported = o->object.imported,
        .token = span_text(o->token.label),
        .model = span_text(o->token.model),
        .warning = span_text(p->warning),
    };
    message_put_frame(&p->channel->out, INTERNAL_KEY_READY, 0, &message_key_ready, &ready);
    growth_begin(&p->growth);
}

/* A PIN that is being read comes first. */
static void end_if_too_large(struct process *p, bool now)
{
    if (p->ending || p->unlock.fd >= 0 || !growth_too_large(&p->growth, now))
        return;
    log_info("key \"%s\": this process has grown too large, and ends", p->o.key->name);
    message_put_frame(&p->channel->out, INTERNAL_ENDING, 0, &message_empty, &(struct empty_message){false});
    p->ending = true;
}

/* --- requests --- */

/* Puts the answer to one SIGN. A failure is answered too, and returned: the session is not used again as it is. */
static enum status sign(struct process *p, const struct frame *frame, struct error *err)
{
    struct buffer *out = &p->channel->out;
    struct sign_request request;
    uint8_t signature[JWK_SIGNATURE_SIZE];
    enum status status;
    if (frame->operation != INTERNAL_SIGN)
        status = error_set(err, STATUS_UNKNOWN_OPERATION, NULL, "a key process does not know operation %u",
                           frame->operation);
    else
        status = message_take(frame->fields, &message_sign_request, &request, sizeof(request), err);
    if (status == STATUS_OK && request.digest.len != JWK_DIGEST_SIZE)
        status = error_set(err, STATUS_MALFORMED, NULL, "the digest has %zu bytes", request.digest.len);
    if (status == STATUS_OK)
        status = opened_sign(&p->o, request.digest.data, signature, err);
    if (status == STATUS_OK) {
        struct sign_answer answer = {.signature = span_of(signature, sizeof(signature))};
        message_put_frame(out, INTERNAL_SIGN | OPERATION_ANSWER, frame->request, &message_sign_answer, &answer);
        heal_signed(&p->heal);
        return STATUS_OK;
    }
    struct error answer = *err;
    answer.status = STATUS_KEY_FAILED;
    messages_put_error(out, frame->request, &answer);
    return status;
}

static enum status answer(struct process *p, const struct frame *frame, struct error *err)
{
    const struct opened *o = &p->o;
    *o->module.failed = CKR_OK;
    switch (frame->operation) {
    case INTERNAL_DATA_KEY:
        return data_key_serve(&o->module, o->token.slot, o->session, frame, &p->channel->out, err);
    case INTERNAL_KEY_MAKE:
    case INTERNAL_KEY_IMPORT:
    case INTERNAL_KEY_DESTROY:
        return make_serve(&o->module, &o->token, o->session, &o->uri, o->pin.pin, frame, p->channel, err);
    case INTERNAL_UNLOCK:
        unlock_begin(&p->unlock, &o->pin, p->channel, frame, opened_now());
        (void)unlock_run(&p->unlock, &p->o.pin, p->channel, opened_now());
        return STATUS_OK;
    default:
        return sign(p, frame, err);
    }
}

/* --- the wait for a request --- */

static int left_ms(int64_t deadline, int64_t now)
{
    return deadline > now ? (int)((deadline - now) / MILLISECOND) + 1 : 0;
}

/* Waits for a frame, or for a PIN that is being read. 1: something came, 0: nothing within `ms`, -1: the front is gone.
   */
static int wait_for(struct process *p, int ms)
{
    struct pollfd fds[2] = {{.fd = p->channel->fd, .events = POLLIN}, {.fd = p->unlock.fd, .events = POLLIN}};
    int left = p->unlock.fd >= 0 ? left_ms(p->unlock.deadline, opened_now()) : -1;
    int n = poll(fds, 2, left >= 0 && (ms < 0 || left < ms) ? left : ms);
    if (n > 0 && fds[0].revents != 0)
        return channel_fill(p->channel) == 1 ? 1 : -1;
    return n != 0 || p->unlock.fd >= 0 ? 1 : 0;
}

/* Nobody wants anything: are token and key still there? What the token says about its PIN may be new. */
static enum status look(struct process *p, struct error *err)
{
    *p->o.module.failed = CKR_OK;
    enum status status = opened_check(&p->o, err);
    if (status == STATUS_OK && token_pin_warning(&p->o.token) != p->warning && !p->ending)
        put_ready(p);
    end_if_too_large(p, true);
    return status;
}

/* Answers requests until the channel ends or the front lets the process go (STATUS_OK), or something fails. What came
   together is answered together. */
static enum status serve(struct process *p, struct error *err)
{
    struct frame frame;
    p->unsent = 1; /* KEY_READY */
    for (;;) {
        int r = next_frame(p, &frame);
        if (r < 0)
            return error_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the front sent a malformed frame");
        bool released = r > 0 && frame.operation == (INTERNAL_ENDING | OPERATION_ANSWER);
        enum status status = r > 0 && !released ? answer(p, &frame, err) : STATUS_OK;
        p->unsent += r > 0 ? 1 : 0;
        end_if_too_large(p, false);
        bool due = r == 0 || p->unsent >= BATCH || status != STATUS_OK || opened_now() - p->begun > BATCH_TIME;
        if (((due || released) && channel_flush(p->channel) != 0) || released)
            return STATUS_OK;
        if (status == STATUS_OK && r == 0) {
            int came = wait_for(p, IDLE_MS);
            if (came < 0)
                return STATUS_OK;
            (void)unlock_run(&p->unlock, &p->o.pin, p->channel, opened_now());
            status = came == 0 ? look(p, err) : STATUS_OK;
        }
        if (status != STATUS_OK)
            return status;
        if (due) {
            p->unsent = 0;
            p->begun = opened_now();
        }
    }
}

/* --- what fails --- */

/* Sends INTERNAL_KEY_FAILED; nothing can be done if that fails. */
static void report(const struct process *p, const struct error *err)
{
    struct channel *channel = p->channel;
    struct error named;
    (void)error_set(&named, err->status, err->next, "key \"%s\": %s", p->o.key->name, err->message);
    struct error_message m = {
        .status = (uint16_t)named.status,
        .retryable = status_retryable(named.status),
        .message = span_text(named.message),
        .next = named.next[0] != '\0' ? span_text(named.next) : (struct span){0},
    };
    log_warning("%s", named.message);
    buffer_clear(&channel->out);
    message_put_frame(&channel->out, INTERNAL_KEY_FAILED, 0, &message_error, &m);
    if (channel_flush(channel) != 0)
        log_debug("the front is gone");
}

/* A PIN file that was written again is the user's word for what is in it. */
static bool file_changed(struct process *p)
{
    struct secret *pin;
    struct error err;
    bool written;
    if (!pin_file_changed(&p->o.pin, &written))
        return false;
    log_info("key \"%s\": the PIN file changed", p->o.key->name);
    if (written && p->o.pin.token_id[0] != '\0' && pin_read_file(&p->o.pin, &pin, &err) == STATUS_OK) {
        if (pin_forgive(&p->o.pin, p->channel, pin, &err) != STATUS_OK)
            log_info("key \"%s\": %s", p->o.key->name, err.message);
        secret_free(pin);
    }
    return true;
}

/* Stays until there may be a PIN that can be sent. Meanwhile nobody is left without an answer. */
static void wait_for_pin(struct process *p, const struct error *why)
{
    struct frame frame;
    int64_t again = p->o.pin.retry_ms > 0 ? opened_now() + p->o.pin.retry_ms * MILLISECOND : INT64_MAX;
    for (;;) {
        int r;
        while ((r = next_frame(p, &frame)) == 1) {
            if (frame.operation == INTERNAL_UNLOCK)
                unlock_begin(&p->unlock, &p->o.pin, p->channel, &frame, opened_now());
            else if (frame.operation != OPERATION_ERROR && !(frame.operation & OPERATION_ANSWER))
                messages_put_error(&p->channel->out, frame.request, why);
        }
        bool given = unlock_run(&p->unlock, &p->o.pin, p->channel, opened_now());
        if (r < 0 || channel_flush(p->channel) != 0 || given || file_changed(p))
            return;
        int ms = p->o.pin.path[0] != '\0' ? PIN_POLL_MS : -1;
        if (again != INT64_MAX && (ms < 0 || left_ms(again, opened_now()) < ms))
            ms = left_ms(again, opened_now());
        if (wait_for(p, ms) < 0 || opened_now() >= again)
            return;
    }
}

static enum status run(struct process *p, const uint8_t *pin_key, struct error *err)
{
    struct opened *o = &p->o;
    enum status status = opened_open(o, pin_key, keep_frame, p, err);
    if (status == STATUS_OK)
        log_info("key \"%s\" is ready: token \"%s\", %s%s", o->key->name, o->token.label, o->token.model,
                 o->object.imported ? ", imported" : "");
    while (status == STATUS_OK) {
        put_ready(p);
        status = serve(p, err);
        if (status == STATUS_OK || p->ending)
            return STATUS_OK; /* the front is gone, or knows */
        status = heal_climb(&p->heal, o, err);
    }
    return status;
}

int key_main(const struct config *config, struct channel *channel)
{
    struct process p = {.channel = channel, .o = {.key = &config->keys[0], .channel = channel}};
    struct error err = {0};
    int exit_status = EXIT_SUCCESS;
    (void)signal(SIGPIPE, SIG_IGN); /* a p11-kit module whose remote end dies raises it */
    if (wiping_heap_install() != 0)
        log_debug("OpenSSL was used before: its memory is not wiped");
    buffer_init(&p.waiting, WAITING_MAX);
    buffer_init(&p.current, WAITING_MAX);
    unlock_init(&p.unlock);
    enum status status = sodium_init() < 0 ? error_set(&err, STATUS_INTERNAL, NULL, "libsodium does not start")
                                           : run(&p, config->agent.pin_key, &err);
    if (status != STATUS_OK && status != STATUS_AGENT_UNREACHABLE) {
        report(&p, &err);
        exit_status = EXIT_FAILURE;
    }
    opened_close(&p.o);
    if (status == STATUS_KEY_LOCKED || status == STATUS_SECRET_UNREADABLE) {
        wait_for_pin(&p, &err);
        exit_status = EXIT_SUCCESS;
    }
    unlock_free(&p.unlock);
    opened_free(&p.o);
    buffer_free(&p.waiting);
    buffer_free(&p.current);
    return exit_status;
}
