/* See pin.h. */
#include "pin.h"

#include "ckr.h"
#include "internal.h"
#include "secret.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TOKEN_ID_MAX (PIN_PATH_MAX + 64)
#define NEXT_PATH_MAX 220 /* of a path in an error's next step */

/* One log-in: everything its steps share. */
struct attempt {
    const struct pin_source *source;
    struct channel *channel;
    uint32_t request;
    char token_id[TOKEN_ID_MAX];
    uint8_t salt[PIN_SALT_SIZE];
    struct list refused, trying; /* they live in the channel's buffer: until the next message */
    uint8_t verifier[PIN_VERIFIER_SIZE];
};

enum status pin_source_init(const struct key_config *key, const struct uri *uri, struct pin_source *out,
                            struct error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    struct pin_source source = {.file = key->pin_file, .credential = key->pin_credential};
    int n = 0;
    if (uri->pin_file != NULL && (source.file != NULL || source.credential != NULL))
        return error_set(err, STATUS_CONFIGURATION, "keep one of them",
                         "the uri has a pin-source, and there is a pin-file or "
                         "pin-credential too");
    if (source.file == NULL && source.credential == NULL)
        source.file = uri->pin_file;
    if (source.credential != NULL && folder != NULL)
        n = snprintf(source.path, sizeof(source.path), "%s/%s", folder, source.credential);
    else if (source.credential == NULL && source.file != NULL)
        n = snprintf(source.path, sizeof(source.path), "%s", source.file);
    if (n < 0 || (size_t)n >= sizeof(source.path))
        return error_set(err, STATUS_CONFIGURATION, NULL, "the PIN's path is longer than %d bytes", PIN_PATH_MAX);
    *out = source;
    return STATUS_OK;
}

static struct pin_stamp look(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct pin_stamp){.error = errno};
    return (struct pin_stamp){0, st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
}

static bool same(struct pin_stamp a, struct pin_stamp b)
{
    return a.error == b.error && a.device == b.device && a.inode == b.inode && a.size == b.size &&
           a.modified.tv_sec == b.modified.tv_sec && a.modified.tv_nsec == b.modified.tv_nsec &&
           a.changed.tv_sec == b.changed.tv_sec && a.changed.tv_nsec == b.changed.tv_nsec;
}

bool pin_wait(const struct pin_source *source, struct channel *channel)
{
    for (;;) {
        struct pollfd p = {.fd = channel->fd, .events = POLLIN};
        struct frame ignored;
        int n = poll(&p, 1, source->path[0] != '\0' ? PIN_POLL_MS : -1);
        if (n > 0 && channel_fill(channel) != 1)
            return false;
        while (n > 0 && channel_take(channel, &ignored) == 1)
            ;
        if (source->path[0] != '\0' && !same(source->stamp, look(source->path)))
            return true;
    }
}

/* Waits for the next answer. What else the front sends is for whoever asked to be told, and otherwise not expected. */
static int read_answer(const struct attempt *a, struct frame *answer)
{
    for (;;) {
        int r = channel_read(a->channel, answer);
        bool request = r > 0 && answer->operation != OPERATION_ERROR && !(answer->operation & OPERATION_ANSWER);
        if (!request || a->source->meanwhile == NULL)
            return r;
        a->source->meanwhile(a->source->context, answer);
    }
}

/* Sends a message and waits for its answer. */
static enum status exchange(struct attempt *a, uint16_t operation, const struct message *m, const void *in,
                            struct frame *answer, struct error *err)
{
    message_put_frame(&a->channel->out, operation, ++a->request, m, in);
    int r = channel_flush(a->channel) == 0 ? read_answer(a, answer) : 0;
    if (r == 0)
        return error_set(err, STATUS_AGENT_UNREACHABLE, NULL, "the front is gone");
    if (r > 0 && answer->request == a->request && answer->operation == (operation | OPERATION_ANSWER))
        return STATUS_OK;
    if (r > 0 && answer->operation == OPERATION_ERROR && messages_take_error(answer->fields, err) == STATUS_OK &&
        err->status != STATUS_OK)
        return err->status;
    return error_set(err, STATUS_AGENT_MISBEHAVED, NULL, "an unexpected message came while the PIN was asked about");
}

