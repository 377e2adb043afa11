/* `dpop init`: the token, the key and the configuration that it makes, and that it changes nothing that exists. */
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

/* Without a module: SoftHSM, so that no test ever touches a TPM of this machine. */
static enum status run_init(struct init_world *w, const char *name, const char *module)
{
    struct init_request request = {.name = span_text(name), .module = span_text(module)};
    if (module == NULL)
        request.kind = span_text("softhsm");
    return init_world_run(w, &request, NULL);
}

static void assert_mode(const struct init_world *w, const char *name, unsigned int mode)
{
    char path[SOFTHSM_PATH_MAX];
    struct stat st;
    softhsm_path(&w->hsm, name, path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void init_makes_a_key_that_a_key_process_accepts(void **state)
{
    struct init_world *w = *state;
    struct pin_memory memory = {.count = 0};
    struct config *config;
    struct key_child c;
    struct error err;
    char jkt[JWK_THUMBPRINT_SIZE];
    assert_int_equal(run_init(w, NULL, NULL), STATUS_OK);
    assert_mode(w, "state", 0700);
    assert_mode(w, "state/tokens", 0700);
    assert_mode(w, "state/softhsm2.conf", 0600);
    assert_mode(w, "state/default.pin", 0600);
    assert_mode(w, "etc", 0700);
    assert_mode(w, "etc/agent.conf", 0600);
    char *pin = softhsm_read(&w->hsm, "state/default.pin");
    assert_int_equal(strlen(pin), 24);
    free(pin);
    if (config_read_file(w->configuration, &config, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(config->key_count, 1);
    assert_int_equal(config->profile_count, 0);
    assert_string_equal(config->keys[0].name, "default");
    assert_string_equal(config->keys[0].uri, w->uri);
    assert_string_equal(config->keys[0].thumbprint, w->jkt);
    assert_string_equal(w->model, "SoftHSM v2");
    assert_non_null(strstr(w->reason, "SoftHSM was asked for"));
    key_child_start(&c, &config->keys[0], &memory, w->log);
    assert_int_equal(key_child_serve(&c), STATUS_OK);
    assert_int_equal(c.attributes,
                     KEY_SENSITIVE | KEY_ALWAYS_SENSITIVE | KEY_NEVER_EXTRACTABLE | KEY_LOCAL | KEY_PRIVATE | KEY_SIGN);
    assert_string_equal(c.token, "dpop-agent-default");
    assert_int_equal(jwk_thumbprint(&c.jwk, jkt), 0);
    assert_string_equal(jkt, w->jkt);
    assert_int_equal(key_child_end(&c, true), 0);
    config_free(config);
}

static void read_attributes(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    static const CK_ATTRIBUTE_TYPE no[] = {CKA_EXTRACTABLE, CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE, CKA_SIGN_RECOVER};
    static const CK_ATTRIBUTE_TYPE yes[] = {CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE, CKA_SIGN};
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof(class)};
    CK_OBJECT_HANDLE keys[2];
    CK_ULONG count;
    CK_BBOOL value;
    uint8_t id[64];
    (void)data;
    assert_int_equal(f->C_FindObjectsInit(session, &template, 1), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, keys, 2, &count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]) + sizeof(yes) / sizeof(yes[0]); i++) {
        bool is_no = i < sizeof(no) / sizeof(no[0]);
        CK_ATTRIBUTE a = {is_no ? no[i] : yes[i - sizeof(no) / sizeof(no[0])], &value, sizeof(value)};
        assert_int_equal(f->C_GetAttributeValue(session, keys[0], &a, 1), CKR_OK);
        assert_int_equal(value, is_no ? CK_FALSE : CK_TRUE);
    }
    CK_ATTRIBUTE a = {CKA_ID, id, sizeof(id)};
    assert_int_equal(f->C_GetAttributeValue(session, keys[0], &a, 1), CKR_OK);
    assert_int_equal(a.ulValueLen, 16);
}

static void the_key_may_sign_and_nothing_else(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(run_init(w, "work", NULL), STATUS_OK);
    char *pin = softhsm_read(&w->hsm, "state/work.pin");
    softhsm_path(&w->hsm, "state/softhsm2.conf", w->hsm.conf);
    softhsm_with_session(&w->hsm, "dpop-agent-work", pin, read_attributes, NULL);
    free(pin);
}

static void a_second_init_changes_nothing(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(run_init(w, NULL, NULL), STATUS_OK);
    char *configuration = softhsm_read(&w->hsm, "etc/agent.conf"), *pin = softhsm_read(&w->hsm, "state/default.pin");
    assert_int_equal(run_init(w, NULL, NULL), STATUS_EXISTS);
    assert_non_null(strstr(w->error.message, w->configuration));
    assert_int_equal(run_init(w, "other", NULL), STATUS_EXISTS);
    assert_false(softhsm_exists(&w->hsm, "state/other.pin"));
    char *configuration_after = softhsm_read(&w->hsm, "etc/agent.conf"),
         *pin_after = softhsm_read(&w->hsm, "state/default.pin");
    assert_string_equal(configuration_after, configuration);
    assert_string_equal(pin_after, pin);
    free(configuration), free(pin), free(configuration_after), free(pin_after);
}

static void a_pin_file_or_a_token_that_is_left_over_is_named_and_kept(void **state)
{
    struct init_world *w = *state;
    char path[SOFTHSM_PATH_MAX];
    assert_int_equal(run_init(w, NULL, NULL), STATUS_OK);
    assert_int_equal(unlink(w->configuration), 0);
    assert_int_equal(run_init(w, NULL, NULL), STATUS_EXISTS);
    assert_non_null(strstr(w->error.message, "state/default.pin"));
    softhsm_path(&w->hsm, "state/default.pin", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run_init(w, NULL, NULL), STATUS_EXISTS);
    assert_non_null(strstr(w->error.message, "dpop-agent-default"));
    assert_false(softhsm_exists(&w->hsm, "state/default.pin"));
    assert_false(softhsm_exists(&w->hsm, "etc/agent.conf"));
    assert_int_equal(run_init(w, "second", NULL), STATUS_OK); /* beside it there is room */
    softhsm_path(&w->hsm, "state/softhsm2.conf", w->hsm.conf);
    softhsm_log_in(&w->hsm, "dpop-agent-default", "not the PIN", CKR_PIN_INCORRECT); /* it is still there */
}

static void another_softhsm_configuration_is_kept(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(mkdir(w->state, 0700), 0);
    softhsm_write(&w->hsm, "state/softhsm2.conf", "directories.tokendir = /elsewhere\n", 0600, NULL);
    assert_int_equal(run_init(w, NULL, NULL), STATUS_EXISTS);
    assert_non_null(strstr(w->error.message, "softhsm2.conf"));
    assert_false(softhsm_exists(&w->hsm, "state/tokens"));
}

static void an_init_that_fails_takes_back_what_it_made(void **state)
{
    struct init_world *w = *state;
    softhsm_write(&w->hsm, "etc", "a file in the configuration's way", 0600, NULL);
    assert_int_equal(run_init(w, NULL, NULL), STATUS_EXISTS);
    assert_non_null(strstr(w->error.message, "is not a folder"));
    assert_false(softhsm_exists(&w->hsm, "state"));
    assert_int_equal(mkdir(w->state, 0700), 0);
    assert_int_equal(run_init(w, NULL, NULL), STATUS_EXISTS);
    assert_true(softhsm_exists(&w->hsm, "state"));
    assert_int_equal(rmdir(w->state), 0); /* empty */
}

static void a_blank_token_of_another_module_is_initialised(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(setenv("SOFTHSM2_CONF", w->hsm.conf, 1), 0);
    assert_int_equal(run_init(w, "work", TEST_SHIM), STATUS_OK);
    assert_false(softhsm_exists(&w->hsm, "state/softhsm2.conf"));
    assert_non_null(strstr(w->uri, TEST_SHIM));
    char *pin = softhsm_read(&w->hsm, "state/work.pin");
    softhsm_log_in(&w->hsm, "dpop-agent-work", pin, CKR_OK);
    free(pin);
}

static void a_failure_inside_another_module_says_what_is_left(void **state)
{
    struct init_world *w = *state;
    char path[SOFTHSM_PATH_MAX];
    softhsm_write(&w->hsm, "control", "C_GenerateKeyPair fail 0x30\n", 0600, path);
    assert_int_equal(setenv("SOFTHSM2_CONF", w->hsm.conf, 1), 0);
    assert_int_equal(setenv("SHIM_CONTROL", path, 1), 0);
    assert_int_equal(run_init(w, "work", TEST_SHIM), STATUS_KEY_FAILED);
    assert_int_equal(unsetenv("SHIM_CONTROL"), 0);
    assert_non_null(strstr(w->error.message, "C_GenerateKeyPair"));
    assert_non_null(strstr(w->error.next, "dpop-agent-work"));
    assert_false(softhsm_exists(&w->hsm, "state"));
    assert_false(softhsm_exists(&w->hsm, "etc"));
}

static void a_bad_name_or_module_is_refused_before_anything_is_made(void **state)
{
    static const char *const names[] = {"", "a b", "../x", ".hidden", "a/b", "twenty-two-characters-"};
    struct init_world *w = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(run_init(w, names[i], NULL), STATUS_INVALID_ARGUMENT);
    assert_int_equal(run_init(w, "work", "relative.so"), STATUS_CONFIGURATION);
    assert_int_equal(run_init(w, "work", "/nowhere/module.so"), STATUS_KEY_ABSENT);
    assert_false(softhsm_exists(&w->hsm, "state"));
    assert_false(softhsm_exists(&w->hsm, "etc"));
}

static void the_environment_reaches_the_module_and_the_configuration(void **state)
{
    struct init_world *w = *state;
    char variable[SOFTHSM_PATH_MAX + 32];
    struct span items[] = {{0}, span_text("OTHER=a; b # c")};
    struct init_request request = {
        .name = span_text("work"), .module = span_text(TEST_SHIM), .environment = {.items = items, .count = 2}};
    (void)snprintf(variable, sizeof(variable), "SOFTHSM2_CONF=%s", w->hsm.conf);
    items[0] = span_text(variable);
    assert_int_equal(unsetenv("SOFTHSM2_CONF"), 0);
    assert_int_equal(init_world_run(w, &request, NULL), STATUS_OK);
    char *configuration = softhsm_read(&w->hsm, "etc/agent.conf");
    assert_non_null(strstr(configuration, variable));
    assert_non_null(strstr(configuration, "\nenvironment = OTHER=a; b # c\n"));
    free(configuration);
}

static void an_environment_that_cannot_be_written_is_refused_and_all_taken_back(void **state)
{
    static const char *const wrong[] = {"NAME", "=value", "NAME=ends with a blank "};
    struct init_world *w = *state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct span items[] = {span_text(wrong[i])};
        struct init_request request = {.kind = span_text("softhsm"), .environment = {.items = items, .count = 1}};
        assert_int_not_equal(init_world_run(w, &request, NULL), STATUS_OK);
        assert_false(softhsm_exists(&w->hsm, "state"));
        assert_false(softhsm_exists(&w->hsm, "etc"));
    }
}

