/*
 * How a key process comes back by itself: which rung of the ladder follows which CKR_*, that it is the same key
 * afterwards, that nobody's request is lost meanwhile, and when it gives up. SoftHSM behind the shim
 * (tests/fault/shim.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "key_world.h"

static const uint8_t digest[JWK_DIGEST_SIZE] = {1, 2, 3};

static void start(struct key_world *w, struct key_child *c, const char *command)
{
    key_world_control(w, command);
    key_child_start(c, &w->key, &w->memory, w->log);
    if (key_child_serve(c) != STATUS_OK)
        fail_msg("%s", c->error.message);
}

/* Signs once. True: the signature came and verifies; false: an error came. */
static bool signs(struct key_child *c, uint32_t request)
{
    struct frame frame;
    struct sign_answer answer;
    key_child_send_sign(c, request, digest);
    assert_int_equal(channel_flush(&c->channel), 0);
    if (!key_child_answer(c, &frame))
        fail_msg("%s", c->error.message);
    assert_int_equal(frame.request, request);
    if (frame.operation == OPERATION_ERROR)
        return false;
    assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_sign_answer, &answer, sizeof(answer), &c->error), STATUS_OK);
    assert_int_equal(jwk_verify(&c->jwk, digest, answer.signature.data), 0);
    return true;
}

static void an_invalid_handle_is_looked_for_again_without_a_log_in(void **state)
{
    struct key_world *w = *state;
    static const char *const commands[] = {"C_SignInit fail 0x82 nth 2\n", "C_SignInit fail 0x60 nth 2\n",
                                           "C_SignInit fail 0x63 nth 2\n"};
    for (size_t i = 0; i < 3; i++) {
        struct key_child c;
        size_t logins = key_world_calls(w, "C_Login");
        start(w, &c, commands[i]);
        assert_false(signs(&c, 1));
        assert_true(signs(&c, 2));
        assert_int_equal(c.readies, 2);
        assert_int_equal(key_world_calls(w, "C_Login") - logins, 1);
        assert_int_equal(key_child_end(&c, true), 0);
    }
}

static void a_session_or_log_in_that_is_gone_is_made_again(void **state)
{
    struct key_world *w = *state;
    static const char *const codes[] = {"0xb3", "0xb0", "0x101", "0x32", "0xe0", "0x90", "0x91", "0x50"};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct key_child c;
        char command[64];
        size_t logins = key_world_calls(w, "C_Login");
        (void)snprintf(command, sizeof(command), "C_SignInit fail %s nth 2\n", codes[i]);
        start(w, &c, command);
        assert_false(signs(&c, 1));
        assert_true(signs(&c, 2));
        assert_int_equal(c.readies, 2);
        assert_int_equal(key_world_calls(w, "C_Login") - logins, 2);
        assert_int_equal(key_child_end(&c, true), 0);
        memset(w->memory.verdicts, 0, sizeof(w->memory.verdicts));
        w->memory.accepted_count = 0;
    }
}

