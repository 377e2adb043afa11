/*
 * The store process: keeps the records of refused PINs and the sealed logins in the state folder, and answers when they
 * are durable; and appends to trace files.
 *
 * It reads one request, does it, answers, and reads the next: an fsync stalls nobody but those who wait for it. The
 * state folder is either open (locked, pins read, memory equal to the disk) or closed. What fails in it closes it, the
 * request is answered with the reason, and the next request tries to open it anew: so a full disk, a wrong mode or a
 * lock that is held heals when the cause is gone, nothing is ever written over a file that could not be read, and the
 * process does not end. Data keys are in memory alone, and stay.
 */
#include "data_keys.h"
#include "durable_file.h"
#include "logins.h"
#include "pins.h"
#include "role.h"
#include "state_folder.h"
#include "trace_files.h"

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
    struct data_keys keys;
    struct trace_files traces;
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

static void answer(struct store *s, const struct frame *request, const struct message *m, const void *in)
{
    message_put_frame(&s->channel->out, request->operation | OPERATION_ANSWER, request->request, m, in);
}

static void answer_done(struct store *s, const struct frame *request)
{
    answer(s, request, &message_empty, &(struct empty_message){0});
}

static enum status pin_load(struct store *s, const struct frame *request, struct error *err)
{
    struct span refused[PINS_VERIFIERS_MAX], trying[PINS_VERIFIERS_MAX], accepted[PINS_VERIFIERS_MAX];
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
    struct pin_records records = {
        .salt = span_of(token->salt, PIN_SALT_SIZE),
        .refused = {.items = refused, .count = list_verifiers(&token->refused, refused)},
        .trying = {.items = trying, .count = list_verifiers(&token->trying, trying)},
        .accepted = {.items = accepted, .count = list_verifiers(&token->accepted, accepted)},
    };
    answer(s, request, &message_pin_records, &records);
    return STATUS_OK;
}

static enum status pin_record(struct store *s, const struct frame *request, struct error *err)
{
    struct pin_record m;
    enum status status = message_take(request->fields, &message_pin_record, &m, sizeof(m), err);
    if (status != STATUS_OK)
        return status;
    if (m.verifier.len != PIN_VERIFIER_SIZE || m.verdict < PIN_TRYING || m.verdict > PIN_DOUBTED ||
        (m.source.data != NULL && (m.source.len != PIN_SOURCE_SIZE || m.verdict != PIN_ACCEPTED)))
        return error_set(err, STATUS_MALFORMED, NULL,
                         "pin_record: the verifier's or the source's length or the verdict is wrong");
    struct pins_token *token = pins_find(&s->pins, m.token_id);
    if (token == NULL) /* the file was taken away since: its salt is gone, and with it the meaning of the verifier */
        return error_set(err, STATUS_STORE_FAILED, "the agent reads the record anew by itself",
                         "the token's record in %s/%s is gone", s->path, PINS_FILE);
    bool changed = pins_record(token, m.verifier.data, (enum pin_verdict)m.verdict);
    if (m.source.data != NULL)
        changed = pins_accepted(token, m.source.data) || changed;
    if (changed)
        status = write_pins(s, err);
    if (status == STATUS_OK)
        answer_done(s, request);
    return status;
}

static enum status store_public(struct store *s, const struct frame *request, struct error *err)
{
    const struct store_public m = {.public_key = span_of(s->keys.public_key, sizeof(s->keys.public_key))};
    (void)err;
    answer(s, request, &message_store_public, &m);
    return STATUS_OK;
}

static enum status store_key(struct store *s, const struct frame *request, struct error *err)
{
    struct store_key m;
    enum status status = message_take(request->fields, &message_store_key, &m, sizeof(m), err);
    if (status == STATUS_OK)
        status = data_keys_put(&s->keys, m.key, m.sealed, err);
    if (status == STATUS_OK)
        answer_done(s, request);
    return status;
}

static enum status login_load(struct store *s, const struct frame *request, struct error *err)
{
    struct logins logins = {.folder = s->folder.fd, .path = s->path};
    struct login_name m;
    uint8_t *record = NULL;
    size_t len = 0;
    enum status status = message_take(request->fields, &message_login_name, &m, sizeof(m), err);
    if (status != STATUS_OK)
        return status;
    if ((logins.key = data_keys_find(&s->keys, m.key, err)) == NULL)
        return err->status;
    status = logins_load(&logins, &m, &record, &len, err);
    if (status == STATUS_OK) {
        const struct login_loaded loaded = {.found = record != NULL, .record = span_of(record, len)};
        answer(s, request, &message_login_loaded, &loaded);
    }
    sodium_free(record);
    return status;
}

