/* Keys made in a token and destroyed, by a real key process with SoftHSM behind the shim. The test is the front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "key_maker.h"
#include "wiping_heap.h"

/* ---- making ---- */

static void a_key_is_made_in_the_token_and_found_by_its_uri(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made, second;
    key_maker_start(w, &c);
    key_maker_succeeds(&c, key_maker_make(&c, "new", &made));
    assert_non_null(strstr(made.uri, "token=" KEY_WORLD_TOKEN));
    assert_non_null(strstr(made.uri, "object=new"));
    assert_non_null(strstr(made.uri, "type=private"));
    assert_non_null(strstr(made.uri, "?module-path=/"));
    key_maker_succeeds(&c, key_maker_make(&c, "one more; of \xc3\xa9?", &second));
    assert_memory_not_equal(&made.jwk, &second.jwk, sizeof(made.jwk));
    key_maker_end(&c);
    key_maker_assert_census(w, 3, 3, 0);
    key_maker_assert_signs_only(w, "new");
    key_maker_assert_usable(w, &made, false);
    key_maker_assert_usable(w, &second, false);
}

static void a_label_that_is_taken_is_refused_and_nothing_is_made(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    char long_label[66] = "";
    memset(long_label, 'x', 65);
    key_maker_start(w, &c);
    key_maker_fails(&c, key_maker_make(&c, "work", &made), STATUS_EXISTS, "has a private key \"work\" already");
    key_maker_fails(&c, key_maker_make(&c, "", &made), STATUS_INVALID_ARGUMENT, "1 to 64 bytes");
    key_maker_fails(&c, key_maker_make(&c, long_label, &made), STATUS_MALFORMED, "longer than its limit");
    key_maker_end(&c);
    key_maker_assert_census(w, 1, 1, 0);
}

static void the_rest_of_the_own_uri_is_kept(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    char path[600];
    (void)snprintf(path, sizeof(path),
                   "token=" KEY_WORLD_TOKEN ";manufacturer=SoftHSM%%20project;id=1;model=SoftHSM%%20v2");
    key_world_set_uri(w, path);
    (void)snprintf(w->uri + strlen(w->uri), sizeof(w->uri) - strlen(w->uri), "&pin-source=file:%s", w->pin_file);
    w->key.pin_file = NULL;
    key_maker_start(w, &c);
    key_maker_succeeds(&c, key_maker_make(&c, "new", &made));
    key_maker_end(&c);
    assert_non_null(strstr(made.uri, "manufacturer=SoftHSM%20project"));
    assert_non_null(strstr(made.uri, "pin-source=file:/tmp/"));
    assert_null(strstr(made.uri, "id=1;"));
    key_maker_assert_usable(w, &made, false);
}

static void the_process_goes_on_after_a_refusal(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    uint8_t digest[JWK_DIGEST_SIZE] = {7};
    struct sign_answer answer;
    struct frame frame;
    key_maker_start(w, &c);
    key_world_control(w, "C_GenerateKeyPair fail 0x30\n");
    key_maker_fails(&c, key_maker_make(&c, "new", &made), STATUS_KEY_FAILED, "CKR_DEVICE_ERROR");
    key_world_control(w, "");
    key_maker_succeeds(&c, key_maker_make(&c, "new", &made));
    key_child_send_sign(&c, 5, digest);
    assert_int_equal(channel_flush(&c.channel), 0);
    assert_int_equal(channel_read(&c.channel, &frame), 1);
    assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_sign_answer, &answer, sizeof(answer), &c.error), STATUS_OK);
    assert_int_equal(jwk_verify(&c.jwk, digest, answer.signature.data), 0);
    key_maker_end(&c);
    key_maker_assert_census(w, 2, 2, 0);
}

/* ---- destroying ---- */

static void a_key_goes_with_all_that_belongs_to_it_and_once_more_is_no_error(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made, other;
    char jkt[JWK_THUMBPRINT_SIZE];
    key_maker_start(w, &c);
    key_maker_succeeds(&c, key_maker_make(&c, "new", &made));
    key_maker_succeeds(&c, key_maker_make(&c, "other", &other));
    key_maker_thumbprint(&made.jwk, jkt);
    key_maker_succeeds(&c, key_maker_destroy(&c, made.uri, jkt));
    key_maker_succeeds(&c, key_maker_destroy(&c, made.uri, jkt));
    key_maker_end(&c);
    key_maker_assert_census(w, 2, 2, 0);
    key_maker_assert_usable(w, &other, false);
}

static void another_key_is_not_destroyed(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made, other;
    char jkt[JWK_THUMBPRINT_SIZE], uri[KEY_MAKER_URI_SIZE];
    key_maker_start(w, &c);
    key_maker_succeeds(&c, key_maker_make(&c, "new", &made));
    key_maker_succeeds(&c, key_maker_make(&c, "other", &other));
    key_maker_thumbprint(&other.jwk, jkt);
    key_maker_fails(&c, key_maker_destroy(&c, made.uri, jkt), STATUS_KEY_WRONG, "another key");
    (void)snprintf(uri, sizeof(uri), "pkcs11:token=" KEY_WORLD_TOKEN "?module-path=" TEST_SHIM);
    key_maker_fails(&c, key_maker_destroy(&c, uri, jkt), STATUS_KEY_UNFIT, "private keys");
    (void)snprintf(uri, sizeof(uri), "pkcs11:token=elsewhere;object=other?module-path=" TEST_SHIM);
    key_maker_fails(&c, key_maker_destroy(&c, uri, jkt), STATUS_KEY_WRONG, "no token \"elsewhere\"");
    key_maker_end(&c);
    key_maker_assert_census(w, 3, 3, 0);
}

