/* See pin.h. */
#include "pin.h"

#include "ckr.h"
#include "seal_pin.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NEXT_SIZE 256
#define NEXT_PATH_MAX 150 /* of a path in an error's next step */
#define NEXT_TPM \
    "tpm2_dictionarylockout --clear-lockout, then dpop unlock; or wait: the agent tries again every 5 minutes"
#define NEXT_TOKEN "unblock the PIN with the token's own tool; the agent tries again every 5 minutes, or at dpop unlock"

enum status pin_source_init(const struct key_config *key, const uint8_t *pin_key, const struct uri *uri,
                            struct pin_source *out, struct error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    struct pin_source source = {
        .key_name = key->name, .pin_key = pin_key, .file = key->pin_file, .credential = key->pin_credential};
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

void pin_drop(struct pin_source *source)
{
    secret_free(source->pin);
    source->pin = NULL;
    wipe(source->verifier, sizeof(source->verifier));
}

/* --- the file --- */

static struct pin_stamp look(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return (struct pin_stamp){.error = errno};
    return (struct pin_stamp){0, st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
}

bool pin_file_changed(const struct pin_source *source, bool *written)
{
    struct pin_stamp a = source->stamp, b = look(source->path);
    if (source->path[0] == '\0')
        return false;
    *written = a.error != b.error || a.device != b.device || a.inode != b.inode || a.size != b.size ||
               a.modified.tv_sec != b.modified.tv_sec || a.modified.tv_nsec != b.modified.tv_nsec;
    return *written || a.changed.tv_sec != b.changed.tv_sec || a.changed.tv_nsec != b.changed.tv_nsec;
}

static bool configured(const struct pin_source *source)
{
    return source->file != NULL || source->credential != NULL;
}

enum status pin_read_file(const struct pin_source *source, struct secret **out, struct error *err)
{
    return secret_read(source->file, source->credential, "PIN", PIN_MAX, out, err);
}

/* Names the state of the source, so that the store can tell whether what is there now was accepted before. Nothing of
   the PIN goes into it: who steals the disk must not be able to try PINs on it. A credential is made anew at each
   start. */
static void name_file(const struct pin_source *source, uint8_t out[PIN_SOURCE_SIZE])
{
    const struct pin_stamp *s = &source->stamp;
    char text[PIN_PATH_MAX + 256];
    int n = source->credential != NULL
                ? snprintf(text, sizeof(text), "credential %s %lld", source->credential, (long long)s->size)
                : snprintf(text, sizeof(text), "file %llu %llu %lld %lld.%09ld %s", (unsigned long long)s->device,
                           (unsigned long long)s->inode, (long long)s->size, (long long)s->modified.tv_sec,
                           s->modified.tv_nsec, source->path);
    (void)crypto_generichash(out, PIN_SOURCE_SIZE, (const uint8_t *)text, n > 0 ? (unsigned int)n : 0, NULL, 0);
}

static void name_kept(struct span sealed, uint8_t out[PIN_SOURCE_SIZE])
{
    (void)crypto_generichash(out, PIN_SOURCE_SIZE, sealed.data, sealed.len, NULL, 0);
}

/* --- reasons --- */

static const char *next_pin(const struct pin_source *source, char next[NEXT_SIZE])
{
    if (source->path[0] != '\0')
        (void)snprintf(next, NEXT_SIZE, "put the right PIN into %.*s, or dpop unlock %s", NEXT_PATH_MAX, source->path,
                       source->key_name);
    else
        (void)snprintf(next, NEXT_SIZE, "dpop unlock %s", source->key_name);
    return next;
}

static enum status locked(struct pin_source *source, const struct module *m, const struct token *t, struct error *err)
{
    source->retry_ms = PIN_LOCKED_RETRY_MS;
    return error_set(err, STATUS_KEY_LOCKED, module_is_tpm(m) ? NEXT_TPM : NEXT_TOKEN,
                     "token \"%s\" is locked: too many wrong PINs", t->label);
}

/* What the token says about wrong PINs; warned about, since each of them is on the way to a locked token. */
static enum status check_flags(struct pin_source *source, const struct module *m, struct token *t, struct error *err)
{
    enum status status = token_refresh(m, t, err);
    if (status != STATUS_OK)
        return status;
    const char *warning = token_pin_warning(t);
    if (warning != NULL)
        log_warning("token \"%s\": %s", t->label, warning);
    if (t->flags & CKF_USER_PIN_LOCKED)
        return locked(source, m, t, err);
    if (t->flags & CKF_USER_PIN_FINAL_TRY) {
        source->retry_ms = PIN_LOCKED_RETRY_MS;
        return error_set(err, STATUS_KEY_LOCKED,
                         "log in once with the token's own tool; the agent looks again every 5 minutes, or at "
                         "dpop unlock",
                         "token \"%s\" has one try left for its PIN, and the agent does not spend it", t->label);
    }
    return STATUS_OK;
}

static enum status check_records(const struct pin_dialogue *d, const struct pin_source *source, const struct module *m,
                                 const struct token *t, struct error *err)
{
    char next[NEXT_SIZE];
    if (pin_records_hold(&d->records.refused, d->verifier))
        return error_set(err, STATUS_KEY_LOCKED, next_pin(source, next),
                         "token \"%s\": this PIN was refused before and is not sent again", t->label);
    if (!pin_records_hold(&d->records.trying, d->verifier))
        return STATUS_OK;
    if (t->flags & CKF_USER_PIN_COUNT_LOW)
        return error_set(err, STATUS_KEY_LOCKED, next_pin(source, next),
                         "token \"%s\" has counted a wrong PIN, and a log-in with this one was cut off: it is not "
                         "sent again", t->label);
    if (pin_records_hold(&d->records.accepted, d->source)) /* it is not that one that is wrong */
        return STATUS_OK;
    (void)snprintf(next, sizeof(next), "dpop unlock %s, or write the PIN file again, if it is the right one%s",
                   source->key_name,
                   module_is_tpm(m) ? "; a folder that came from another machine needs that one's TPM: make new keys"
                                    : "");
    return error_set(err, STATUS_KEY_LOCKED, next,
                     "token \"%s\": a log-in with this PIN was cut off or failed without a reason, and the token has "
                     "not accepted it before, or not since: it is not sent again by itself", t->label);
}

/* --- the log-in --- */

static struct pin_dialogue begin(const struct pin_source *source, struct channel *channel)
{
    return (struct pin_dialogue){.channel = channel, .meanwhile = source->meanwhile, .context = source->context,
                                 .token_id = span_text(source->token_id)};
}

/* Records what came of C_Login. A result that leaves open whether the PIN was counted leaves the record at "trying".
   One without a word about the PIN from a TPM that works otherwise is a store's that was copied from another machine:
   it fails so for ever, and the TPM counts each try. Or the TPM was reset just then: hence one more. A TPM that has
   worked with this agent is the right one, and only in trouble (its broker has left it without room, say). */
static enum status conclude(struct pin_dialogue *d, struct pin_source *source, const struct module *m,
                            const struct token *t, CK_SESSION_HANDLE session, CK_RV rv, struct error *err)
{
    char next[NEXT_SIZE];
    struct error store_error;
    enum status recorded = STATUS_OK;
    if (rv == CKR_OK)
        recorded = pin_records_tell(d, PIN_ACCEPTED, &store_error);
    else if (ckr_pin_refused(rv))
        recorded = pin_records_tell(d, PIN_REFUSED, &store_error);
    else if (ckr_pin_not_judged(rv) || rv == CKR_USER_ALREADY_LOGGED_IN)
        recorded = pin_records_tell(d, PIN_UNKNOWN, &store_error);
    else if (module_is_tpm(m) && !d->records.worked && module_answers(m, session))
        recorded = pin_records_tell(d, PIN_DOUBTED, &store_error);
    if (recorded == STATUS_AGENT_UNREACHABLE) {
        *err = store_error;
        return recorded;
    }
    if (recorded != STATUS_OK)
        log_warning("token \"%s\": what came of the log-in was not recorded: %s", t->label, store_error.message);
    if (rv == CKR_OK ||
        rv == CKR_USER_ALREADY_LOGGED_IN) /* by nobody but us: a module keeps its log-ins to a process */
        return STATUS_OK;
    if (rv == CKR_PIN_LOCKED)
        return locked(source, m, t, err);
    if (ckr_pin_refused(rv)) {
        struct token now = *t;
        const char *warning = token_refresh(m, &now, &store_error) == STATUS_OK ? token_pin_warning(&now) : NULL;
        return error_set(err, STATUS_KEY_LOCKED, next_pin(source, next), "token \"%s\" refused the PIN: %s%s%s",
                         t->label,
                         ckr_text(rv).text, warning != NULL ? "; " : "", warning != NULL ? warning : "");
    }
    if (rv == CKR_USER_PIN_NOT_INITIALIZED)
        return error_set(err, STATUS_KEY_UNFIT, "set a user PIN with the token's own tool",
                         "token \"%s\" has no user PIN", t->label);
    return module_failed(m, "C_Login", rv, err);
}

/* The user's PIN, if there is one and the token has not refused it; else the configured one. With its verifier. */
static enum status choose(struct pin_dialogue *d, const struct pin_source *source, const struct token *t,
                          struct secret **out, struct error *err)
{
    struct secret *pin = NULL;
    enum status status = STATUS_OK;
    char next[NEXT_SIZE];
    if (d->records.kept.data != NULL && source->pin_key != NULL) {
        pin = seal_pin_open(source->pin_key, d->token_id, d->records.kept);
        if (pin == NULL)
            log_warning("token \"%s\": the PIN that was given by dpop unlock cannot be opened", t->label);
    }
    if (pin != NULL) {
        name_kept(d->records.kept, d->source);
        status = pin_records_derive(d, pin, err);
    }
    if (status == STATUS_OK && pin != NULL && configured(source) && pin_records_hold(&d->records.refused,
                                                                                     d->verifier)) {
        secret_free(pin);
        pin = NULL;
    }
    if (status == STATUS_OK && pin == NULL) {
        name_file(source, d->source);
        (void)snprintf(next, sizeof(next), "dpop unlock %s, or set pin-file or pin-credential", source->key_name);
        status = configured(source) ? pin_read_file(source, &pin, err)
                                    : error_set(err, STATUS_KEY_LOCKED, next,
                                                "token \"%s\" needs a PIN, and none is configured", t->label);
        if (status == STATUS_OK)
            status = pin_records_derive(d, pin, err);
    }
    if (status == STATUS_OK)
        *out = pin;
    else
        secret_free(pin);
    return status;
}

/* Spends the PIN if it may be spent. It stays in memory for the case that the key wants it for each signature. */
static enum status spend(struct pin_dialogue *d, struct pin_source *source, const struct module *m,
                         const struct token *t,
                         CK_SESSION_HANDLE session, struct error *err)
{
    struct secret *pin = NULL;
    enum status status = choose(d, source, t, &pin, err);
    if (status == STATUS_OK)
        status = check_records(d, source, m, t, err);
    if (status == STATUS_OK)
        status = pin_records_tell(d, PIN_TRYING, err);
    if (status == STATUS_OK)
        status = conclude(d, source, m, t, session, m->f->C_Login(session, CKU_USER, pin->data, pin->len), err);
    if (status != STATUS_OK) {
        secret_free(pin);
        return status;
    }
    source->pin = pin;
    memcpy(source->verifier, d->verifier, sizeof(source->verifier));
    return STATUS_OK;
}

/* What the token says of itself, however its module is spelled in a configuration. A TPM's serial number is all zeros:
   there it is the module's file that tells it from another one of the same label. */
static enum status name_token(struct pin_source *source, const struct module *m, const struct token *t,
                              struct error *err)
{
    bool serial = t->serial[strspn(t->serial, "0 ")] != '\0';
    char *file = serial ? NULL : realpath(m->path, NULL);
    int n = serial ? snprintf(source->token_id, sizeof(source->token_id), "%s\n%s\n%s", t->model, t->serial, t->label)
                   : snprintf(source->token_id, sizeof(source->token_id), "%s\n%s", file != NULL ? file : m->path,
                              t->label);
    free(file);
    if (n >= 0 && (size_t)n < sizeof(source->token_id))
        return STATUS_OK;
    source->token_id[0] = '\0';
    return error_set(err, STATUS_CONFIGURATION, NULL, "the module's path is longer than %d bytes", PIN_PATH_MAX);
}

enum status pin_log_in(struct pin_source *source, struct channel *channel, const struct module *m, struct token *t,
                       CK_SESSION_HANDLE session, struct error *err)
{
    char next[NEXT_SIZE];
    pin_drop(source);
    source->retry_ms = 0;
    source->token_id[0] = '\0';
    if (!(t->flags & CKF_LOGIN_REQUIRED))
        return STATUS_OK;
    if (t->flags & CKF_PROTECTED_AUTHENTICATION_PATH)
        return error_set(err, STATUS_KEY_UNFIT, "use a token or a reader without a PIN pad of its own",
                         "token \"%s\" wants its PIN at its own keypad (CKF_PROTECTED_AUTHENTICATION_PATH), which is "
                         "not supported", t->label);
    enum status status = name_token(source, m, t, err);
    if (status != STATUS_OK)
        return status;
    struct pin_dialogue d = begin(source, channel);
    status = pin_records_load(&d, err);
    source->stamp = look(source->path);
    if (status == STATUS_OK && d.records.locked) {
        (void)snprintf(next, sizeof(next), "dpop unlock %s", source->key_name);
        status = error_set(err, STATUS_KEY_LOCKED, next, "token \"%s\" is locked by dpop lock", t->label);
    }
    if (status == STATUS_OK)
        status = check_flags(source, m, t, err);
    if (status == STATUS_OK)
        status = spend(&d, source, m, t, session, err);
    wipe(d.verifier, sizeof(d.verifier));
    return status;
}

enum status pin_signing_refused(struct pin_source *source, struct channel *channel, const struct module *m,
                                const struct token *t, CK_SESSION_HANDLE session, CK_RV rv, struct error *err)
{
    struct pin_dialogue d = begin(source, channel);
    memcpy(d.verifier, source->verifier, sizeof(d.verifier));
    enum status status = conclude(&d, source, m, t, session, rv, err);
    wipe(d.verifier, sizeof(d.verifier));
    return status;
}

enum status pin_forgive(struct pin_source *source, struct channel *channel, const struct secret *pin, struct error *err)
{
    char next[NEXT_SIZE];
    struct pin_dialogue d = begin(source, channel);
    enum status status = pin_records_load(&d, err);
    if (status == STATUS_OK)
        status = pin_records_derive(&d, pin, err);
    bool refused = status == STATUS_OK && pin_records_hold(&d.records.refused, d.verifier);
    if (status == STATUS_OK)
        status = pin_records_tell(&d, PIN_UNKNOWN, err); /* and the turn to log in is over */
    wipe(d.verifier, sizeof(d.verifier));
    if (status == STATUS_OK && refused)
        status = error_set(err, STATUS_KEY_LOCKED, next_pin(source, next),
                           "the token has refused this PIN before, and it is not sent again");
    return status;
}
