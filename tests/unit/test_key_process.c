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
        {{.label = "alone", .id = "7", .no_public = true}, "no public key object"},
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

/* After KEY_READY the module fails with `command`: the request is answered with an error, then KEY_FAILED, then the
 * end. */
static struct key_child fail_one_signature(struct key_world *w, const char *command, enum status reported)
{
    uint8_t digest[JWK_DIGEST_SIZE] = {1};
    struct key_child c;
    struct frame frame;
    struct error err;
    key_world_control(w, command);
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_OK);
    key_child_send_sign(&c, 7, digest);
    key_child_send_sign(&c, 8, digest);
    assert_int_equal(channel_flush(&c.channel), 0);
    assert_int_equal(channel_read(&c.channel, &frame), 1);
    assert_int_equal(frame.operation, OPERATION_ERROR);
    assert_int_equal(frame.request, 7);
    assert_int_equal(messages_take_error(frame.fields, &err), STATUS_OK);
    assert_int_equal(err.status, STATUS_KEY_FAILED);
    assert_int_equal(key_child_serve(&c), reported);
    assert_int_equal(channel_read(&c.channel, &frame), 0); /* request 8 is not signed */
    assert_int_equal(key_child_end(&c, false), 1);
    return c;
}

static void a_failed_signature_ends_the_process(void **state)
{
    struct key_world *w = *state;
    struct key_child c = fail_one_signature(w, "C_Sign fail 0x82 after 1\n", STATUS_KEY_ABSENT);
    key_world_assert_says(&c, "CKR_OBJECT_HANDLE_INVALID (0x82)");
    assert_int_equal(key_world_calls(w, "C_Sign"), 2);
    c = fail_one_signature(w, "C_Sign fail 0x5 after 1\n", STATUS_KEY_FAILED);
    key_world_assert_says(&c, "CKR_GENERAL_ERROR (0x5)");
    (void)fail_one_signature(w, "C_Sign zero after 1\n", STATUS_KEY_FAILED);
    (void)fail_one_signature(w, "C_Sign short after 1\n", STATUS_KEY_FAILED);
    (void)fail_one_signature(w, "C_SignInit fail 0xb3 after 1\n", STATUS_KEY_ABSENT);
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
        WITH_TOKEN(an_unfit_key_is_refused_with_the_attribute_named),
        WITH_TOKEN(an_imported_key_with_permission_is_used_and_reported),
        WITH_KEY(an_ambiguous_uri_lists_the_candidates),
        WITH_KEY(what_is_absent_is_named_and_what_is_there_too),
        WITH_KEY(a_module_is_found_by_its_registered_name),
        WITH_KEY(another_key_than_the_pinned_one_is_refused),
        WITH_KEY(a_module_that_lies_never_gets_ready),
        WITH_KEY(a_failed_signature_ends_the_process),
        WITH_KEY(a_module_that_hangs_in_c_finalize_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
