/*
 * The key process with a real SoftHSM: what it reports and what it signs. The test is the front and the store
 * (key_child.h); a shim between the process and SoftHSM misbehaves (tests/fault/shim.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "growth.h"
#include "key_world.h"

static void the_process_gets_ready_and_a_hundred_signatures_verify(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    struct sign_answer answer;
    uint8_t digests[100][JWK_DIGEST_SIZE];
    bool seen[100] = {false};
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_OK);
    assert_string_equal(c.token, KEY_WORLD_TOKEN);
    assert_string_equal(c.model, "SoftHSM v2");
    assert_false(c.imported);
    assert_int_equal(c.attributes,
                     KEY_SENSITIVE | KEY_ALWAYS_SENSITIVE | KEY_NEVER_EXTRACTABLE | KEY_LOCAL | KEY_PRIVATE | KEY_SIGN);
    for (uint32_t i = 0; i < 100; i++) {
        memset(digests[i], (int)i + 1, sizeof(digests[i]));
        key_child_send_sign(&c, 1000 + i, digests[i]);
    }
    assert_int_equal(channel_flush(&c.channel), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(channel_read(&c.channel, &frame), 1);
        assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
        assert_in_range(frame.request, 1000, 1099);
        assert_int_equal(message_take(frame.fields, &message_sign_answer, &answer, sizeof(answer), &c.error),
                         STATUS_OK);
        assert_int_equal(answer.signature.len, JWK_SIGNATURE_SIZE);
        assert_int_equal(jwk_verify(&c.jwk, digests[frame.request - 1000], answer.signature.data), 0);
        assert_false(seen[frame.request - 1000]);
        seen[frame.request - 1000] = true;
    }
    assert_int_equal(key_child_end(&c, true), 0);
    assert_string_equal(w->memory.verdicts, "12");
    assert_int_equal(key_world_calls(w, "C_Login"), 1);
    assert_int_equal(key_world_calls(w, "C_Sign"), 101);
}

static void signs_once(struct key_child *c, uint32_t request)
{
    struct frame frame;
    key_child_send_sign(c, request, (const uint8_t[JWK_DIGEST_SIZE]){1});
    assert_int_equal(channel_flush(&c->channel), 0);
    assert_true(key_child_answer(c, &frame));
    assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
    assert_int_equal(frame.request, request);
}

/* What is asked before the front lets it go is answered, and then it ends like one that has failed at nothing. */
static void a_process_that_a_module_makes_too_large_asks_to_be_replaced(void **state)
{
    const unsigned long step = 32UL * 1024 * 1024;
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    char command[64];
    uint32_t request = 0;
    (void)snprintf(command, sizeof(command), "C_SignInit leak %lu after 1\n", step);
    key_world_control(w, command);
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_OK);
    while (request <= GROWTH_MAX / step)
        signs_once(&c, ++request);
    assert_true(key_child_answer(&c, &frame)); /* when there is nothing to do */
    assert_int_equal(frame.operation, INTERNAL_ENDING);
    signs_once(&c, ++request);
    message_put_frame(&c.channel.out, INTERNAL_ENDING | OPERATION_ANSWER, 0, &message_empty,
                      &(struct empty_message){false});
    assert_int_equal(channel_flush(&c.channel), 0);
    assert_int_equal(key_child_end(&c, false), 0);
}

static void an_unfit_key_is_refused_with_the_attribute_named(void **state)
{
    static const struct {
        struct softhsm_key key;
        const char *reason;
    } cases[] = {
        {{.label = "p384", .id = "1", .p384 = true}, "not a P-256 key"},
        {{.label = "extractable", .id = "2", .extractable = true}, "CKA_EXTRACTABLE"},
        {{.label = "readable", .id = "3", .not_sensitive = true}, "CKA_SENSITIVE"},
        {{.label = "open", .id = "4", .not_private = true}, "CKA_PRIVATE"},
        {{.label = "mute", .id = "5", .not_sign = true}, "CKA_SIGN"},
        {{.label = "imported", .id = "6", .imported = true}, "CKA_LOCAL"},
    };
    struct key_world *w = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[128];
        softhsm_make_key(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &cases[i].key);
        (void)snprintf(path, sizeof(path), "token=" KEY_WORLD_TOKEN ";object=%s", cases[i].key.label);
        key_world_set_uri(w, path);
        struct key_child c = key_world_run(w, STATUS_KEY_UNFIT, 1);
        key_world_assert_says(&c, cases[i].reason);
        assert_true(c.error.next[0] != '\0');
    }
    assert_int_equal(key_world_calls(w, "C_Sign"), 0);
}

