/* `dpop init` with a token that is initialised already: its PIN, a new key in it or one that is there, nothing left
 * behind. */
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

#include "init_world.h"

#define PIN "1234-of-mine"
#define TOKEN "pkcs11:token=mine?module-path=" TEST_SHIM

static int set_up(void **state)
{
    (void)init_world_set_up(state);
    struct init_world *w = *state;
    softhsm_make_token(&w->hsm, "mine", PIN);
    return 0;
}

/* A control file for the shim in the child. */
static void control(const struct init_world *w, const char *commands)
{
    char path[SOFTHSM_PATH_MAX];
    softhsm_write(&w->hsm, "control", commands, 0600, path);
    assert_int_equal(setenv("SHIM_CONTROL", path, 1), 0);
}

static size_t count_log_ins(const struct init_world *w)
{
    size_t count = 0;
    char *calls = softhsm_read(&w->hsm, "calls");
    for (const char *at = calls; (at = strstr(at, "C_Login")) != NULL; at++)
        count++;
    free(calls);
    return count;
}

static enum status run(struct init_world *w, const char *token, const char *pin, bool keep_pin)
{
    char calls[SOFTHSM_PATH_MAX];
    struct init_request request = {
        .name = span_text("work"), .token = span_text(token), .pin = pin != NULL, .keep_pin = keep_pin};
    softhsm_path(&w->hsm, "calls", calls);
    assert_int_equal(setenv("SHIM_LOG", calls, 1), 0);
    assert_int_equal(setenv("SHIM_LOG_CALLS", "C_Login", 1), 0);
    enum status status = init_world_run(w, &request, pin);
    assert_int_equal(unsetenv("SHIM_LOG"), 0);
    assert_int_equal(unsetenv("SHIM_CONTROL"), 0);
    return status;
}

