/* See data_key.h. */
#include "data_key.h"

#include "ckr.h"
#include "object.h"

#include <sodium.h>
#include <string.h>

#define VALUE_MAX 128 /* room to see that a value is too long */
#define NEXT_DELETE                                                                                      \
    "keep the one that seals your logins, or delete all and log in again: pkcs11-tool --login --type data " \
    "--label \"" DATA_KEY_LABEL "\" --delete-object"
#define NEXT_UNABLE "use a token that can keep a private data object, or set persist = no in the profiles"
#define NEXT_UNFIT "delete it, and log in again"

/* Where to look: the session that is logged in, or the one opened for writing. */
struct where {
    const struct module *m;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
};

/* The clear value, in locked memory. */
struct value {
    uint8_t *bytes; /* VALUE_MAX */
    size_t len;
};

static enum status search(const struct where *w, struct object_found *out, struct error *err)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE; /* an object that anybody may make without the PIN is none of ours */
    char label[] = DATA_KEY_LABEL, application[] = DATA_KEY_APPLICATION;
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)},
                                 {CKA_PRIVATE, &yes, sizeof(yes)},
                                 {CKA_LABEL, label, sizeof(label) - 1},
                                 {CKA_APPLICATION, application, sizeof(application) - 1}};
    return object_search(w->m, w->session, attributes, 4, out, err);
}

static enum status read_value(const struct where *w, CK_OBJECT_HANDLE handle, struct value *out, struct error *err)
{
    CK_BBOOL private = CK_FALSE;
    CK_ATTRIBUTE value = {CKA_VALUE, out->bytes, VALUE_MAX};
    size_t len;
    if (object_attribute(w->m, w->session, handle, CKA_PRIVATE, &private, sizeof(private), &len) != 0 ||
        private != CK_TRUE)
        return error_set(err, STATUS_KEY_UNFIT, NEXT_UNFIT,
                         "the token's data object \"%s\" is not private", DATA_KEY_LABEL);
    CK_RV rv = w->m->f->C_GetAttributeValue(w->session, handle, &value, 1);
    if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL)
        return module_failed(w->m, "C_GetAttributeValue of the data key", rv, err);
    if (rv != CKR_OK || value.ulValueLen != DATA_KEY_SIZE)
        return error_set(err, STATUS_KEY_UNFIT, NEXT_UNFIT,
                         "the token's data object \"%s\" does not have %d bytes", DATA_KEY_LABEL, DATA_KEY_SIZE);
    out->len = DATA_KEY_SIZE;
    return STATUS_OK;
}

static enum status several(const struct object_found *found, struct error *err)
{
    return error_set(err, STATUS_KEY_UNFIT, NEXT_DELETE,
                     "the token has %s%lu data objects \"%s\" of application \"%s\"",
                     found->count == OBJECT_FOUND_MAX ? "at least " : "", (unsigned long)found->count, DATA_KEY_LABEL,
                     DATA_KEY_APPLICATION);
}

static CK_RV create_object(const struct where *w, const struct value *value, CK_OBJECT_HANDLE *out)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    char label[] = DATA_KEY_LABEL, application[] = DATA_KEY_APPLICATION;
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)},
                                 {CKA_TOKEN, &yes, sizeof(yes)},
                                 {CKA_PRIVATE, &yes, sizeof(yes)},
                                 {CKA_LABEL, label, sizeof(label) - 1},
                                 {CKA_APPLICATION, application, sizeof(application) - 1},
                                 {CKA_VALUE, value->bytes, value->len},
                                 {CKA_MODIFIABLE, &no, sizeof(no)}};
    CK_RV rv = w->m->f->C_CreateObject(w->session, attributes, 7, out);
    if (rv != CKR_OK && ckr_status(rv) != STATUS_KEY_ABSENT) /* some modules know no CKA_MODIFIABLE */
        rv = w->m->f->C_CreateObject(w->session, attributes, 6, out);
    return rv;
}