static void an_imported_key_with_permission_is_used_and_reported(void **state)
{
    const struct softhsm_key key = {.label = "work", .id = "1", .imported = true};
    const struct softhsm_key extractable = {.label = "out", .id = "2", .imported = true, .extractable = true};
    struct key_world *w = *state;
    softhsm_make_key(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &key);
    softhsm_make_key(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &extractable);
    w->key.allow_imported = true;
    struct key_child c = key_world_run(w, STATUS_OK, 0);
    assert_true(c.imported);
    assert_int_equal(c.attributes & (KEY_LOCAL | KEY_NEVER_EXTRACTABLE), 0);
    key_world_set_uri(w, "token=" KEY_WORLD_TOKEN ";object=out");
    c = key_world_run(w, STATUS_KEY_UNFIT, 1);
    key_world_assert_says(&c, "CKA_EXTRACTABLE");
}

static void an_ambiguous_uri_lists_the_candidates(void **state)
{
    const struct softhsm_key second = {.label = "work", .id = "22"};
    struct key_world *w = *state;
    softhsm_make_key(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &second);
    struct key_child c = key_world_run(w, STATUS_KEY_UNFIT, 1);
    key_world_assert_says(&c, "2 private keys");
    key_world_assert_says(&c, "object \"work\" with id 31");
    key_world_assert_says(&c, "object \"work\" with id 3232");
    key_world_set_uri(w, "token=" KEY_WORLD_TOKEN ";object=work;id=22");
    (void)key_world_run(w, STATUS_OK, 0);
    softhsm_make_token(&w->hsm, "second", KEY_WORLD_PIN);
    key_world_set_uri(w, "object=work;id=22");
    size_t logins = key_world_calls(w, "C_Login");
    c = key_world_run(w, STATUS_KEY_UNFIT, 1);
    key_world_assert_says(&c, "2 tokens");
    key_world_assert_says(&c, "\"second\" (serial ");
    key_world_assert_says(&c, "\"" KEY_WORLD_TOKEN "\" (serial ");
    assert_int_equal(key_world_calls(w, "C_Login"), logins);
}

static void what_is_absent_is_named_and_what_is_there_too(void **state)
{
    struct key_world *w = *state;
    key_world_set_uri(w, "token=elsewhere;object=work");
    struct key_child c = key_world_run(w, STATUS_KEY_ABSENT, 1);
    key_world_assert_says(&c, "no token \"elsewhere\"");
    key_world_assert_says(&c, "there are: \"" KEY_WORLD_TOKEN "\"");
    key_world_set_uri(w, "token=" KEY_WORLD_TOKEN ";object=other");
    c = key_world_run(w, STATUS_KEY_ABSENT, 1);
    key_world_assert_says(&c, "no private key \"other\"");
    static char missing[] = "pkcs11:token=x?module-path=/nowhere/module.so";
    w->key.uri = missing;
    c = key_world_run(w, STATUS_KEY_ABSENT, 1);
    key_world_assert_says(&c, "/nowhere/module.so");
    static char no_module[] = "pkcs11:token=x?module-path=/etc/passwd";
    w->key.uri = no_module;
    (void)key_world_run(w, STATUS_KEY_FAILED, 1);
}

static void a_module_is_found_by_its_registered_name(void **state)
{
    struct key_world *w = *state;
    static char by_name[] = "pkcs11:token=" KEY_WORLD_TOKEN ";object=work?module-name=softhsm2";
    static char unknown[] = "pkcs11:token=" KEY_WORLD_TOKEN "?module-name=nonesuch";
    w->key.uri = by_name;
    (void)key_world_run(w, STATUS_OK, 0);
    w->key.uri = unknown;
    struct key_child c = key_world_run(w, STATUS_KEY_ABSENT, 1);
    key_world_assert_says(&c, "not registered");
}

