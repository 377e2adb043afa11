/* See key_maker.h. */
#include "key_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>

char key_maker_password[KEY_MAKER_PASSWORD_SIZE] = "secret";


void key_maker_start(struct key_world *w, struct key_child *c)
{
    key_child_start(c, &w->key, &w->memory, w->log);
    enum status status = key_child_serve(c);
    if (status != STATUS_OK)
        fail_msg("%d: %s", status, c->error.message);
}

void key_maker_end(struct key_child *c)
{
    assert_int_equal(key_child_end(c, true), 0);
}

/* ---- requests ---- */

void key_maker_send(struct key_child *c, const int *fds, size_t count)
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } ancillary = {0};
    struct span frame = buffer_span(&c->channel.out);
    struct iovec iov = {(void *)(uintptr_t)frame.data, frame.len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        header.msg_control = ancillary.bytes;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *m = CMSG_FIRSTHDR(&header);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(m), fds, count * sizeof(int));
    }
    assert_int_equal(sendmsg(c->channel.fd, &header, 0), frame.len);
    buffer_clear(&c->channel.out);
}

/* The answer's status; its error is in c->error. */
enum status key_maker_answer(struct key_child *c, uint16_t operation, struct made_pair *out)
{
    struct made_key key;
    struct frame frame;
    assert_int_equal(channel_read(&c->channel, &frame), 1);
    assert_int_equal(frame.request, 77);
    if (frame.operation == OPERATION_ERROR) {
        assert_int_equal(messages_take_error(frame.fields, &c->error), STATUS_OK);
        return c->error.status;
    }
    assert_int_equal(frame.operation, operation | OPERATION_ANSWER);
    if (out == NULL)
        return STATUS_OK;
    assert_int_equal(message_take(frame.fields, &message_made_key, &key, sizeof(key), &c->error), STATUS_OK);
    assert_int_equal(span_copy(key.uri, out->uri, sizeof(out->uri)), 0);
    assert_int_equal(key.x.len, 32);
    assert_int_equal(key.y.len, 32);
    memcpy(out->jwk.x, key.x.data, 32);
    memcpy(out->jwk.y, key.y.data, 32);
    return STATUS_OK;
}

enum status key_maker_make(struct key_child *c, const char *label, struct made_pair *out)
{
    const struct make_key m = {.label = span_text(label)};
    message_put_frame(&c->channel.out, INTERNAL_KEY_MAKE, 77, &message_make_key, &m);
    key_maker_send(c, NULL, 0);
    return key_maker_answer(c, INTERNAL_KEY_MAKE, out);
}

static int file_of(struct span content)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content.data, content.len), content.len);
    return fd;
}

enum status key_maker_import(struct key_child *c, const char *label, struct span file, const char *pass,
                             struct made_pair *out)
{
    const struct import_key m = {.label = span_text(label), .password = pass != NULL};
    int fds[2] = {file_of(file), pass != NULL ? file_of(span_text(pass)) : -1};
    message_put_frame(&c->channel.out, INTERNAL_KEY_IMPORT, 77, &message_import_key, &m);
    key_maker_send(c, fds, pass != NULL ? 2 : 1);
    (void)close(fds[0]);
    if (pass != NULL)
        (void)close(fds[1]);
    return key_maker_answer(c, INTERNAL_KEY_IMPORT, out);
}

enum status key_maker_destroy(struct key_child *c, const char *uri, const char *jkt)
{
    const struct destroy_key m = {.uri = span_text(uri), .jkt = span_text(jkt)};
    message_put_frame(&c->channel.out, INTERNAL_KEY_DESTROY, 77, &message_destroy_key, &m);
    key_maker_send(c, NULL, 0);
    return key_maker_answer(c, INTERNAL_KEY_DESTROY, NULL);
}

void key_maker_succeeds(const struct key_child *c, enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%d: %s", status, c->error.message);
}

void key_maker_fails(const struct key_child *c, enum status status, enum status expected, const char *words)
{
    if (status != expected || strstr(c->error.message, words) == NULL)
        fail_msg("%d: \"%s\", not %d: \"%s\"", status, c->error.message, expected, words);
}

void key_maker_thumbprint(const struct jwk *jwk, char jkt[JWK_THUMBPRINT_SIZE])
{
    assert_int_equal(jwk_thumbprint(jwk, jkt), 0);
}

