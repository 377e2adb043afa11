/*
 * The key process: one module, one token, one session, one key; digests in, signatures out (role.h, internal.h).
 *
 * A straight line without recovery: uri, module, token, PIN, key, a first signature that is verified, KEY_READY; then
 * SIGN after SIGN. Whatever fails is reported once, as INTERNAL_KEY_FAILED, and ends the process: C_Finalize and
 * C_Initialize are the only cure for most modules, a fresh process is that and more. The supervisor starts it, with
 * back-off. Two exceptions: with a PIN that may not be sent the process stays, closed, until the PIN file changes; and
 * a token that cannot keep the data key (data_key.h) signs on. It blocks where the module blocks; deadlines are the
 * front's, which kills.
 */
#include "ckr.h"
#include "data_key.h"
#include "internal.h"
#include "object.h"
#include "pin.h"
#include "role.h"
#include "token.h"

#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 4            /* signatures that wait for each other's write at most, */
#define BATCH_TIME 1000000 /* unless they take longer than this many nanoseconds: a slow token's answers leave at once */

struct opened {
    struct uri uri;
    struct pin_source pin;
    struct module module;
    struct token token;
    CK_SESSION_HANDLE session;
    struct object object;
};

static enum status open_token(const struct key_config *key, struct opened *o, struct error *err)
{
    enum status status = uri_parse(key->uri, &o->uri, err);
    if (status == STATUS_OK)
        status = pin_source_init(key, &o->uri, &o->pin, err);
    if (status == STATUS_OK)
        status = module_set_environment(&key->environment, err);
    if (status == STATUS_OK)
        status = module_open_uri(&o->uri, &o->module, err);
    if (status == STATUS_OK)
        status = token_find(&o->module, &o->uri, &o->token, err);
    if (status != STATUS_OK)
        return status;
    CK_RV rv = o->module.f->C_OpenSession(o->token.slot, CKF_SERIAL_SESSION, NULL, NULL, &o->session);
    return rv == CKR_OK ? STATUS_OK : module_failed(&o->module, "C_OpenSession", rv, err);
}

static enum status check_thumbprint(const struct key_config *key, const struct opened *o, struct error *err)
{
    char jkt[JWK_THUMBPRINT_SIZE];
    if (jwk_thumbprint(&o->object.jwk, jkt) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "the thumbprint could not be computed");
    if (key->thumbprint != NULL && strcmp(key->thumbprint, jkt) != 0)
        return error_set(err, STATUS_KEY_WRONG,
                         "bring back the right token, or correct thumbprint in the configuration",
                         "token \"%s\" holds another key: its thumbprint is %s, the configuration pins %s",
                         o->token.label, jkt, key->thumbprint);
    return STATUS_OK;
}

/* The health check: a signature that verifies. What the token says about itself proves nothing. */
static enum status check_signature(const struct opened *o, struct error *err)
{
    uint8_t digest[JWK_DIGEST_SIZE], signature[JWK_SIGNATURE_SIZE];
    randombytes_buf(digest, sizeof(digest));
    enum status status = object_sign(&o->module, o->session, &o->object, digest, signature, err);
    if (status != STATUS_OK)
        return status;
    if (jwk_verify(&o->object.jwk, digest, signature) != 0)
        return error_set(err, STATUS_KEY_FAILED,
                         "check that the token's private and public key objects belong together",
                         "the first signature of %s does not verify with the public key", o->module.path);
    return STATUS_OK;
}

static enum status open_key(const struct key_config *key, struct channel *channel, struct opened *o, struct error *err)
{
    enum status status = open_token(key, o, err);
    if (status == STATUS_OK)
        status = pin_log_in(&o->pin, channel, &o->module, &o->token, o->session, err);
    if (status == STATUS_OK)
        status = object_find(&o->module, o->session, &o->uri, key->allow_imported, &o->object, err);
    if (status == STATUS_OK)
        status = check_thumbprint(key, o, err);
    if (status == STATUS_OK)
        status = check_signature(o, err);
    return status;
}