static void another_key_than_the_pinned_one_is_refused(void **state)
{
    static char pinned[JWK_THUMBPRINT_SIZE] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    char jkt[JWK_THUMBPRINT_SIZE];
    struct key_world *w = *state;
    struct key_child c = key_world_run(w, STATUS_OK, 0);
    assert_int_equal(jwk_thumbprint(&c.jwk, jkt), 0);
    w->key.thumbprint = pinned;
    c = key_world_run(w, STATUS_KEY_WRONG, 1);
    key_world_assert_says(&c, pinned);
    key_world_assert_says(&c, jkt);
    w->key.thumbprint = jkt;
    (void)key_world_run(w, STATUS_OK, 0);
    w->key.thumbprint = NULL;
}

static void a_module_that_lies_never_gets_ready(void **state)
{
    struct key_world *w = *state;
    static const char *const commands[] = {"C_Sign flip\n", "C_Sign short\n", "C_Sign zero\n"};
    static const char *const reasons[] = {"does not verify", "63 bytes", "is zero"};
    for (size_t i = 0; i < 3; i++) {
        key_world_control(w, commands[i]);
        struct key_child c = key_world_run(w, STATUS_KEY_FAILED, 1);
        key_world_assert_says(&c, reasons[i]);
    }
}

static void a_private_key_object_alone_has_its_public_key_found_by_signatures(void **state)
{
    const struct softhsm_key alone = {.label = "alone", .id = "7", .no_public = true};
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    struct sign_answer answer;
    uint8_t digest[JWK_DIGEST_SIZE] = {7};
    softhsm_make_key(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &alone);
    key_world_set_uri(w, "token=" KEY_WORLD_TOKEN ";object=alone");
    struct jwk first = key_world_run(w, STATUS_OK, 0).jwk;
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_OK);
    assert_memory_equal(&c.jwk, &first, sizeof(first));
    key_child_send_sign(&c, 1, digest);
    assert_int_equal(channel_flush(&c.channel), 0);
    assert_true(key_child_answer(&c, &frame));
    assert_int_equal(message_take(frame.fields, &message_sign_answer, &answer, sizeof(answer), &c.error), STATUS_OK);
    assert_int_equal(jwk_verify(&first, digest, answer.signature.data), 0);
    assert_int_equal(key_child_end(&c, true), 0);
    key_world_control(w, "C_Sign flip\n");
    (void)key_world_run(w, STATUS_KEY_FAILED, 1);
}

static void add_certificate(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    struct span *der = data;
    CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_CERTIFICATE_TYPE type = CKC_X_509;
    CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE object;
    char id[] = "1", subject[] = "0";
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)},      {CKA_CERTIFICATE_TYPE, &type, sizeof(type)},
                                 {CKA_TOKEN, &yes, sizeof(yes)},          {CKA_ID, id, 1},
                                 {CKA_SUBJECT, subject, 1},               {CKA_VALUE, (void *)(uintptr_t)der->data,
                                                                           der->len}};
    assert_int_equal(f->C_CreateObject(session, attributes, 6, &object), CKR_OK);
}

/* DER; nothing but the key in it matters. */
static uint8_t *make_certificate(const struct jwk *jwk, int *len)
{
    uint8_t point[1 + 2 * JWK_COORDINATE_SIZE] = {4}, *der = NULL;
    char group[] = "prime256v1";
    memcpy(point + 1, jwk->x, JWK_COORDINATE_SIZE);
    memcpy(point + 1 + JWK_COORDINATE_SIZE, jwk->y, JWK_COORDINATE_SIZE);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY *key = NULL, *signer = EVP_EC_gen("P-256");
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
    X509 *certificate = X509_new();
    assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_true(X509_sign(certificate, signer, EVP_sha256()) > 0);
    *len = i2d_X509(certificate, &der);
    assert_true(*len > 0);
    X509_free(certificate);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(key);
    EVP_PKEY_free(signer);
    return der;
}

static void remove_public(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE attribute = {CKA_CLASS, &class, sizeof(class)};
    CK_OBJECT_HANDLE object;
    CK_ULONG n = 0;
    (void)data;
    assert_int_equal(f->C_FindObjectsInit(session, &attribute, 1), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, &object, 1, &n), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(f->C_DestroyObject(session, object), CKR_OK);
}