static enum status load(struct attempt *a, struct error *err)
{
    struct pin_load in = {.token_id = span_text(a->token_id)};
    struct pin_records records;
    struct frame answer;
    enum status status = exchange(a, INTERNAL_PIN_LOAD, &message_pin_load, &in, &answer, err);
    if (status == STATUS_OK)
        status = message_take(answer.fields, &message_pin_records, &records, sizeof(records), err);
    if (status != STATUS_OK)
        return status;
    if (records.salt.len != sizeof(a->salt))
        return error_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the store's salt has %zu bytes", records.salt.len);
    for (size_t i = 0; i < sizeof(a->salt); i++)
        a->salt[i] = records.salt.data[i];
    a->refused = records.refused;
    a->trying = records.trying;
    return STATUS_OK;
}

static enum status record(struct attempt *a, enum pin_verdict verdict, struct error *err)
{
    struct pin_record in = {span_text(a->token_id), span_of(a->verifier, sizeof(a->verifier)), (uint16_t)verdict};
    struct frame answer;
    return exchange(a, INTERNAL_PIN_RECORD, &message_pin_record, &in, &answer, err);
}

static bool holds(const struct list *list, const uint8_t verifier[PIN_VERIFIER_SIZE])
{
    struct span item;
    size_t cursor = 0;
    while (list_next(list, &cursor, &item))
        if (item.len == PIN_VERIFIER_SIZE && sodium_memcmp(item.data, verifier, PIN_VERIFIER_SIZE) == 0)
            return true;
    return false;
}