static void put_ready(const struct opened *o, struct channel *channel)
{
    struct key_ready ready = {
        .x = span_of(o->object.jwk.x, JWK_COORDINATE_SIZE),
        .y = span_of(o->object.jwk.y, JWK_COORDINATE_SIZE),
        .attributes = o->object.attributes,
        .imported = o->object.imported,
        .token = span_text(o->token.label),
        .model = span_text(o->token.model),
    };
    message_put_frame(&channel->out, INTERNAL_KEY_READY, 0, &message_key_ready, &ready);
}

/* Puts the answer to one SIGN. A failure is answered too, and returned: the session is not used again. */
static enum status sign(const struct opened *o, const struct frame *frame, struct buffer *out, struct error *err)
{
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
        status = object_sign(&o->module, o->session, &o->object, request.digest.data, signature, err);
    if (status == STATUS_OK) {
        struct sign_answer answer = {.signature = span_of(signature, sizeof(signature))};
        message_put_frame(out, INTERNAL_SIGN | OPERATION_ANSWER, frame->request, &message_sign_answer, &answer);
        return STATUS_OK;
    }
    struct error answer = *err;
    answer.status = STATUS_KEY_FAILED;
    messages_put_error(out, frame->request, &answer);
    return status;
}

static enum status answer(const struct opened *o, const struct frame *frame, struct buffer *out, struct error *err)
{
    if (frame->operation == INTERNAL_DATA_KEY)
        return data_key_serve(&o->module, o->token.slot, o->session, frame, out, err);
    return sign(o, frame, out, err);
}

static int64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Answers requests until the channel ends (STATUS_OK) or something fails. What came together is answered together. */
static enum status serve(const struct opened *o, struct channel *channel, struct error *err)
{
    struct frame frame;
    unsigned int unsent = 1; /* KEY_READY */
    int64_t begun = 0;
    for (;;) {
        int r = channel_take(channel, &frame);
        if (r < 0)
            return error_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the front sent a malformed frame");
        enum status status = r > 0 ? answer(o, &frame, &channel->out, err) : STATUS_OK;
        unsent += r > 0 ? 1 : 0;
        bool due = r == 0 || unsent >= BATCH || status != STATUS_OK || now() - begun > BATCH_TIME;
        if (due && channel_flush(channel) != 0)
            return STATUS_OK;
        if (status != STATUS_OK)
            return status;
        if (r == 0 && channel_fill(channel) != 1)
            return STATUS_OK;
        if (due) {
            unsent = 0;
            begun = now();
        }
    }
}

/* Sends INTERNAL_KEY_FAILED; nothing can be done if that fails. */
static void report(const struct key_config *key, struct channel *channel, const struct error *err)
{
    struct error named;
    (void)error_set(&named, err->status, err->next, "key \"%s\": %s", key->name, err->message);
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

int key_main(const struct key_config *key, struct channel *channel)
{
    struct opened o = {0};
    struct error err = {0};
    int exit_status = EXIT_SUCCESS;
    (void)signal(SIGPIPE, SIG_IGN); /* a p11-kit module whose remote end dies raises it */
    enum status status = sodium_init() < 0 ? error_set(&err, STATUS_INTERNAL, NULL, "libsodium does not start")
                                           : open_key(key, channel, &o, &err);
    if (status == STATUS_OK) {
        log_info("key \"%s\" is ready: token \"%s\", %s%s", key->name, o.token.label, o.token.model,
                 o.object.imported ? ", imported" : "");
        put_ready(&o, channel);
        status = serve(&o, channel, &err);
    }
    if (status != STATUS_OK && status != STATUS_AGENT_UNREACHABLE) {
        report(key, channel, &err);
        exit_status = EXIT_FAILURE;
    }
    module_close(&o.module);
    if (status == STATUS_KEY_LOCKED || status == STATUS_SECRET_UNREADABLE) {
        if (pin_wait(&o.pin, channel))
            log_info("key \"%s\": the PIN file changed", key->name);
        exit_status = EXIT_SUCCESS;
    }
    uri_free(&o.uri);
    return exit_status;
}