static void a_certificate_tells_the_public_key_and_costs_no_signature(void **state)
{
    struct key_world *w = *state;
    int len;
    struct jwk jwk = key_world_run(w, STATUS_OK, 0).jwk;
    uint8_t *der = make_certificate(&jwk, &len);
    struct span span = span_of(der, (size_t)len);
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, remove_public, NULL);
    size_t before = key_world_calls(w, "C_Sign");
    (void)key_world_run(w, STATUS_OK, 0);
    assert_int_equal(key_world_calls(w, "C_Sign") - before, 3); /* two that tell the key, and the check */
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, add_certificate, &span);
    before = key_world_calls(w, "C_Sign");
    struct jwk found = key_world_run(w, STATUS_OK, 0).jwk;
    assert_memory_equal(&found, &jwk, sizeof(jwk));
    assert_int_equal(key_world_calls(w, "C_Sign") - before, 1);
    OPENSSL_free(der);
}

static void a_key_that_wants_its_pin_for_each_signature_gets_it(void **state)
{
    const struct softhsm_key strict = {.label = "strict", .id = "8", .always_authenticate = true};
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    struct sign_answer answer;
    uint8_t digest[JWK_DIGEST_SIZE] = {8};
    softhsm_make_key(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &strict);
    key_world_set_uri(w, "token=" KEY_WORLD_TOKEN ";object=strict");
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_OK);
    assert_true(c.attributes & KEY_ALWAYS_AUTHENTICATE);
    for (uint32_t i = 0; i < 5; i++) {
        key_child_send_sign(&c, i, digest);
        assert_int_equal(channel_flush(&c.channel), 0);
        assert_true(key_child_answer(&c, &frame));
        assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
        assert_int_equal(message_take(frame.fields, &message_sign_answer, &answer, sizeof(answer), &c.error),
                         STATUS_OK);
        assert_int_equal(jwk_verify(&c.jwk, digest, answer.signature.data), 0);
    }
    assert_int_equal(key_world_calls(w, "C_Login"), 7);
    /* From now on the token takes it no more: it is recorded as refused, and nobody sends it again. */
    key_world_control(w, "C_Login fail 0xa0\n");
    key_child_send_sign(&c, 9, digest);
    assert_int_equal(channel_flush(&c.channel), 0);
    assert_true(key_child_answer(&c, &frame));
    assert_int_equal(frame.operation, OPERATION_ERROR);
    assert_int_equal(key_child_serve(&c), STATUS_KEY_LOCKED);
    key_world_assert_says(&c, "refused the PIN");
    assert_string_equal(w->memory.verdicts, "123");
    assert_int_equal(key_child_end(&c, true), 0);
    (void)key_world_run(w, STATUS_KEY_LOCKED, 0);
    assert_int_equal(key_world_calls(w, "C_Login"), 8);
}

static void a_module_that_hangs_in_c_finalize_is_not_waited_for(void **state)
{
    struct key_world *w = *state;
    key_world_control(w, "C_Finalize hang\n");
    (void)key_world_run(w, STATUS_OK, 1000 + 14);
}

#define WITH_KEY(test) cmocka_unit_test_setup_teardown(test, key_world_open, key_world_close)
#define WITH_TOKEN(test) cmocka_unit_test_setup_teardown(test, key_world_open_token, key_world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KEY(the_process_gets_ready_and_a_hundred_signatures_verify),
        WITH_KEY(a_process_that_a_module_makes_too_large_asks_to_be_replaced),
        WITH_TOKEN(an_unfit_key_is_refused_with_the_attribute_named),
        WITH_TOKEN(an_imported_key_with_permission_is_used_and_reported),
        WITH_KEY(an_ambiguous_uri_lists_the_candidates),
        WITH_KEY(what_is_absent_is_named_and_what_is_there_too),
        WITH_KEY(a_module_is_found_by_its_registered_name),
        WITH_KEY(another_key_than_the_pinned_one_is_refused),
        WITH_KEY(a_module_that_lies_never_gets_ready),
        WITH_KEY(a_certificate_tells_the_public_key_and_costs_no_signature),
        WITH_TOKEN(a_private_key_object_alone_has_its_public_key_found_by_signatures),
        WITH_TOKEN(a_key_that_wants_its_pin_for_each_signature_gets_it),
        WITH_KEY(a_module_that_hangs_in_c_finalize_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
