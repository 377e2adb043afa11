/* See make.h. */
#include "make.h"

#include "destroy.h"
#include "key_file.h"
#include "key_pair.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LABEL_SHOWN 65
#define STACK_WIPED 65536 /* deeper than what a module does with a key */

/* What a request asks for, with what came as descriptors. */
struct request {
    uint16_t operation;
    struct span label;
    struct private_key imported; /* d NULL: the token makes the key */
};

/* ---- the new key's URI ---- */

static enum status no_uri(struct error *err)
{
    return error_set(err, STATUS_KEY_FAILED, NULL, "the new key's uri cannot be written");
}

/* Beside what RFC 7512 has encoded, p11-kit encodes slashes and colons of the query: paths are to be read by people. */
static void put_readable(struct buffer *out, const char *text)
{
    const char *query = strchr(text, '?');
    size_t path_len = query != NULL ? (size_t)(query - text) : strlen(text);
    buffer_put(out, text, path_len);
    for (const char *at = text + path_len; *at != '\0'; at++) {
        bool slash = strncmp(at, "%2F", 3) == 0, colon = strncmp(at, "%3A", 3) == 0;
        buffer_put(out, slash ? "/" : colon ? ":" : at, 1);
        at += slash || colon ? 2 : 0;
    }
}

/* The process's own URI, with the object's attributes replaced. */
static enum status put_uri(const struct uri *own, const struct key_pair *pair, struct span label, struct buffer *out,
                           struct error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    uint8_t id[KEY_PAIR_ID_SIZE], label_copy[KEY_PAIR_LABEL_MAX];
    char *text = NULL, *new_text = NULL;
    P11KitUri *copy = p11_kit_uri_new();
    memcpy(id, pair->id, sizeof(id));
    memcpy(label_copy, label.data, label.len);
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)}, {CKA_ID, id, sizeof(id)}, {CKA_LABEL, label_copy, label.len}};
    bool good = copy != NULL && p11_kit_uri_format(own->parsed, P11_KIT_URI_FOR_ANY, &text) == P11_KIT_URI_OK &&
                p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, copy) == P11_KIT_URI_OK;
    for (size_t i = 0; good && i < sizeof(attributes) / sizeof(attributes[0]); i++)
        good = p11_kit_uri_set_attribute(copy, &attributes[i]) == P11_KIT_URI_OK;
    good = good && p11_kit_uri_format(copy, P11_KIT_URI_FOR_ANY, &new_text) == P11_KIT_URI_OK;
    if (good)
        put_readable(out, new_text);
    free(text);
    free(new_text);
    p11_kit_uri_free(copy);
    return good && !out->failed ? STATUS_OK : no_uri(err);
}

/* ---- before: is it there already? ---- */

static enum status check_label(const struct make_place *p, struct span label, struct error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    uint8_t copy[KEY_PAIR_LABEL_MAX];
    char shown[LABEL_SHOWN];
    struct object_found found;
    if (label.len == 0 || label.len > sizeof(copy))
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "a key's label has 1 to %d bytes", KEY_PAIR_LABEL_MAX);
    memcpy(copy, label.data, label.len);
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, copy, label.len}};
    enum status status = object_search(p->m, p->session, attributes, 2, &found, err);
    if (status != STATUS_OK || found.count == 0)
        return status;
    error_put_text(shown, sizeof(shown), label);
    return error_set(err, STATUS_EXISTS,
                     "choose another name, or delete that key; one that no section of the configuration names gets a "
                     "section with its uri (object=NAME) first",
                     "token \"%s\" has a private key \"%s\" already", p->token->label, shown);
}

/* A private key of the CKA_ID of this public key object, which has the imported key's point. */
static enum status check_twin(const struct make_place *p, CK_OBJECT_HANDLE public_key, struct error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    uint8_t id[OBJECT_ID_MAX], label[KEY_PAIR_LABEL_MAX];
    char shown[LABEL_SHOWN];
    size_t id_len, label_len;
    struct object_found found;
    if (object_attribute(p->m, p->session, public_key, CKA_ID, id, sizeof(id), &id_len) != 0 || id_len == 0)
        return STATUS_OK;
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, id, id_len}};
    enum status status = object_search(p->m, p->session, attributes, 2, &found, err);
    if (status != STATUS_OK || found.count == 0)
        return status;
    if (object_attribute(p->m, p->session, found.handles[0], CKA_LABEL, label, sizeof(label), &label_len) != 0)
        label_len = 0;
    error_put_text(shown, sizeof(shown), span_of(label, label_len));
    return error_set(err, STATUS_EXISTS, "use that one, or delete it first",
                     "token \"%s\" has this private key already: object \"%s\"", p->token->label, shown);
}

