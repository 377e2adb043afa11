/*
 * The store process: keeps the records of refused PINs in the state folder, and answers when they are durable.
 *
 * It reads one request, does it, answers, and reads the next: an fsync stalls nobody but those who wait for it. Its
 * state is either open (folder locked, file read, memory equal to the disk) or closed. Whatever fails closes it, the
 * request is answered with the reason, and the next request tries to open it anew: so a full disk, a wrong mode or a
 * lock that is held heals when the cause is gone, nothing is ever written over a file that could not be read, and the
 * process does not end.
 */
#include "durable_file.h"
#include "pins.h"
#include "role.h"
#include "state_folder.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define PINS_FILE "pins"
#define PATH_SIZE 4200

struct store {
    const char *path; /* of the state folder; NULL: not configured */
    struct state_folder folder;
    struct pins pins;
    struct channel *channel;
    char last_reason[sizeof(((struct error *)0)->message)]; /* logged last, so that a lasting failure is logged once */
};

static void close_store(struct store *s)
{
    pins_free(&s->pins);
    state_folder_close(&s->folder);
}

static enum status read_pins(struct store *s, struct error *err)
{
    char path[PATH_SIZE];
    struct buffer text;
    bool absent = false;

    (void)snprintf(path, sizeof(path), "%s/%s", s->path, PINS_FILE);
    buffer_init(&text, PINS_TEXT_MAX);
    enum status status = durable_file_read(s->folder.fd, s->path, PINS_FILE, &text, &absent, err);
    if (status == STATUS_OK && !absent)
        status = pins_read(buffer_span(&text), path, &s->pins, err);
    buffer_free(&text);
    return status;
}

static enum status open_store(struct store *s, struct error *err)
{
    if (s->folder.fd >= 0)
        return STATUS_OK;
    if (s->path == NULL)
        return error_set(err, STATUS_STORE_FAILED, "set state-folder in [agent]", "the agent has no state folder");
    enum status status = state_folder_open(s->path, &s->folder, err);
    return status == STATUS_OK ? read_pins(s, err) : status;
}

static enum status write_pins(struct store *s, struct error *err)
{
    struct buffer text;
    enum status status;
    buffer_init(&text, PINS_TEXT_MAX);
    pins_write(&s->pins, &text);
    if (text.failed)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    else
        status = durable_file_write(s->folder.fd, s->path, PINS_FILE, buffer_span(&text), err);
    buffer_free(&text);
    return status;
}

static size_t list_verifiers(const struct pins_verifiers *v, struct span items[PINS_VERIFIERS_MAX])
{
    for (size_t i = 0; i < v->count; i++)
        items[i] = span_of(v->items[i], PIN_VERIFIER_SIZE);
    return v->count;
}

static enum status load(struct store *s, const struct frame *request, struct error *err)
{
    struct span refused[PINS_VERIFIERS_MAX], trying[PINS_VERIFIERS_MAX];
    uint8_t salt[PIN_SALT_SIZE];
    struct pin_load m;

    enum status status = message_take(request->fields, &message_pin_load, &m, sizeof(m), err);
    if (status != STATUS_OK)
        return status;
    struct pins_token *token = pins_find(&s->pins, m.token_id);
    if (token == NULL) {
        randombytes_buf(salt, sizeof(salt));
        status = pins_add(&s->pins, m.token_id, salt, &token, err);
        if (status == STATUS_OK)
            status = write_pins(s, err);
        if (status != STATUS_OK)
            return status;
    }
    struct pin_records answer = {
        .salt = span_of(token->salt, PIN_SALT_SIZE),
        .refused = {.items = refused, .count = list_verifiers(&token->refused, refused)},
        .trying = {.items = trying, .count = list_verifiers(&token->trying, trying)},
    };
    message_put_frame(&s->channel->out, INTERNAL_PIN_LOAD | OPERATION_ANSWER, request->request, &message_pin_records,
                      &answer);
    return STATUS_OK;
}

static enum status record(struct store *s, const struct frame *request, struct error *err)
{
    struct pin_record m;
    enum status status = message_take(request->fields, &message_pin_record, &m, sizeof(m), err);
    if (status != STATUS_OK)
        return status;
    if (m.verifier.len != PIN_VERIFIER_SIZE || m.verdict < PIN_TRYING || m.verdict > PIN_UNKNOWN)
        return error_set(err, STATUS_MALFORMED, NULL, "pin_record: the verifier's length or the verdict is wrong");
    struct pins_token *token = pins_find(&s->pins, m.token_id);
    if (token == NULL) /* the file was taken away since: its salt is gone, and with it the meaning of the verifier */
        return error_set(err, STATUS_STORE_FAILED, "the agent reads the record anew by itself",
                         "the token's record in %s/%s is gone", s->path, PINS_FILE);
    if (pins_record(token, m.verifier.data, (enum pin_verdict)m.verdict))
        status = write_pins(s, err);
    if (status == STATUS_OK)
        message_put_frame(&s->channel->out, INTERNAL_PIN_RECORD | OPERATION_ANSWER, request->request, &message_empty,
                          &(struct empty_message){0});
    return status;
}

static enum status serve(struct store *s, const struct frame *request, struct error *err)
{
    if (request->operation != INTERNAL_PIN_LOAD && request->operation != INTERNAL_PIN_RECORD)
        return error_set(err, STATUS_UNKNOWN_OPERATION, NULL, "the store does not know operation %u",
                         request->operation);
    enum status status = open_store(s, err);
    if (status != STATUS_OK)
        return status;
    return request->operation == INTERNAL_PIN_LOAD ? load(s, request, err) : record(s, request, err);
}

static void note_failure(struct store *s, const struct error *err)
{
    close_store(s); /* memory may be ahead of the disk now */
    if (strcmp(s->last_reason, err->message) != 0)
        log_error("%s%s%s", err->message, err->next[0] != '\0' ? "; " : "", err->next);
    (void)snprintf(s->last_reason, sizeof(s->last_reason), "%s", err->message);
}

int store_main(const struct config *config, struct channel *channel)
{
    struct store s = {.path = config->agent.state_folder, .folder = {.fd = -1, .lock = -1}, .channel = channel};
    struct frame request;
    struct error err;
    int r;

    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(2), not our end */
    if (sodium_init() < 0)
        return 1;
    if (open_store(&s, &err) != STATUS_OK)
        note_failure(&s, &err);
    while ((r = channel_read(channel, &request)) > 0) {
        if (serve(&s, &request, &err) != STATUS_OK) {
            note_failure(&s, &err);
            messages_put_error(&channel->out, request.request, &err);
        } else {
            s.last_reason[0] = '\0';
        }
        if (channel_flush(channel) != 0) {
            r = -1;
            break;
        }
    }
    close_store(&s);
    return r == 0 ? 0 : 1;
}