static enum status login_save(struct store *s, const struct frame *request, struct error *err)
{
    struct logins logins = {.folder = s->folder.fd, .path = s->path};
    struct login_save m;
    struct login_record record;
    enum status status = message_take(request->fields, &message_login_save, &m, sizeof(m), err);
    if (status == STATUS_OK) /* what does not decode would be found out when it is too late */
        status = message_take(m.record, &message_login_record, &record, sizeof(record), err);
    if (status != STATUS_OK)
        return status;
    const struct login_name whose = {
        .profile = m.profile, .key = m.key, .issuer = m.issuer, .client_id = m.client_id, .jkt = m.jkt};
    if ((logins.key = data_keys_find(&s->keys, m.key, err)) == NULL)
        return err->status;
    status = logins_save(&logins, &whose, m.record, err);
    if (status == STATUS_OK)
        answer_done(s, request);
    return status;
}

static enum status login_delete(struct store *s, const struct frame *request, struct error *err)
{
    const struct logins logins = {.folder = s->folder.fd, .path = s->path};
    struct login_name m;
    enum status status = message_take(request->fields, &message_login_name, &m, sizeof(m), err);
    if (status == STATUS_OK)
        status = logins_delete(&logins, m.profile, err);
    if (status == STATUS_OK)
        answer_done(s, request);
    return status;
}

static enum status trace_write(struct store *s, const struct frame *request, struct error *err)
{
    struct trace_write m;
    enum status status = message_take(request->fields, &message_trace_write, &m, sizeof(m), err);
    if (status == STATUS_OK)
        status = trace_files_write(&s->traces, m.profile, m.text, err);
    if (status == STATUS_OK)
        answer_done(s, request);
    return status;
}

static const struct task {
    uint16_t number;
    bool in_folder; /* in the state folder, which is open when it runs */
    enum status (*run)(struct store *s, const struct frame *request, struct error *err);
} tasks[] = {
    {INTERNAL_PIN_LOAD, true, pin_load},         {INTERNAL_PIN_RECORD, true, pin_record},
    {INTERNAL_STORE_PUBLIC, false, store_public}, {INTERNAL_STORE_KEY, false, store_key},
    {INTERNAL_LOGIN_LOAD, true, login_load},     {INTERNAL_LOGIN_SAVE, true, login_save},
    {INTERNAL_LOGIN_DELETE, true, login_delete}, {INTERNAL_TRACE_WRITE, false, trace_write},
};

static const struct task *find_task(uint16_t number)
{
    for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
        if (tasks[i].number == number)
            return &tasks[i];
    return NULL;
}

static void note_failure(struct store *s, const struct error *err)
{
    if (err->status == STATUS_STORE_FAILED || err->status == STATUS_NO_MEMORY)
        close_store(s); /* memory may be ahead of the disk now */
    if (strcmp(s->last_reason, err->message) != 0)
        log_error("%s%s%s", err->message, err->next[0] != '\0' ? "; " : "", err->next);
    (void)snprintf(s->last_reason, sizeof(s->last_reason), "%s", err->message);
}

/* Puts the answer to one request, or the error. */
static void serve(struct store *s, const struct frame *request)
{
    const struct task *task = find_task(request->operation);
    struct error err = {0};
    enum status status = STATUS_OK;
    if (task == NULL)
        status = error_set(&err, STATUS_UNKNOWN_OPERATION, NULL, "the store does not know operation %u",
                           request->operation);
    if (task != NULL && task->in_folder)
        status = open_store(s, &err);
    if (task != NULL && status == STATUS_OK)
        status = task->run(s, request, &err);
    if (status != STATUS_OK)
        messages_put_error(&s->channel->out, request->request, &err);
    if (task == NULL || !task->in_folder)
        return;
    if (status != STATUS_OK)
        note_failure(s, &err);
    else
        s->last_reason[0] = '\0';
}

static int run(struct store *s)
{
    struct frame request;
    struct error err;
    int r;
    if (open_store(s, &err) != STATUS_OK)
        note_failure(s, &err);
    while ((r = channel_read(s->channel, &request)) > 0) {
        serve(s, &request);
        if (channel_flush(s->channel) != 0)
            return -1;
    }
    return r;
}

int store_main(const struct config *config, struct channel *channel)
{
    struct store s = {.path = config->agent.state_folder, .folder = {.fd = -1, .lock = -1}, .channel = channel};
    int r = -1;
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(2), not our end */
    if (sodium_init() < 0)
        return 1;
    if (data_keys_init(&s.keys) == 0 && trace_files_init(&s.traces, config) == 0)
        r = run(&s);
    close_store(&s);
    data_keys_free(&s.keys);
    trace_files_free(&s.traces);
    return r == 0 ? 0 : 1;
}