/* Tokens write CKA_EC_POINT as DER, or bare. */
static enum status check_point(const struct make_place *p, const struct jwk *jwk, struct error *err)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    uint8_t point[KEY_PAIR_POINT_SIZE];
    key_pair_point(jwk, point);
    for (size_t skipped = 0; skipped <= KEY_PAIR_POINT_HEADER; skipped += KEY_PAIR_POINT_HEADER) {
        CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)},
                                     {CKA_EC_POINT, point + skipped, sizeof(point) - skipped}};
        struct object_found found;
        enum status status = object_search(p->m, p->session, attributes, 2, &found, err);
        for (CK_ULONG i = 0; status == STATUS_OK && i < found.count; i++)
            status = check_twin(p, found.handles[i], err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* ---- after: is it what was asked for? ---- */

enum status make_check_signature(const struct make_place *p, const struct object *o, struct error *err)
{
    uint8_t digest[JWK_DIGEST_SIZE], signature[JWK_SIGNATURE_SIZE];
    randombytes_buf(digest, sizeof(digest));
    enum status status = object_sign(p->m, p->session, o, digest, signature, err);
    if (status == STATUS_OK && jwk_verify(&o->jwk, digest, signature) != 0)
        status = error_set(err, STATUS_KEY_FAILED,
                           "check that the token's private and public key objects belong together",
                           "the key's signature does not verify with its public key: %s", p->m->path);
    return status;
}

static enum status check_found(const struct make_place *p, const struct key_pair *pair, const struct object *o,
                               struct error *err)
{
    if (memcmp(&o->jwk, &pair->jwk, sizeof(o->jwk)) != 0)
        return error_set(err, STATUS_KEY_FAILED, NULL, "%s shows another public key than the one that was made",
                         p->m->path);
    return make_check_signature(p, o, err);
}

static enum status prove(const struct make_place *p, const struct key_pair *pair, struct span uri_text, bool imported,
                         struct error *err)
{
    struct uri uri;
    struct object o;
    char *text = span_dup(uri_text);
    if (text == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    enum status status = uri_parse(text, &uri, err);
    free(text);
    if (status != STATUS_OK)
        return status;
    status = object_find(p->m, p->session, &uri, imported, p->pin, &o, err);
    if (status == STATUS_OK)
        status = check_found(p, pair, &o, err);
    uri_free(&uri);
    return status;
}

/* ---- the two ways to a new key ---- */

static enum status make_pair(const struct make_place *p, const struct request *r, struct key_pair *out,
                             struct error *err)
{
    enum status status = check_label(p, r->label, err);
    if (status != STATUS_OK)
        return status;
    if (r->imported.d == NULL)
        return key_pair_generate(p->m, p->session, r->label, out, err);
    status = check_point(p, &r->imported.jwk, err);
    return status == STATUS_OK ? key_pair_import(p->m, p->session, r->label, &r->imported, out, err) : status;
}

/* Made, found by its URI, and proved; else undone. */
static enum status make_proved(const struct make_place *p, const struct request *r, struct buffer *uri,
                               struct key_pair *out, struct error *err)
{
    struct key_pair pair;
    enum status status = make_pair(p, r, &pair, err);
    if (status != STATUS_OK)
        return status;
    status = put_uri(p->uri, &pair, r->label, uri, err);
    if (status == STATUS_OK)
        status = prove(p, &pair, buffer_span(uri), r->imported.d != NULL, err);
    if (status == STATUS_OK)
        *out = pair;
    else
        key_pair_destroy(p->m, p->session, &pair);
    return status;
}

enum status make_new_key(const struct make_place *p, struct span label, struct buffer *uri, struct key_pair *out,
                         struct error *err)
{
    const struct request r = {.operation = INTERNAL_KEY_MAKE, .label = label};
    return make_proved(p, &r, uri, out, err);
}

static enum status make_key(const struct make_place *p, const struct request *r, const struct frame *frame,
                            struct buffer *out, struct error *err)
{
    struct key_pair pair;
    struct buffer uri;
    buffer_init(&uri, URI_MAX);
    enum status status = make_proved(p, r, &uri, &pair, err);
    if (status == STATUS_OK) {
        const struct made_key answer = {.uri = buffer_span(&uri),
                                        .x = span_of(pair.jwk.x, JWK_COORDINATE_SIZE),
                                        .y = span_of(pair.jwk.y, JWK_COORDINATE_SIZE)};
        message_put_frame(out, frame->operation | OPERATION_ANSWER, frame->request, &message_made_key, &answer);
    }
    buffer_free(&uri);
    return status;
}

/* ---- requests ---- */

static enum status take_descriptors(struct channel *channel, bool password, int fds[2], struct error *err)
{
    fds[0] = channel_take_descriptor(channel);
    fds[1] = password ? channel_take_descriptor(channel) : -1;
    if (fds[0] >= 0 && (!password || fds[1] >= 0))
        return STATUS_OK;
    return error_set(err, STATUS_MALFORMED, NULL, "the descriptor of the %s is missing",
                     fds[0] < 0 ? "key file" : "key file's password");
}

static enum status read_files(const int fds[2], struct private_key *out, struct error *err)
{
    struct secret *file = NULL, *password = NULL;
    enum status status = key_file_load(fds[0], &file, err);
    if (status == STATUS_OK && fds[1] >= 0)
        status = key_file_load_password(fds[1], &password, err);
    if (status == STATUS_OK)
        status = key_file_read(file, password, out, err);
    secret_free(file);
    secret_free(password);
    return status;
}

static enum status import_key(const struct make_place *p, const struct frame *frame, struct channel *channel,
                              struct error *err)
{
    struct import_key message;
    struct request r = {0};
    int fds[2] = {-1, -1};
    enum status status = message_take(frame->fields, &message_import_key, &message, sizeof(message), err);
    if (status != STATUS_OK) {
        channel_close_descriptors(channel); /* nobody knows how many of them are this request's */
        return status;
    }
    status = take_descriptors(channel, message.password, fds, err);
    if (status == STATUS_OK)
        status = read_files(fds, &r.imported, err);
    r.label = message.label;
    if (status == STATUS_OK)
        status = make_key(p, &r, frame, &channel->out, err);
    private_key_free(&r.imported);
    sodium_stackzero(STACK_WIPED);
    for (size_t i = 0; i < 2; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    return status;
}

static enum status generate_key(const struct make_place *p, const struct frame *frame, struct buffer *out,
                                struct error *err)
{
    struct make_key message;
    enum status status = message_take(frame->fields, &message_make_key, &message, sizeof(message), err);
    const struct request r = {.label = message.label};
    return status == STATUS_OK ? make_key(p, &r, frame, out, err) : status;
}

static enum status destroy_key(const struct make_place *p, const struct frame *frame, struct buffer *out,
                               struct error *err)
{
    const struct empty_message nothing = {0};
    struct destroy_key message;
    enum status status = message_take(frame->fields, &message_destroy_key, &message, sizeof(message), err);
    if (status == STATUS_OK)
        status = destroy_by_uri(p, message.uri, message.jkt, err);
    if (status == STATUS_OK)
        message_put_frame(out, frame->operation | OPERATION_ANSWER, frame->request, &message_empty, &nothing);
    return status;
}

/* A session that lost its log-in shows no private objects: it would make a key twice, and destroy half a key. */
static enum status open_place(struct make_place *p, CK_SESSION_HANDLE session, struct error *err)
{
    CK_SESSION_INFO info;
    CK_RV rv = p->m->f->C_GetSessionInfo(session, &info);
    if (rv != CKR_OK)
        return module_failed(p->m, "C_GetSessionInfo", rv, err);
    if (info.state != CKS_RO_USER_FUNCTIONS && info.state != CKS_RW_USER_FUNCTIONS)
        return error_set(err, STATUS_KEY_ABSENT, "the agent logs in again by itself",
                         "%s: the session is not logged in any more", p->m->path);
    rv = p->m->f->C_OpenSession(p->token->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &p->session);
    return rv == CKR_OK ? STATUS_OK : module_failed(p->m, "C_OpenSession for writing", rv, err);
}

static enum status serve(const struct make_place *p, const struct frame *frame, struct channel *channel,
                         struct error *err)
{
    switch (frame->operation) {
    case INTERNAL_KEY_MAKE:
        return generate_key(p, frame, &channel->out, err);
    case INTERNAL_KEY_IMPORT:
        return import_key(p, frame, channel, err);
    default:
        return destroy_key(p, frame, &channel->out, err);
    }
}

enum status make_serve(const struct module *m, const struct token *t, CK_SESSION_HANDLE session, const struct uri *uri,
                       const struct secret *pin, const struct frame *frame, struct channel *channel,
                       struct error *err)
{
    struct make_place p = {.m = m, .token = t, .session = CK_INVALID_HANDLE, .uri = uri, .pin = pin};
    enum status status = open_place(&p, session, err);
    if (status == STATUS_OK) {
        status = serve(&p, frame, channel, err);
        (void)m->f->C_CloseSession(p.session);
    } else if (frame->operation == INTERNAL_KEY_IMPORT) {
        channel_close_descriptors(channel);
    }
    if (status != STATUS_OK)
        messages_put_error(&channel->out, frame->request, err);
    return status == STATUS_KEY_ABSENT ? status : STATUS_OK;
}
