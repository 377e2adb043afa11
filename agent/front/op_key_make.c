/*
 * The operations `key generate`, `key import` and `key prepare`: another key in the token of one that is there. A
 * process of that key makes it, an init process writes its section into the configuration, and the agent reloads. A
 * key that cannot be written there is destroyed again.
 *
 * Only the agent's own user and root may ask for it.
 */
#include "operations.h"

#include "children.h"
#include "key_use.h"
#include "keys.h"
#include "reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WRITE_TIMEOUT UINT64_C(60000000)
#define DESTROY_TIMEOUT UINT64_C(30000000)

struct making {
    struct front *front;
    struct request *request;
    struct key *like;
    char name[LIMIT_NAME + 1];
    bool imported;
    struct span *authenticates; /* key prepare: names of profiles */
    size_t authenticates_count;
    char *uri, *configuration;
    struct jwk jwk;
    char jkt[JWK_THUMBPRINT_SIZE];
    struct error failure; /* told when the key is destroyed */
};

static void free_making(struct making *x)
{
    x->front->init_at_work = false;
    free(x->uri);
    free(x->configuration);
    free(x->authenticates);
    free(x);
}

static void fail(struct making *x, const struct error *err)
{
    request_fail(x->request, err);
    free_making(x);
}

static void add_words(struct error *err, const char *words, const char *more)
{
    char text[2 * LIMIT_TEXT];
    (void)snprintf(text, sizeof(text), "%s; %s%s", err->message, words, more);
    error_put_text(err->message, sizeof(err->message), span_text(text));
}

/* --- at last --- */

static void on_reloaded(void *context, const struct error *failure)
{
    struct making *x = context;
    if (failure != NULL) {
        x->failure = *failure;
        add_words(&x->failure, "the key is made, and stands in ", x->configuration);
        fail(x, &x->failure);
        return;
    }
    struct key_made_answer answer = {.name = span_text(x->name),
                                     .uri = span_text(x->uri),
                                     .jkt = span_text(x->jkt),
                                     .x = span_of(x->jwk.x, sizeof(x->jwk.x)),
                                     .y = span_of(x->jwk.y, sizeof(x->jwk.y)),
                                     .imported = x->imported,
                                     .configuration = span_text(x->configuration),
                                     .authenticates = {.items = x->authenticates, .count = x->authenticates_count}};
    request_answer(x->request, &message_key_made_answer, &answer);
    free_making(x);
}

/* --- the configuration --- */

static void on_destroyed(void *context, const struct error *err, struct span fields)
{
    struct making *x = context;
    (void)fields;
    if (err != NULL)
        add_words(&x->failure, "and the new key is still in the token: ", err->message);
    fail(x, &x->failure);
}

static void on_added(void *context, const struct error *failure, struct span fields)
{
    struct making *x = context;
    struct keys_changed changed;
    if (failure == NULL &&
        message_take(fields, &message_keys_changed, &changed, sizeof(changed), &x->failure) == STATUS_OK &&
        (x->configuration = span_dup(changed.configuration)) != NULL) {
        reload_start(x->front, on_reloaded, x);
        return;
    }
    if (failure == NULL || failure->status == STATUS_TIMEOUT || failure->status == STATUS_RESTARTED) {
        /* It may stand there: then it must not be destroyed. */
        (void)error_set(&x->failure, STATUS_STORE_FAILED, "see the configuration; dpop reload takes it up",
                        "key \"%s\" is made, but it is not known whether the configuration has it", x->name);
        fail(x, &x->failure);
        return;
    }
    x->failure = *failure;
    struct destroy_key m = {.uri = span_text(x->uri), .jkt = span_text(x->jkt)};
    keys_call(x->like, &(struct key_call){.operation = INTERNAL_KEY_DESTROY, .message = &message_destroy_key, .in = &m,
                                          .descriptors = {-1, -1}, .done = on_destroyed, .context = x,
                                          .deadline = front_now(x->front) + DESTROY_TIMEOUT});
}

static void on_made(void *context, const struct error *failure, struct span fields)
{
    struct making *x = context;
    struct front *f = x->front;
    struct made_key made;
    struct error err;
    if (failure != NULL) {
        fail(x, failure);
        return;
    }
    enum status status = message_take(fields, &message_made_key, &made, sizeof(made), &err);
    if (status == STATUS_OK && (made.x.len != sizeof(x->jwk.x) || made.y.len != sizeof(x->jwk.y)))
        status = error_set(&err, STATUS_INTERNAL, NULL, "the key process does not say which key it has made");
    if (status == STATUS_OK) {
        memcpy(x->jwk.x, made.x.data, sizeof(x->jwk.x));
        memcpy(x->jwk.y, made.y.data, sizeof(x->jwk.y));
        x->uri = span_dup(made.uri);
        if (x->uri == NULL || jwk_thumbprint(&x->jwk, x->jkt) != 0)
            status = error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory; the new key is still in the token");
    }
    if (status != STATUS_OK) {
        fail(x, &err);
        return;
    }
    struct add_key m = {.name = span_text(x->name), .like = span_text(keys_name(x->like)), .uri = span_text(x->uri),
                        .jkt = span_text(x->jkt), .imported = x->imported};
    children_command(f->children, INTERNAL_START_INIT);
    children_call(f->children, ROLE_INIT, INTERNAL_ADD_KEY, &message_add_key, &m, front_now(f) + WRITE_TIMEOUT,
                  on_added, x);
}

/* --- the beginning --- */