static void count_keys(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    CK_OBJECT_HANDLE keys[8];
    CK_ULONG *count = data;
    assert_int_equal(f->C_FindObjectsInit(session, NULL, 0), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, keys, 8, count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
}

static CK_ULONG objects(const struct init_world *w)
{
    CK_ULONG count = 0;
    softhsm_with_session(&w->hsm, "mine", PIN, count_keys, &count);
    return count;
}

static struct config *read_config(const struct init_world *w)
{
    struct config *config = NULL;
    struct error err;
    if (config_read_file(w->configuration, &config, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(config->key_count, 1);
    assert_string_equal(config->keys[0].uri, w->uri);
    assert_string_equal(config->keys[0].thumbprint, w->jkt);
    return config;
}

static void a_token_that_needs_a_pin_is_named_and_nothing_is_tried(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(run(w, TOKEN, NULL, false), STATUS_KEY_LOCKED);
    assert_non_null(strstr(w->error.message, "\"mine\""));
    assert_non_null(strstr(w->error.next, "pkcs11:token=mine"));
    assert_non_null(strstr(w->error.next, "--softhsm"));
    assert_string_equal(w->error.stage, "PIN");
    assert_int_equal(count_log_ins(w), 0);
    assert_false(softhsm_exists(&w->hsm, "state"));
    assert_false(softhsm_exists(&w->hsm, "etc"));
}

static void with_its_pin_a_key_is_made_in_it_and_the_pin_is_not_kept(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(run(w, TOKEN, PIN "\n", false), STATUS_OK);
    assert_int_equal(count_log_ins(w), 1);
    assert_string_equal(w->pin_file, "");
    assert_string_equal(w->model, "SoftHSM v2");
    assert_false(softhsm_exists(&w->hsm, "state/work.pin"));
    assert_non_null(strstr(w->uri, "object=work"));
    assert_non_null(strstr(w->uri, "id="));
    struct config *config = read_config(w);
    assert_null(config->keys[0].pin_file);
    config_free(config);
    char *text = softhsm_read(&w->hsm, "etc/agent.conf"), *log = softhsm_read(&w->hsm, "log");
    assert_non_null(strstr(text, "dpop unlock work"));
    assert_null(strstr(text, PIN));
    assert_null(strstr(log, PIN));
    free(text), free(log);
    assert_int_equal(objects(w), 2);
}

static void a_pin_that_is_to_be_kept_is_in_a_file_of_mode_0600(void **state)
{
    struct init_world *w = *state;
    struct stat st;
    assert_int_equal(run(w, TOKEN, PIN, true), STATUS_OK);
    struct config *config = read_config(w);
    assert_string_equal(config->keys[0].pin_file, w->pin_file);
    config_free(config);
    char *pin = softhsm_read(&w->hsm, "state/work.pin");
    assert_string_equal(pin, PIN);
    free(pin);
    assert_int_equal(stat(w->pin_file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_key_that_is_there_is_taken(void **state)
{
    struct init_world *w = *state;
    static const char uri[] = "pkcs11:token=mine;object=old?module-path=" TEST_SHIM;
    softhsm_make_key(&w->hsm, "mine", PIN, &(struct softhsm_key){.label = "old", .id = "7"});
    assert_int_equal(run(w, uri, PIN, false), STATUS_OK);
    assert_string_equal(w->uri, uri);
    config_free(read_config(w));
    assert_int_equal(objects(w), 2);
}

static void a_key_that_may_not_be_used_is_refused(void **state)
{
    static const struct softhsm_key wrong[] = {{.label = "p384", .id = "1", .p384 = true},
                                               {.label = "out", .id = "2", .extractable = true},
                                               {.label = "in", .id = "3", .imported = true}};
    struct init_world *w = *state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char uri[600];
        softhsm_make_key(&w->hsm, "mine", PIN, &wrong[i]);
        (void)snprintf(uri, sizeof(uri), "pkcs11:token=mine;object=%s?module-path=%s", wrong[i].label, TEST_SHIM);
        assert_int_equal(run(w, uri, PIN, true), STATUS_KEY_UNFIT);
        assert_false(softhsm_exists(&w->hsm, "state"));
    }
    assert_int_equal(run(w, "pkcs11:token=mine;object=none?module-path=" TEST_SHIM, PIN, true), STATUS_KEY_ABSENT);
    assert_int_equal(run(w, "pkcs11:token=none?module-path=" TEST_SHIM, PIN, true), STATUS_KEY_ABSENT);
}

static void a_label_that_is_taken_is_not_made_twice(void **state)
{
    struct init_world *w = *state;
    softhsm_make_key(&w->hsm, "mine", PIN, &(struct softhsm_key){.label = "work", .id = "7"});
    assert_int_equal(run(w, TOKEN, PIN, false), STATUS_EXISTS);
    assert_int_equal(objects(w), 2);
    assert_false(softhsm_exists(&w->hsm, "state"));
}

static void a_wrong_pin_is_sent_once(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(run(w, TOKEN, "wrong", true), STATUS_KEY_LOCKED);
    assert_non_null(strstr(w->error.message, "refused the PIN"));
    assert_string_equal(w->error.stage, "");
    assert_int_equal(count_log_ins(w), 1);
    assert_false(softhsm_exists(&w->hsm, "state"));
    softhsm_log_in(&w->hsm, "mine", PIN, CKR_OK);
}

static void a_locked_token_and_a_last_try_are_left_alone(void **state)
{
    struct init_world *w = *state;
    static const struct {
        const char *commands, *says;
        enum status status;
    } flags[] = {{"C_GetTokenInfo flags 0x40000\n", "is locked", STATUS_KEY_LOCKED},
                 {"C_GetTokenInfo flags 0x20000\n", "one try left", STATUS_KEY_LOCKED},
                 {"C_GetTokenInfo clear 0x8\n", "no user PIN", STATUS_KEY_UNFIT},
                 {"C_GetTokenInfo flags 0x2\n", "write-protected", STATUS_KEY_UNFIT}};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        control(w, flags[i].commands);
        assert_int_equal(run(w, TOKEN, PIN, true), flags[i].status);
        assert_non_null(strstr(w->error.message, flags[i].says));
        assert_string_equal(w->error.stage, "");
    }
    assert_int_equal(count_log_ins(w), 0);
}

static void an_empty_pin_and_one_that_is_too_long_are_not_sent(void **state)
{
    struct init_world *w = *state;
    char longer[LIMIT_PIN + 2];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(run(w, TOKEN, "", true), STATUS_INVALID_ARGUMENT);
    assert_int_equal(run(w, TOKEN, "\n", true), STATUS_INVALID_ARGUMENT);
    assert_int_equal(run(w, TOKEN, longer, true), STATUS_INVALID_ARGUMENT);
    assert_int_equal(count_log_ins(w), 0);
    struct init_request request = {.token = span_text(TOKEN), .pin = true};
    assert_int_equal(init_world_run(w, &request, NULL), STATUS_INVALID_ARGUMENT); /* no descriptor came */
}

static void what_was_made_is_destroyed_again_when_the_configuration_cannot_be_written(void **state)
{
    struct init_world *w = *state;
    char path[SOFTHSM_PATH_MAX];
    softhsm_path(&w->hsm, "etc", path);
    softhsm_write(&w->hsm, "etc", "a file in the configuration's way", 0600, NULL);
    assert_int_equal(run(w, TOKEN, PIN, true), STATUS_EXISTS);
    assert_int_equal(objects(w), 0);
    assert_false(softhsm_exists(&w->hsm, "state"));
}

static void a_pin_source_in_the_uri_gives_the_pin(void **state)
{
    struct init_world *w = *state;
    char path[SOFTHSM_PATH_MAX], uri[1024];
    softhsm_write(&w->hsm, "pin", PIN "\n", 0600, path);
    (void)snprintf(uri, sizeof(uri), "pkcs11:token=mine?module-path=%s&pin-source=file:%s", TEST_SHIM, path);
    assert_int_equal(run(w, uri, NULL, true), STATUS_OK);
    assert_string_equal(w->pin_file, "");
    assert_non_null(strstr(w->uri, "pin-source"));
    struct config *config = read_config(w);
    assert_null(config->keys[0].pin_file);
    config_free(config);
}

static void the_request_may_name_the_module_and_the_uri_not(void **state)
{
    struct init_world *w = *state;
    struct init_request request = {.name = span_text("work"),
                                   .token = span_text("pkcs11:token=mine"),
                                   .module = span_text(TEST_SHIM),
                                   .pin = true};
    assert_int_equal(init_world_run(w, &request, PIN), STATUS_OK);
    assert_non_null(strstr(w->uri, "module-path=" TEST_SHIM));
    config_free(read_config(w));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, init_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_that_needs_a_pin_is_named_and_nothing_is_tried),
        TEST(with_its_pin_a_key_is_made_in_it_and_the_pin_is_not_kept),
        TEST(a_pin_that_is_to_be_kept_is_in_a_file_of_mode_0600),
        TEST(a_key_that_is_there_is_taken),
        TEST(a_key_that_may_not_be_used_is_refused),
        TEST(a_label_that_is_taken_is_not_made_twice),
        TEST(a_wrong_pin_is_sent_once),
        TEST(a_locked_token_and_a_last_try_are_left_alone),
        TEST(an_empty_pin_and_one_that_is_too_long_are_not_sent),
        TEST(what_was_made_is_destroyed_again_when_the_configuration_cannot_be_written),
        TEST(a_pin_source_in_the_uri_gives_the_pin),
        TEST(the_request_may_name_the_module_and_the_uri_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