static void the_pin_stands_in_its_file_alone(void **state)
{
    struct init_world *w = *state;
    assert_int_equal(run_init(w, NULL, NULL), STATUS_OK);
    char *pin = softhsm_read(&w->hsm, "state/default.pin"), *configuration = softhsm_read(&w->hsm, "etc/agent.conf");
    char *log = softhsm_read(&w->hsm, "log");
    assert_null(strstr(configuration, pin));
    assert_null(strstr(log, pin));
    free(pin), free(configuration), free(log);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, init_world_set_up, init_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(init_makes_a_key_that_a_key_process_accepts),
        TEST(the_key_may_sign_and_nothing_else),
        TEST(a_second_init_changes_nothing),
        TEST(a_pin_file_or_a_token_that_is_left_over_is_named_and_kept),
        TEST(another_softhsm_configuration_is_kept),
        TEST(an_init_that_fails_takes_back_what_it_made),
        TEST(a_blank_token_of_another_module_is_initialised),
        TEST(a_failure_inside_another_module_says_what_is_left),
        TEST(a_bad_name_or_module_is_refused_before_anything_is_made),
        TEST(the_environment_reaches_the_module_and_the_configuration),
        TEST(an_environment_that_cannot_be_written_is_refused_and_all_taken_back),
        TEST(the_pin_stands_in_its_file_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