static void the_rest_ends_the_process_with_its_reason(void **state)
{
    struct key_world *w = *state;
    static const struct {
        const char *command, *reason;
    } cases[] = {
        {"C_Sign fail 0x5 nth 2\n", "CKR_GENERAL_ERROR (0x5)"},
        {"C_SignInit fail 0x30 nth 2\n", "CKR_DEVICE_ERROR (0x30)"},
        {"C_SignInit fail 0x80000001 nth 2\n", "CKR (0x80000001)"},
        {"C_Sign zero after 1\n", "is zero"},
        {"C_Sign short after 1\n", "63 bytes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct key_child c;
        struct frame frame;
        start(w, &c, cases[i].command);
        assert_false(signs(&c, 7));
        assert_false(key_child_answer(&c, &frame));
        assert_int_equal(c.error.status, STATUS_KEY_FAILED);
        key_world_assert_says(&c, cases[i].reason);
        assert_int_equal(c.readies, 1);
        assert_int_equal(key_child_end(&c, false), 1);
        memset(w->memory.verdicts, 0, sizeof(w->memory.verdicts));
    }
}

static void a_rung_that_fails_is_followed_by_the_next(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    start(w, &c, "C_SignInit fail 0x82 nth 2\nC_FindObjectsInit fail 0x5 nth 3\n");
    assert_false(signs(&c, 1));
    assert_true(signs(&c, 2));
    assert_int_equal(key_world_calls(w, "C_Login"), 2);
    assert_int_equal(key_child_end(&c, true), 0);
    start(w, &c, "C_SignInit fail 0x82 nth 2\nC_FindObjectsInit fail 0x5 after 2\n");
    assert_false(signs(&c, 1));
    assert_false(key_child_answer(&c, &frame));
    key_world_assert_says(&c, "C_FindObjectsInit");
    assert_int_equal(key_child_end(&c, false), 1);
}

static void a_rung_that_helped_only_until_the_next_failure_is_not_tried_twice(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    start(w, &c, "C_SignInit fail 0x82 every 2\n");
    assert_false(signs(&c, 1));
    assert_false(signs(&c, 2));
    assert_int_equal(key_world_calls(w, "C_Login"), 1);
    assert_false(signs(&c, 3));
    assert_int_equal(key_world_calls(w, "C_Login"), 2);
    assert_false(key_child_answer(&c, &frame));
    assert_int_equal(c.readies, 3);
    assert_int_equal(key_child_end(&c, false), 1);
}

static void requests_that_wait_meanwhile_are_answered_afterwards_in_their_order(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    start(w, &c, "C_SignInit fail 0xb3 nth 2\n");
    for (uint32_t i = 0; i < 50; i++)
        key_child_send_sign(&c, i, digest);
    assert_int_equal(channel_flush(&c.channel), 0);
    for (uint32_t i = 0; i < 50; i++) {
        assert_true(key_child_answer(&c, &frame));
        assert_int_equal(frame.request, i);
        assert_int_equal(frame.operation, i == 0 ? OPERATION_ERROR : INTERNAL_SIGN | OPERATION_ANSWER);
    }
    assert_int_equal(key_child_end(&c, true), 0);
}

static void another_key_behind_the_handle_is_the_wrong_key(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    start(w, &c, "C_SignInit fail 0x82 nth 2\nC_FindObjectsInit wrong-key after 2\n");
    assert_false(signs(&c, 1));
    assert_false(key_child_answer(&c, &frame));
    assert_int_equal(c.error.status, STATUS_KEY_WRONG);
    key_world_assert_says(&c, "another key than before");
    assert_int_equal(key_child_end(&c, false), 1);
}

static void a_token_that_is_pulled_is_noticed_without_a_request(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    char tokens[SOFTHSM_PATH_MAX], away[SOFTHSM_PATH_MAX];
    softhsm_path(&w->hsm, "tokens", tokens);
    softhsm_path(&w->hsm, "away", away);
    start(w, &c, "");
    assert_int_equal(rename(tokens, away), 0);
    assert_false(key_child_answer(&c, &frame));
    if (c.error.status != STATUS_KEY_ABSENT && c.error.status != STATUS_KEY_FAILED)
        fail_msg("%s", c.error.message);
    assert_int_equal(key_child_end(&c, false), 1);
    (void)key_world_run(w, STATUS_KEY_FAILED, 1); /* SoftHSM does not start without its folder */
    assert_int_equal(rename(away, tokens), 0);
    (void)key_world_run(w, STATUS_OK, 0);
}

static void a_slot_or_an_object_that_says_otherwise_climbs_the_ladder_by_itself(void **state)
{
    struct key_world *w = *state;
    static const char *const commands[] = {"C_GetTokenInfo fail 0xe0 once\n", "C_GetAttributeValue fail 0x82 once\n"};
    struct key_child c;
    start(w, &c, "");
    for (unsigned int i = 0; i < 2; i++) {
        key_world_control(w, commands[i]);
        while (c.readies < i + 2)
            assert_int_equal(key_child_serve(&c), STATUS_OK);
        assert_true(signs(&c, i));
    }
    assert_int_equal(key_world_calls(w, "C_Login"), 2);
    assert_int_equal(key_child_end(&c, true), 0);
}

static void what_the_token_says_about_its_pin_is_passed_on(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    start(w, &c, "C_GetTokenInfo flags 0x10000\n");
    assert_string_equal(c.warning, "a wrong PIN was entered since the last good one");
    key_world_control(w, "");
    while (c.readies < 2)
        assert_int_equal(key_child_serve(&c), STATUS_OK);
    assert_string_equal(c.warning, "");
    assert_int_equal(key_child_end(&c, true), 0);
}

static void a_wrong_signature_of_a_slow_token_is_never_released(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    start(w, &c, "C_Sign delay 2\nC_Sign flip after 4\n");
    for (uint32_t i = 0; i < 3; i++)
        assert_true(signs(&c, i));
    assert_false(signs(&c, 3));
    assert_false(key_child_answer(&c, &frame));
    assert_int_equal(c.error.status, STATUS_KEY_FAILED);
    key_world_assert_says(&c, "does not verify");
    assert_int_equal(key_child_end(&c, false), 1);
}

static void a_pin_that_is_refused_on_the_way_up_locks_the_key(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    start(w, &c, "C_SignInit fail 0xb3 nth 2\nC_Login fail 0xa0 nth 2\n");
    assert_false(signs(&c, 1));
    assert_false(key_child_answer(&c, &frame));
    assert_int_equal(c.error.status, STATUS_KEY_LOCKED);
    assert_string_equal(w->memory.verdicts, "1213");
    /* Who asks now is told so at once. */
    assert_false(signs(&c, 2));
    assert_int_equal(key_child_end(&c, true), 0);
}

/* The shim under the name of tpm2-pkcs11's module. */
static void use_tpm_module(struct key_world *w)
{
    char path[SOFTHSM_PATH_MAX];
    softhsm_path(&w->hsm, "libtpm2_pkcs11.so", path);
    assert_int_equal(symlink(TEST_SHIM, path), 0);
    (void)snprintf(w->uri, sizeof(w->uri), "pkcs11:token=" KEY_WORLD_TOKEN ";object=work?module-path=%s", path);
}

static void a_store_of_another_tpm_is_tried_twice(void **state)
{
    struct key_world *w = *state;
    use_tpm_module(w);
    (void)key_world_run(w, STATUS_OK, 0);
    key_world_control(w, "C_Login fail 0x5\n");
    (void)key_world_run(w, STATUS_KEY_FAILED, 1); /* the TPM may have been reset just then */
    (void)key_world_run(w, STATUS_KEY_FAILED, 1);
    size_t logins = key_world_calls(w, "C_Login");
    for (int i = 0; i < 3; i++) {
        struct key_child c = key_world_run(w, STATUS_KEY_LOCKED, 0);
        key_world_assert_says(&c, "failed without a reason");
        assert_non_null(strstr(c.error.next, "another machine"));
    }
    assert_int_equal(key_world_calls(w, "C_Login"), logins);
}

static void a_tpm_that_was_out_of_reach_during_the_log_in_is_tried_again(void **state)
{
    struct key_world *w = *state;
    use_tpm_module(w);
    (void)key_world_run(w, STATUS_OK, 0);
    key_world_control(w, "C_Login fail 0x5\nC_GenerateRandom fail 0x5\n");
    for (int i = 0; i < 3; i++)
        (void)key_world_run(w, STATUS_KEY_FAILED, 1);
    key_world_control(w, "");
    (void)key_world_run(w, STATUS_OK, 0);
}

static void a_tpm_that_does_not_answer_names_what_to_look_at(void **state)
{
    struct key_world *w = *state;
    use_tpm_module(w);
    key_world_control(w, "C_Initialize fail 0x5\n");
    struct key_child c = key_world_run(w, STATUS_KEY_ABSENT, 1);
    assert_non_null(strstr(c.error.next, "/dev/tpmrm0"));
    assert_non_null(strstr(c.error.next, "resource manager"));
    key_world_control(w, "C_Login fail 0xa4\n");
    c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    assert_non_null(strstr(c.error.next, "tpm2_dictionarylockout --clear-lockout"));
    assert_string_equal(w->memory.verdicts, "14");
}

#define WITH_KEY(test) cmocka_unit_test_setup_teardown(test, key_world_open, key_world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KEY(an_invalid_handle_is_looked_for_again_without_a_log_in),
        WITH_KEY(a_session_or_log_in_that_is_gone_is_made_again),
        WITH_KEY(the_rest_ends_the_process_with_its_reason),
        WITH_KEY(a_rung_that_fails_is_followed_by_the_next),
        WITH_KEY(a_rung_that_helped_only_until_the_next_failure_is_not_tried_twice),
        WITH_KEY(requests_that_wait_meanwhile_are_answered_afterwards_in_their_order),
        WITH_KEY(another_key_behind_the_handle_is_the_wrong_key),
        WITH_KEY(a_token_that_is_pulled_is_noticed_without_a_request),
        WITH_KEY(a_slot_or_an_object_that_says_otherwise_climbs_the_ladder_by_itself),
        WITH_KEY(what_the_token_says_about_its_pin_is_passed_on),
        WITH_KEY(a_wrong_signature_of_a_slow_token_is_never_released),
        WITH_KEY(a_pin_that_is_refused_on_the_way_up_locks_the_key),
        WITH_KEY(a_store_of_another_tpm_is_tried_twice),
        WITH_KEY(a_tpm_that_was_out_of_reach_during_the_log_in_is_tried_again),
        WITH_KEY(a_tpm_that_does_not_answer_names_what_to_look_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