static enum status check_name(const struct front *f, const char *name, struct error *err)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (name[0] == '\0' || name[0] == '.' || strspn(name, allowed) != strlen(name) || strlen(name) >= LIMIT_NAME)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "use up to 63 letters, digits, '.', '_' and '-', no '.' in front",
                         "\"%s\" is no name for a key", name);
    if (config_key(f->config, span_text(name)) != NULL)
        return error_set(err, STATUS_EXISTS, "choose another name", "there is a key \"%s\" already", name);
    return STATUS_OK;
}

/* NULL: the request has been answered. */
static struct making *begin(struct request *r, struct span name, struct span like)
{
    struct front *f = r->front;
    struct making *x = NULL;
    struct key *key;
    struct error err;
    if (!operations_owner(r, "make keys") || (key = operations_key(r, like)) == NULL || !operations_may_begin(r))
        return NULL;
    enum status status = STATUS_OK;
    if ((x = calloc(1, sizeof(*x))) == NULL)
        status = error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
    else if (span_copy(name, x->name, sizeof(x->name)) != 0)
        status = error_set(&err, STATUS_INVALID_ARGUMENT, NULL, "the key's name is too long");
    if (status == STATUS_OK)
        status = check_name(f, x->name, &err);
    if (status != STATUS_OK) {
        free(x);
        request_fail(r, &err);
        return NULL;
    }
    f->init_at_work = true;
    x->front = f;
    x->request = r;
    x->like = key;
    return x;
}

static void make(struct making *x, const char *label, uint32_t timeout)
{
    struct make_key m = {.label = span_text(label)};
    keys_call(x->like, &(struct key_call){.operation = INTERNAL_KEY_MAKE, .message = &message_make_key, .in = &m,
                                          .descriptors = {-1, -1}, .done = on_made, .context = x,
                                          .deadline = front_deadline(x->front, timeout)});
}

void op_key_generate(struct request *r, const void *message)
{
    const struct key_generate_request *in = message;
    struct making *x = begin(r, in->name, in->like);
    if (x != NULL)
        make(x, x->name, in->timeout);
}

/* A file or a pipe: what else there is could keep the key process waiting. */
static enum status check_descriptor(int fd, const char *what, struct error *err)
{
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0 || (!S_ISREG(s.st_mode) && !S_ISFIFO(s.st_mode)))
        return error_set(err, STATUS_INVALID_ARGUMENT, "send it as a descriptor (SCM_RIGHTS)",
                         "%s did not come as the descriptor of a file or a pipe", what);
    return STATUS_OK;
}

void op_key_import(struct request *r, const void *message)
{
    const struct key_import_request *in = message;
    int file = request_take_descriptor(r), password = in->password ? request_take_descriptor(r) : -1;
    struct error err;
    struct making *x = begin(r, in->name, in->like);
    enum status status = x != NULL ? check_descriptor(file, "the key's file", &err) : STATUS_OK;
    if (x != NULL && status == STATUS_OK && in->password)
        status = check_descriptor(password, "the password", &err);
    if (x == NULL || status != STATUS_OK) {
        if (file >= 0)
            (void)close(file);
        if (password >= 0)
            (void)close(password);
        if (x != NULL)
            fail(x, &err);
        return;
    }
    struct import_key m = {.label = span_text(x->name), .password = in->password};
    x->imported = true;
    keys_call(x->like, &(struct key_call){.operation = INTERNAL_KEY_IMPORT, .message = &message_import_key, .in = &m,
                                          .descriptors = {file, password}, .done = on_made, .context = x,
                                          .deadline = front_deadline(x->front, in->timeout)});
}

/* After a rotation the key has the name of the one before and its own label: the next one needs another. */
static void make_label(const char *name, char label[LIMIT_NAME])
{
    char second[24] = "", moment[32];
    struct timespec now = {0};
    struct tm tm;
    if (clock_gettime(CLOCK_REALTIME, &now) == 0 && gmtime_r(&now.tv_sec, &tm) != NULL)
        (void)strftime(second, sizeof(second), ".%Y%m%dT%H%M%S", &tm);
    (void)snprintf(moment, sizeof(moment), "%.20s.%03uZ", second, (unsigned int)(now.tv_nsec / 1000000) % 1000U);
    (void)snprintf(label, LIMIT_NAME, "%.*s%.31s", LIMIT_NAME - 1 - (int)strlen(moment), name, moment);
}

void op_key_prepare(struct request *r, const void *message)
{
    const struct key_prepare_request *in = message;
    struct front *f = r->front;
    char name[LIMIT_NAME + sizeof(KEYS_NEXT) + 1], next[2 * LIMIT_TEXT], label[LIMIT_NAME];
    struct error err;
    struct key *key;
    if (!operations_owner(r, "make keys") || (key = operations_key(r, in->key)) == NULL)
        return;
    (void)snprintf(name, sizeof(name), "%s" KEYS_NEXT, keys_name(key));
    if (keys_find(f->keys, span_text(name)) != NULL) {
        (void)snprintf(next, sizeof(next),
                       "commit it (dpop key rotate --commit %s), or give it up (dpop key delete %s)", keys_name(key),
                       name);
        (void)error_set(&err, STATUS_EXISTS, next, "key \"%s\" is prepared already: there is a key \"%s\"",
                        keys_name(key), name);
        request_fail(r, &err);
        return;
    }
    struct making *x = begin(r, span_text(name), span_text(keys_name(key)));
    if (x == NULL)
        return;
    if ((x->authenticates = calloc(f->config->profile_count + 1, sizeof(*x->authenticates))) == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        fail(x, &err);
        return;
    }
    for (size_t i = 0; i < f->config->profile_count; i++)
        if (key_use_authenticates(&f->config->profiles[i], keys_name(key)))
            x->authenticates[x->authenticates_count++] = span_text(f->config->profiles[i].name);
    make_label(keys_name(key), label);
    make(x, label, in->timeout);
}