static void destroy_private(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    CK_OBJECT_CLASS class = *(CK_OBJECT_CLASS *)data;
    char label[] = "new";
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, label, 3}};
    CK_OBJECT_HANDLE object;
    CK_ULONG count = 0;
    assert_int_equal(f->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, &object, 1, &count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(f->C_DestroyObject(session, object), CKR_OK);
}

static void what_is_left_of_a_key_goes_too(void **state)
{
    static CK_OBJECT_CLASS halves[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    struct key_world *w = *state;
    char jkt[JWK_THUMBPRINT_SIZE], by_label[KEY_MAKER_URI_SIZE];
    (void)snprintf(by_label, sizeof(by_label), "pkcs11:token=" KEY_WORLD_TOKEN ";object=new?module-path=" TEST_SHIM);
    for (size_t i = 0; i < 4; i++) {
        struct key_child c;
        struct made_pair made;
        key_maker_start(w, &c);
        key_maker_succeeds(&c, key_maker_make(&c, "new", &made));
        key_maker_end(&c);
        softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, destroy_private, &halves[i % 2]);
        key_maker_thumbprint(&made.jwk, jkt);
        key_maker_start(w, &c);
        key_maker_succeeds(&c, key_maker_destroy(&c, i < 2 ? made.uri : by_label, jkt));
        key_maker_end(&c);
        key_maker_assert_census(w, 1, 1, 0);
    }
}

/* A certificate object of the id, for the key or for another one. */
struct planted {
    EVP_PKEY *key;
    uint8_t id[16];
    size_t id_len;
};

static void plant_certificate(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    struct planted *p = data;
    CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_CERTIFICATE_TYPE type = CKC_X_509;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_OBJECT_HANDLE object;
    uint8_t *der = NULL, subject[] = {0x30, 0};
    X509 *c = key_files_certificate(p->key);
    assert_non_null(c);
    int len = i2d_X509(c, &der);
    assert_true(len > 0);
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)},
                                 {CKA_CERTIFICATE_TYPE, &type, sizeof(type)},
                                 {CKA_TOKEN, &yes, sizeof(yes)},
                                 {CKA_PRIVATE, &no, sizeof(no)},
                                 {CKA_SUBJECT, subject, sizeof(subject)},
                                 {CKA_ID, p->id, p->id_len},
                                 {CKA_VALUE, der, (CK_ULONG)len}};
    assert_int_equal(f->C_CreateObject(session, attributes, 7, &object), CKR_OK);
    OPENSSL_free(der);
    X509_free(c);
}

static void read_id(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    struct planted *p = data;
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    char label[] = "taken";
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, label, 5}};
    CK_ATTRIBUTE id = {CKA_ID, p->id, sizeof(p->id)};
    CK_OBJECT_HANDLE object;
    CK_ULONG count = 0;
    assert_int_equal(f->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, &object, 1, &count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(f->C_GetAttributeValue(session, object, &id, 1), CKR_OK);
    p->id_len = id.ulValueLen;
}

static void a_certificate_goes_with_its_key_and_that_of_another_key_stays(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    struct planted p = {0};
    struct jwk jwk;
    char jkt[JWK_THUMBPRINT_SIZE];
    uint8_t d[32];
    EVP_PKEY *key = key_maker_new_key(&jwk, d), *other = key_maker_new_key(&jwk, d);
    key_maker_start(w, &c);
    key_maker_import_form(&c, &key_forms[0], key, "taken", &made);
    key_maker_end(&c);
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, read_id, &p);
    p.key = key;
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, plant_certificate, &p);
    p.key = other;
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, plant_certificate, &p);
    key_maker_assert_census(w, 2, 2, 2);
    key_maker_thumbprint(&made.jwk, jkt);
    key_maker_start(w, &c);
    key_maker_succeeds(&c, key_maker_destroy(&c, made.uri, jkt));
    key_maker_end(&c);
    key_maker_assert_census(w, 1, 1, 1);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

#define TEST_IN_WORLD(f) cmocka_unit_test_setup_teardown(f, key_world_open, key_world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_WORLD(a_key_is_made_in_the_token_and_found_by_its_uri),
        TEST_IN_WORLD(a_label_that_is_taken_is_refused_and_nothing_is_made),
        TEST_IN_WORLD(the_rest_of_the_own_uri_is_kept),
        TEST_IN_WORLD(the_process_goes_on_after_a_refusal),
        TEST_IN_WORLD(a_key_goes_with_all_that_belongs_to_it_and_once_more_is_no_error),
        TEST_IN_WORLD(another_key_is_not_destroyed),
        TEST_IN_WORLD(what_is_left_of_a_key_goes_too),
        TEST_IN_WORLD(a_certificate_goes_with_its_key_and_that_of_another_key_stays),
    };
    /* As the key process does it, which is forked from this one. */
    if (wiping_heap_install() != 0 || sodium_init() < 0 || !key_files_load_legacy())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
