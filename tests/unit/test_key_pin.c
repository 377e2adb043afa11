/*
 * The key process and its PIN, with a real SoftHSM: how often it logs in, what it has recorded before and after, and
 * what it waits for. The test is the front and the store (key_child.h); a shim counts the calls (tests/fault/shim.c).
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

static void a_wrong_pin_is_sent_once_and_never_again(void **state)
{
    struct key_world *w = *state;
    softhsm_write(&w->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    struct key_child c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    key_world_assert_says(&c, "CKR_PIN_INCORRECT (0xa0)");
    assert_non_null(strstr(c.error.next, w->pin_file));
    assert_int_equal(key_world_calls(w, "C_Login"), 1);
    assert_string_equal(w->memory.verdicts, "13");
    for (int i = 0; i < 3; i++) {
        c = key_world_run(w, STATUS_KEY_LOCKED, 0);
        key_world_assert_says(&c, "was refused before");
    }
    assert_int_equal(key_world_calls(w, "C_Login"), 1);
}

static void a_new_pin_ends_the_wait_and_the_next_process_is_ready(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    softhsm_write(&w->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_KEY_LOCKED);
    softhsm_write(&w->hsm, "pin", KEY_WORLD_PIN, 0600, NULL);
    assert_int_equal(key_child_end(&c, false), 0);
    (void)key_world_run(w, STATUS_OK, 0);
    assert_int_equal(key_world_calls(w, "C_Login"), 2);
}

static void a_pin_that_was_cut_off_is_not_sent_when_the_token_counted_a_wrong_one(void **state)
{
    struct key_world *w = *state;
    softhsm_write(&w->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    (void)key_world_run(w, STATUS_KEY_LOCKED, 0);
    w->memory.pins[0].verdict = PIN_TRYING; /* as if the process had died inside C_Login */
    struct key_child c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    key_world_assert_says(&c, "cut off");
    assert_int_equal(key_world_calls(w, "C_Login"), 1);
}

static void a_pin_that_was_cut_off_is_sent_when_it_was_accepted_before_and_the_token_counted_nothing(void **state)
{
    struct key_world *w = *state;
    (void)key_world_run(w, STATUS_OK, 0);
    key_world_control(w, "C_Login crash once\n");
    (void)key_world_run(w, STATUS_AGENT_UNREACHABLE, 1000 + 11);
    assert_string_equal(w->memory.verdicts, "121");
    (void)key_world_run(w, STATUS_OK, 0);
    assert_string_equal(w->memory.verdicts, "12112");
}

static void a_pin_that_was_cut_off_and_never_accepted_waits_for_the_users_word(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    key_world_control(w, "C_Login crash once\n");
    (void)key_world_run(w, STATUS_AGENT_UNREACHABLE, 1000 + 11);
    for (int i = 0; i < 3; i++) {
        c = key_world_run(w, STATUS_KEY_LOCKED, 0);
        key_world_assert_says(&c, "was cut off");
        assert_non_null(strstr(c.error.next, "dpop unlock work"));
    }
    assert_int_equal(key_world_calls(w, "C_Login"), 0);
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_KEY_LOCKED);
    softhsm_write(&w->hsm, "pin", KEY_WORLD_PIN, 0600, NULL); /* the same one, written again */
    assert_int_equal(key_child_end(&c, false), 0);
    (void)key_world_run(w, STATUS_OK, 0);
    assert_string_equal(w->memory.verdicts, "1412");
}

static void a_token_that_says_locked_has_judged_no_pin(void **state)
{
    struct key_world *w = *state;
    key_world_control(w, "C_Login fail 0xa4\n");
    struct key_child c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    key_world_assert_says(&c, "is locked: too many wrong PINs");
    assert_non_null(strstr(c.error.next, "every 5 minutes"));
    assert_string_equal(w->memory.verdicts, "14");
    key_world_control(w, "");
    (void)key_world_run(w, STATUS_OK, 0);
}

static void a_token_with_a_keypad_is_not_supported_and_says_so(void **state)
{
    struct key_world *w = *state;
    key_world_control(w, "C_GetTokenInfo flags 0x100\n");
    struct key_child c = key_world_run(w, STATUS_KEY_UNFIT, 1);
    key_world_assert_says(&c, "CKF_PROTECTED_AUTHENTICATION_PATH");
    assert_int_equal(key_world_calls(w, "C_Login"), 0);
}

static void the_last_try_and_a_locked_token_are_left_alone(void **state)
{
    struct key_world *w = *state;
    key_world_control(w, "C_GetTokenInfo flags 0x20000\n");
    struct key_child c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    key_world_assert_says(&c, "one try left");
    key_world_control(w, "C_GetTokenInfo flags 0x40000\n");
    c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    key_world_assert_says(&c, "is locked");
    assert_int_equal(key_world_calls(w, "C_Login"), 0);
    assert_string_equal(w->memory.verdicts, "");
}

static void a_token_that_counted_a_wrong_pin_gets_the_right_one(void **state)
{
    struct key_world *w = *state;
    softhsm_log_in(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_WRONG_PIN, CKR_PIN_INCORRECT);
    (void)key_world_run(w, STATUS_OK, 0);
    char *log = softhsm_read(&w->hsm, "log");
    assert_non_null(strstr(log, "a wrong PIN was entered"));
    free(log);
}