static enum status derive(struct attempt *a, const struct secret *pin, struct error *err)
{
    if (crypto_pwhash(a->verifier, sizeof(a->verifier), (const char *)pin->data, pin->len, a->salt,
                      crypto_pwhash_OPSLIMIT_INTERACTIVE, crypto_pwhash_MEMLIMIT_INTERACTIVE,
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return error_set(err, STATUS_NO_MEMORY, NULL, "no memory to look up the PIN (%zu MiB are needed)",
                         (size_t)crypto_pwhash_MEMLIMIT_INTERACTIVE >> 20);
    return STATUS_OK;
}

/* What the token says about wrong PINs; warned about, since each of them is on the way to a locked token. */
static enum status check_flags(const struct module *m, struct token *t, struct error *err)
{
    enum status status = token_refresh(m, t, err);
    if (status != STATUS_OK)
        return status;
    if (t->flags & CKF_USER_PIN_LOCKED) {
        log_warning("token \"%s\": its PIN is locked", t->label);
        return error_set(err, STATUS_KEY_LOCKED,
                         "unblock the PIN with the token's own tool, then write the new PIN file",
                         "token \"%s\" is locked: too many wrong PINs", t->label);
    }
    if (t->flags & CKF_USER_PIN_FINAL_TRY) {
        log_warning("token \"%s\": one try is left for its PIN", t->label);
        return error_set(err, STATUS_KEY_LOCKED, "log in once with the token's own tool, then write the PIN file again",
                         "token \"%s\" has one try left for its PIN, and the agent does not spend it", t->label);
    }
    if (t->flags & CKF_USER_PIN_COUNT_LOW)
        log_warning("token \"%s\": a wrong PIN was entered since the last good one", t->label);
    return STATUS_OK;
}

static enum status check_records(const struct attempt *a, const struct pin_source *source, const struct token *t,
                                 struct error *err)
{
    char next[256];
    (void)snprintf(next, sizeof(next), "put the right PIN into %.*s", NEXT_PATH_MAX, source->path);
    if (holds(&a->refused, a->verifier))
        return error_set(err, STATUS_KEY_LOCKED, next,
                         "token \"%s\": this PIN was refused before and is not sent again", t->label);
    if (holds(&a->trying, a->verifier) && (t->flags & CKF_USER_PIN_COUNT_LOW))
        return error_set(err, STATUS_KEY_LOCKED, next,
                         "token \"%s\" has counted a wrong PIN, and a log-in with this one was cut off: it is not "
                         "sent again", t->label);
    return STATUS_OK;
}

/* Records what came of C_Login. A result that leaves open whether the PIN was counted leaves the record at "trying". */
static enum status conclude(struct attempt *a, const struct pin_source *source, const struct module *m,
                            const struct token *t, CK_RV rv, struct error *err)
{
    char next[256];
    struct error store_error;
    enum status recorded = STATUS_OK;
    if (rv == CKR_OK)
        recorded = record(a, PIN_ACCEPTED, &store_error);
    else if (ckr_pin_refused(rv))
        recorded = record(a, PIN_REFUSED, &store_error);
    else if (ckr_pin_not_judged(rv))
        recorded = record(a, PIN_UNKNOWN, &store_error);
    if (recorded == STATUS_AGENT_UNREACHABLE) {
        *err = store_error;
        return recorded;
    }
    if (recorded != STATUS_OK)
        log_warning("token \"%s\": what came of the log-in was not recorded: %s", t->label, store_error.message);
    if (rv == CKR_OK)
        return STATUS_OK;
    if (ckr_pin_refused(rv)) {
        (void)snprintf(next, sizeof(next), "put the right PIN into %.*s", NEXT_PATH_MAX, source->path);
        return error_set(err, STATUS_KEY_LOCKED, next, "token \"%s\" refused the PIN: %s", t->label, ckr_text(rv).text);
    }
    if (rv == CKR_USER_PIN_NOT_INITIALIZED)
        return error_set(err, STATUS_KEY_UNFIT, "set a user PIN with the token's own tool",
                         "token \"%s\" has no user PIN", t->label);
    return module_failed(m, "C_Login", rv, err);
}

/* Reads the PIN, and spends it if it may be spent. The PIN is in memory from here to the return of C_Login. */
static enum status spend(struct attempt *a, struct pin_source *source, const struct module *m, const struct token *t,
                         CK_SESSION_HANDLE session, struct error *err)
{
    struct secret *pin;
    enum status status = secret_read(source->file, source->credential, "PIN", PIN_MAX, &pin, err);
    if (status != STATUS_OK)
        return status;
    status = derive(a, pin, err);
    if (status == STATUS_OK)
        status = check_records(a, source, t, err);
    if (status == STATUS_OK)
        status = record(a, PIN_TRYING, err);
    if (status != STATUS_OK) {
        secret_free(pin);
        return status;
    }
    CK_RV rv = m->f->C_Login(session, CKU_USER, pin->data, pin->len);
    secret_free(pin);
    if (rv == CKR_USER_ALREADY_LOGGED_IN) /* by nobody but this process: the module keeps its log-ins to itself */
        rv = CKR_OK;
    return conclude(a, source, m, t, rv, err);
}

enum status pin_log_in(struct pin_source *source, struct channel *channel, const struct module *m, struct token *t,
                       CK_SESSION_HANDLE session, struct error *err)
{
    struct attempt a = {.source = source, .channel = channel};
    if (!(t->flags & CKF_LOGIN_REQUIRED))
        return STATUS_OK;
    if (source->file == NULL && source->credential == NULL)
        return error_set(err, STATUS_KEY_LOCKED, "set pin-file or pin-credential",
                         "token \"%s\" needs a PIN, and none is configured", t->label);
    int n = snprintf(a.token_id, sizeof(a.token_id), "%s\n%s", m->path, t->label);
    if (n < 0 || (size_t)n >= sizeof(a.token_id))
        return error_set(err, STATUS_CONFIGURATION, NULL, "the module's path is longer than %d bytes", PIN_PATH_MAX);
    enum status status = load(&a, err);
    source->stamp = look(source->path);
    if (status == STATUS_OK)
        status = check_flags(m, t, err);
    if (status == STATUS_OK)
        status = spend(&a, source, m, t, session, err);
    wipe(a.verifier, sizeof(a.verifier));
    return status;
}