/* What was just made must be the only one, and be read as it was written. */
static enum status confirm(const struct where *w, const struct value *made, struct error *err)
{
    struct object_found found;
    struct value seen = {.bytes = sodium_malloc(VALUE_MAX)};
    if (seen.bytes == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    enum status status = search(w, &found, err);
    if (status == STATUS_OK && found.count > 1)
        status = error_set(err, STATUS_KEY_FAILED, "the agent tries again by itself",
                           "somebody else made a data key in the token in the same moment");
    else if (status == STATUS_OK && found.count == 0)
        status = error_set(err, STATUS_KEY_FAILED, NEXT_UNABLE,
                           "the token took the data object \"%s\", and does not show it", DATA_KEY_LABEL);
    if (status == STATUS_OK)
        status = read_value(w, found.handles[0], &seen, err);
    if (status == STATUS_OK && sodium_memcmp(seen.bytes, made->bytes, DATA_KEY_SIZE) != 0)
        status = error_set(err, STATUS_KEY_FAILED, NEXT_UNABLE,
                           "the token does not give back the data object \"%s\" as it was made", DATA_KEY_LABEL);
    sodium_free(seen.bytes);
    return status;
}

/* In a session that may write, opened for this and closed again: it shares the log-in of the one that signs. */
static enum status make_value(const struct where *w, struct value *out, struct error *err)
{
    struct where writing = *w;
    CK_OBJECT_HANDLE handle;
    CK_RV rv = w->m->f->C_OpenSession(w->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &writing.session);
    if (rv != CKR_OK)
        return module_failed(w->m, "C_OpenSession for the data key", rv, err);
    randombytes_buf(out->bytes, DATA_KEY_SIZE);
    out->len = DATA_KEY_SIZE;
    rv = create_object(&writing, out, &handle);
    enum status status = STATUS_OK;
    if (rv != CKR_OK) {
        status = module_failed(w->m, "C_CreateObject of the data key", rv, err);
        if (status != STATUS_KEY_ABSENT)
            error_put_text(err->next, sizeof(err->next), span_text(NEXT_UNABLE));
    } else {
        status = confirm(&writing, out, err);
        if (status != STATUS_OK) /* nothing is sealed with it yet */
            (void)w->m->f->C_DestroyObject(writing.session, handle);
    }
    (void)w->m->f->C_CloseSession(writing.session);
    return status;
}

/* A session that lost its log-in shows no private object, and would have us make a second one. */
static enum status check_session(const struct where *w, struct error *err)
{
    CK_SESSION_INFO info;
    CK_RV rv = w->m->f->C_GetSessionInfo(w->session, &info);
    if (rv != CKR_OK)
        return module_failed(w->m, "C_GetSessionInfo", rv, err);
    if (info.state != CKS_RO_USER_FUNCTIONS && info.state != CKS_RW_USER_FUNCTIONS)
        return error_set(err, STATUS_KEY_ABSENT, "the agent logs in again by itself",
                         "%s: the session is not logged in any more", w->m->path);
    return STATUS_OK;
}

/* `value->len` 0: there is none, and none was to be made. */
static enum status get_value(const struct where *w, bool make, struct value *value, bool *made, struct error *err)
{
    struct object_found found;
    enum status status = check_session(w, err);
    if (status == STATUS_OK)
        status = search(w, &found, err);
    if (status != STATUS_OK)
        return status;
    if (found.count > 1)
        return several(&found, err);
    if (found.count == 1)
        return read_value(w, found.handles[0], value, err);
    if (!make)
        return STATUS_OK;
    status = make_value(w, value, err);
    *made = status == STATUS_OK;
    return status;
}

static enum status answer(const struct where *w, const struct frame *frame, struct buffer *out, struct error *err)
{
    struct data_key_request request;
    struct data_key_answer a = {0};
    uint8_t sealed[DATA_KEY_SEALED_SIZE];
    struct value value = {0};
    _Static_assert(DATA_KEY_SEALED_SIZE == DATA_KEY_SIZE + crypto_box_SEALBYTES, "the size of a sealed data key");
    enum status status = message_take(frame->fields, &message_data_key_request, &request, sizeof(request), err);
    if (status != STATUS_OK)
        return status;
    if (request.public_key.len != STORE_PUBLIC_SIZE)
        return error_set(err, STATUS_MALFORMED, NULL, "the store's public key has %zu bytes", request.public_key.len);
    value.bytes = sodium_malloc(VALUE_MAX);
    if (value.bytes == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    status = get_value(w, request.make, &value, &a.made, err);
    if (status == STATUS_OK && value.len > 0) {
        if (crypto_box_seal(sealed, value.bytes, value.len, request.public_key.data) != 0)
            status = error_set(err, STATUS_MALFORMED, NULL, "the store's public key is none");
        a.sealed = span_of(sealed, sizeof(sealed));
    }
    sodium_free(value.bytes);
    if (status == STATUS_OK)
        message_put_frame(out, INTERNAL_DATA_KEY | OPERATION_ANSWER, frame->request, &message_data_key_answer, &a);
    return status;
}

enum status data_key_serve(const struct module *m, CK_SLOT_ID slot, CK_SESSION_HANDLE session,
                           const struct frame *frame, struct buffer *out, struct error *err)
{
    const struct where w = {.m = m, .slot = slot, .session = session};
    enum status status = answer(&w, frame, out, err);
    if (status != STATUS_OK)
        messages_put_error(out, frame->request, err);
    return status == STATUS_KEY_ABSENT ? status : STATUS_OK;
}