static void a_login_that_failed_for_another_reason_does_not_blame_the_pin(void **state)
{
    struct key_world *w = *state;
    (void)key_world_run(w, STATUS_OK, 0);
    key_world_control(w, "C_Login fail 0xe0\n"); /* CKR_TOKEN_NOT_PRESENT: nothing was judged */
    struct key_child c = key_world_run(w, STATUS_KEY_ABSENT, 1);
    key_world_assert_says(&c, "CKR_TOKEN_NOT_PRESENT");
    assert_string_equal(w->memory.verdicts, "1214");
    key_world_control(w, "C_Login fail 0x5\n"); /* CKR_GENERAL_ERROR: who knows; it stays "trying" */
    (void)key_world_run(w, STATUS_KEY_FAILED, 1);
    assert_string_equal(w->memory.verdicts, "12141");
    key_world_control(w, "");
    (void)key_world_run(w, STATUS_OK, 0);
}

static void without_a_durable_record_there_is_no_login(void **state)
{
    struct key_world *w = *state;
    w->memory.broken = true;
    struct key_child c = key_world_run(w, STATUS_STORE_FAILED, 1);
    key_world_assert_says(&c, "key \"work\": the disk is full");
    assert_int_equal(key_world_calls(w, "C_Login"), 0);
}

static void a_process_whose_front_is_gone_does_not_log_in(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_end(&c, true), 0);
    assert_int_equal(key_world_calls(w, "C_Login"), 0);
}

static void a_pin_file_that_others_may_read_is_refused_until_its_mode_changes(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    assert_int_equal(chmod(w->pin_file, 0644), 0);
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_SECRET_UNREADABLE);
    key_world_assert_says(&c, "mode 0644");
    assert_int_equal(chmod(w->pin_file, 0600), 0);
    assert_int_equal(key_child_end(&c, false), 0);
    assert_int_equal(key_world_calls(w, "C_Login"), 0);
}

static void a_missing_pin_file_is_waited_for(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    assert_int_equal(unlink(w->pin_file), 0);
    key_child_start(&c, &w->key, &w->memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_SECRET_UNREADABLE);
    softhsm_write(&w->hsm, "pin", KEY_WORLD_PIN, 0600, NULL);
    assert_int_equal(key_child_end(&c, false), 0);
}

static void a_key_without_a_configured_pin_is_locked(void **state)
{
    struct key_world *w = *state;
    w->key.pin_file = NULL;
    struct key_child c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    key_world_assert_says(&c, "none is configured");
}

static void a_pin_comes_from_the_uri_or_a_credential_too(void **state)
{
    struct key_world *w = *state;
    static char credential[] = "pin";
    w->key.pin_file = NULL;
    (void)snprintf(w->uri, sizeof(w->uri),
                   "pkcs11:token=" KEY_WORLD_TOKEN "?module-path=" TEST_SHIM "&pin-source=file:%s", w->pin_file);
    (void)key_world_run(w, STATUS_OK, 0);
    w->key.pin_credential = credential;
    struct key_child c = key_world_run(w, STATUS_CONFIGURATION, 1);
    key_world_assert_says(&c, "pin-source");
    key_world_set_uri(w, "token=" KEY_WORLD_TOKEN);
    c = key_world_run(w, STATUS_SECRET_UNREADABLE, 0);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", w->hsm.folder, 1), 0);
    (void)key_world_run(w, STATUS_OK, 0);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void no_log_line_and_no_report_holds_the_pin(void **state)
{
    struct key_world *w = *state;
    (void)key_world_run(w, STATUS_OK, 0);
    softhsm_write(&w->hsm, "pin", KEY_WORLD_WRONG_PIN, 0600, NULL);
    struct key_child c = key_world_run(w, STATUS_KEY_LOCKED, 0);
    char *log = softhsm_read(&w->hsm, "log");
    assert_true(log[0] != '\0');
    assert_null(strstr(log, "horse"));
    assert_null(strstr(c.error.message, "horse"));
    assert_null(strstr(c.error.next, "horse"));
    free(log);
}

#define WITH_KEY(test) cmocka_unit_test_setup_teardown(test, key_world_open, key_world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KEY(a_wrong_pin_is_sent_once_and_never_again),
        WITH_KEY(a_new_pin_ends_the_wait_and_the_next_process_is_ready),
        WITH_KEY(a_pin_that_was_cut_off_is_not_sent_when_the_token_counted_a_wrong_one),
        WITH_KEY(a_pin_that_was_cut_off_is_sent_when_it_was_accepted_before_and_the_token_counted_nothing),
        WITH_KEY(a_pin_that_was_cut_off_and_never_accepted_waits_for_the_users_word),
        WITH_KEY(a_token_that_says_locked_has_judged_no_pin),
        WITH_KEY(a_token_with_a_keypad_is_not_supported_and_says_so),
        WITH_KEY(the_last_try_and_a_locked_token_are_left_alone),
        WITH_KEY(a_token_that_counted_a_wrong_pin_gets_the_right_one),
        WITH_KEY(a_login_that_failed_for_another_reason_does_not_blame_the_pin),
        WITH_KEY(without_a_durable_record_there_is_no_login),
        WITH_KEY(a_process_whose_front_is_gone_does_not_log_in),
        WITH_KEY(a_pin_file_that_others_may_read_is_refused_until_its_mode_changes),
        WITH_KEY(a_missing_pin_file_is_waited_for),
        WITH_KEY(a_key_without_a_configured_pin_is_locked),
        WITH_KEY(a_pin_comes_from_the_uri_or_a_credential_too),
        WITH_KEY(no_log_line_and_no_report_holds_the_pin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