/* A key process of the new key is ready, and signs with it. */
void key_maker_assert_usable(struct key_world *w, const struct made_pair *made, bool imported)
{
    struct key_child c;
    struct key_config own = w->key;
    char jkt[JWK_THUMBPRINT_SIZE], uri[KEY_MAKER_URI_SIZE];
    memcpy(uri, made->uri, sizeof(uri));
    key_maker_thumbprint(&made->jwk, jkt);
    w->key.uri = uri;
    w->key.thumbprint = jkt;
    w->key.allow_imported = imported;
    key_maker_start(w, &c);
    assert_int_equal(c.imported, imported);
    assert_memory_equal(&c.jwk, &made->jwk, sizeof(made->jwk));
    assert_true(c.attributes & KEY_SENSITIVE && c.attributes & KEY_PRIVATE && c.attributes & KEY_SIGN);
    assert_false(c.attributes & (KEY_EXTRACTABLE | KEY_ALWAYS_AUTHENTICATE));
    key_maker_end(&c);
    w->key = own;
}

/* ---- what is in the token ---- */

struct census {
    CK_OBJECT_CLASS class;
    CK_ULONG count;
};

static void take_census(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    struct census *census = data;
    CK_ATTRIBUTE wanted = {CKA_CLASS, &census->class, sizeof(census->class)};
    CK_OBJECT_HANDLE objects[32];
    assert_int_equal(f->C_FindObjectsInit(session, &wanted, 1), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, objects, 32, &census->count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
}

void key_maker_assert_census(const struct key_world *w, CK_ULONG private_keys, CK_ULONG public_keys,
                             CK_ULONG certificates)
{
    struct census all[] = {{CKO_PRIVATE_KEY, 0}, {CKO_PUBLIC_KEY, 0}, {CKO_CERTIFICATE, 0}};
    for (size_t i = 0; i < 3; i++)
        softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, take_census, &all[i]);
    assert_int_equal(all[0].count, private_keys);
    assert_int_equal(all[1].count, public_keys);
    assert_int_equal(all[2].count, certificates);
}

/* The permissions of the private keys of a label: only CKA_SIGN. */
static void look_at_permissions(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    static const CK_ATTRIBUTE_TYPE none[] = {CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE, CKA_SIGN_RECOVER, CKA_EXTRACTABLE};
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    char *label = data;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, label, strlen(label)}};
    CK_OBJECT_HANDLE object;
    CK_ULONG count = 0;
    CK_BBOOL value;
    CK_ATTRIBUTE id = {CKA_ID, NULL, 0};
    assert_int_equal(f->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, &object, 1, &count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        CK_ATTRIBUTE a = {none[i], &value, sizeof(value)};
        assert_int_equal(f->C_GetAttributeValue(session, object, &a, 1), CKR_OK);
        assert_int_equal(value, CK_FALSE);
    }
    assert_int_equal(f->C_GetAttributeValue(session, object, &id, 1), CKR_OK);
    assert_int_equal(id.ulValueLen, 16);
}

void key_maker_assert_signs_only(const struct key_world *w, const char *label)
{
    char copy[64];
    (void)snprintf(copy, sizeof(copy), "%s", label);
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, look_at_permissions, copy);
}

EVP_PKEY *key_maker_new_key(struct jwk *jwk, uint8_t d[32])
{
    EVP_PKEY *key = key_files_generate("prime256v1");
    BIGNUM *n[3] = {NULL};
    assert_non_null(key);
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &n[0]), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &n[1]), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &n[2]), 1);
    assert_int_equal(BN_bn2binpad(n[0], jwk->x, 32), 32);
    assert_int_equal(BN_bn2binpad(n[1], jwk->y, 32), 32);
    assert_int_equal(BN_bn2binpad(n[2], d, 32), 32);
    for (size_t i = 0; i < 3; i++)
        BN_clear_free(n[i]);
    return key;
}

void key_maker_import_form(struct key_child *c, const struct key_form *form, EVP_PKEY *key, const char *label,
                           struct made_pair *out)
{
    struct buffer b;
    buffer_init(&b, LIMIT_KEY_FILE);
    assert_true(key_files_write(form, key, key_maker_password, &b));
    enum status status = key_maker_import(c, label, buffer_span(&b), form->encrypted ? key_maker_password : NULL, out);
    if (status != STATUS_OK)
        fail_msg("%s: %s", form->name, c->error.message);
    buffer_free(&b);
}
