/* Which token init takes: what is asked for, else the best; modules that hang or crash cost seconds, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#define P11_KIT_FUTURE_UNSTABLE_API /* the way to a configuration of a test's own: as root p11-kit reads none of the   \
                                       user's */
#include <p11-kit/p11-kit.h>

#include "init_choice.h"
#include "init_plan.h"
#include "init_probe.h"
#include "init_world.h"

#define STALL_SECONDS (2 * INIT_PROBE_MS / 1000 + 10) /* the list of modules, and the modules; and a loaded machine */

static char device[SOFTHSM_PATH_MAX], no_device[SOFTHSM_PATH_MAX];
static const char *const modules[] = {"/nowhere/libtpm2_pkcs11.so", TEST_SHIM, NULL}, *const none[] = {"/nowhere/m.so",
                                                                                                       NULL};
static const char *const softhsm[] = {"/nowhere/libsofthsm2.so", SOFTHSM_MODULE, NULL};

/* p11-kit's configuration is a folder of the test's, for the processes that init forks, too. */
static int set_up(void **state)
{
    static char nothing[SOFTHSM_PATH_MAX], registered[SOFTHSM_PATH_MAX];
    (void)init_world_set_up(state);
    struct init_world *w = *state;
    softhsm_path(&w->hsm, "nothing", nothing);
    softhsm_path(&w->hsm, "modules", registered);
    assert_int_equal(mkdir(registered, 0700), 0);
    p11_kit_override_system_files(nothing, nothing, registered, nothing, nothing);
    softhsm_write(&w->hsm, "tpm", "", 0600, device);
    softhsm_path(&w->hsm, "no-tpm", no_device);
    assert_int_equal(unsetenv("SHIM_CONTROL"), 0);
    softhsm_make_token(&w->hsm, "mine", "1234");
    return 0;
}

static void register_module(const struct init_world *w, const char *name, const char *path)
{
    char file[SOFTHSM_PATH_MAX], text[SOFTHSM_PATH_MAX + 16];
    (void)snprintf(file, sizeof(file), "modules/%s.module", name);
    (void)snprintf(text, sizeof(text), "module: %s\n", path);
    softhsm_write(&w->hsm, file, text, 0600, NULL);
}

/* The shim again as another file, which p11-kit takes for another module. */
static void register_copy(const struct init_world *w, const char *name)
{
    char command[3 * SOFTHSM_PATH_MAX], path[SOFTHSM_PATH_MAX];
    softhsm_path(&w->hsm, name, path);
    (void)snprintf(command, sizeof(command), "cp '%s' '%s'", TEST_SHIM, path);
    assert_int_equal(system(command), 0);
    register_module(w, name, path);
}

static void control(const struct init_world *w, const char *commands)
{
    char path[SOFTHSM_PATH_MAX];
    softhsm_write(&w->hsm, "control", commands, 0600, path);
    assert_int_equal(setenv("SHIM_CONTROL", path, 1), 0);
}

static enum status choose(struct init_world *w, const struct init_request *request, const char *tpm_device,
                          const char *const *tpm_modules, struct init_choice *out)
{
    struct init_machine machine = {tpm_device, tpm_modules, softhsm};
    return init_choice_make(request, &machine, out, &w->error);
}

static const struct init_request anything = {.pin = false};

static void the_tpm_is_best(void **state)
{
    struct init_world *w = *state;
    struct init_choice c;
    register_copy(w, "vendor");
    assert_int_equal(choose(w, &anything, device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_TPM);
    assert_string_equal(c.module, TEST_SHIM);
    assert_non_null(strstr(c.reason, "a TPM can be used"));
    init_choice_free(&c);
}

static void softhsm_is_taken_when_there_is_nothing_better_and_the_reason_says_so(void **state)
{
    struct init_world *w = *state;
    struct init_choice c;
    assert_int_equal(choose(w, &anything, no_device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_SOFTHSM);
    assert_string_equal(c.module, SOFTHSM_MODULE);
    assert_non_null(strstr(c.reason, "no TPM: "));
    assert_non_null(strstr(c.reason, "does not exist; no PKCS#11 token in p11-kit's configuration"));
    assert_non_null(strstr(c.reason, "; so a SoftHSM token, which is as safe as its folder and PIN file"));
    init_choice_free(&c);
    assert_int_equal(choose(w, &anything, device, none, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_SOFTHSM);
    assert_non_null(strstr(c.reason, "its module is missing"));
    init_choice_free(&c);
}

static void a_token_that_p11_kit_knows_is_better_than_softhsm(void **state)
{
    struct init_world *w = *state;
    struct init_choice c;
    register_copy(w, "vendor");
    assert_int_equal(choose(w, &anything, no_device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_TOKEN);
    assert_non_null(strstr(c.token, "token=mine"));
    assert_non_null(strstr(c.token, "/vendor"));
    assert_non_null(strstr(c.reason, "no TPM"));
    init_choice_free(&c);
}

static void several_tokens_are_listed_for_a_person_to_choose(void **state)
{
    struct init_world *w = *state;
    struct init_choice c;
    register_copy(w, "vendor");
    softhsm_make_token(&w->hsm, "yours", "1234");
    assert_int_equal(choose(w, &anything, no_device, modules, &c), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(w->error.message, "token=mine"));
    assert_non_null(strstr(w->error.message, "token=yours"));
    assert_non_null(strstr(w->error.next, "--token"));
    assert_non_null(strstr(w->error.next, "--softhsm"));
}

static void tokens_that_cannot_make_a_key_are_passed_over(void **state)
{
    static const char *const wrong[] = {"C_GetTokenInfo flags 0x2\n", "C_GetTokenInfo clear 0x400\n",
                                        "C_GetMechanismInfo fail 0x70\n"};
    struct init_world *w = *state;
    struct init_choice c;
    register_copy(w, "vendor");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        control(w, wrong[i]);
        assert_int_equal(choose(w, &anything, no_device, modules, &c), STATUS_OK);
        assert_int_equal(c.kind, INIT_SOFTHSM);
        init_choice_free(&c);
    }
}

static void a_module_that_hangs_or_crashes_is_named_and_the_others_are_heard(void **state)
{
    static const char *const wrong[] = {"C_Initialize hang\n", "C_GetSlotList crash\n", "C_GetTokenInfo hang\n",
                                        "C_Initialize fail 0x5\n"};
    struct init_world *w = *state;
    struct init_choice c;
    register_copy(w, "vendor");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct timespec begin, end;
        control(w, wrong[i]);
        (void)clock_gettime(CLOCK_MONOTONIC, &begin);
        assert_int_equal(choose(w, &anything, no_device, modules, &c), STATUS_OK);
        (void)clock_gettime(CLOCK_MONOTONIC, &end);
        assert_in_range(end.tv_sec - begin.tv_sec, 0, STALL_SECONDS);
        assert_int_equal(c.kind, INIT_SOFTHSM);
        assert_non_null(strstr(c.reason, "(no answer from "));
        assert_non_null(strstr(c.reason, "vendor"));
        init_choice_free(&c);
    }
}

static void a_uri_without_a_module_is_looked_for_in_p11_kits_configuration(void **state)
{
    struct init_world *w = *state;
    struct init_choice c;
    struct init_request request = {.token = span_text("pkcs11:token=mine;object=k")};
    register_copy(w, "vendor");
    assert_int_equal(choose(w, &request, device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_TOKEN);
    assert_int_equal(strncmp(c.token, "pkcs11:token=mine;object=k?module-path=/", 40), 0);
    assert_non_null(strstr(c.token, "/vendor"));
    init_choice_free(&c);
    request.token = span_text("pkcs11:token=none");
    assert_int_equal(choose(w, &request, device, modules, &c), STATUS_KEY_ABSENT);
    request.token = span_text("pkcs11:manufacturer=SoftHSM%20project");
    softhsm_make_token(&w->hsm, "yours", "1234");
    assert_int_equal(choose(w, &request, device, modules, &c), STATUS_INVALID_ARGUMENT);
    request.token = span_text("no uri");
    assert_int_equal(choose(w, &request, device, modules, &c), STATUS_INVALID_ARGUMENT);
}

static void what_is_asked_for_is_taken_or_refused_with_its_reason(void **state)
{
    struct init_world *w = *state;
    struct init_choice c;
    struct init_request tpm = {.kind = span_text("tpm")}, hsm = {.kind = span_text("softhsm")},
                        other = {.kind = span_text("hsm")};
    struct init_request module = {.module = span_text("/m.so")},
                        both = {.kind = span_text("tpm"), .module = span_text("/m.so")};
    assert_int_equal(choose(w, &tpm, device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_TPM);
    init_choice_free(&c);
    assert_int_equal(choose(w, &tpm, no_device, modules, &c), STATUS_KEY_ABSENT);
    assert_non_null(strstr(w->error.message, no_device));
    assert_int_equal(choose(w, &tpm, device, none, &c), STATUS_KEY_ABSENT);
    assert_non_null(strstr(w->error.next, "install"));
    assert_int_equal(choose(w, &hsm, device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_SOFTHSM);
    init_choice_free(&c);
    assert_int_equal(choose(w, &module, device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_MODULE);
    init_choice_free(&c);
    assert_int_equal(choose(w, &other, device, modules, &c), STATUS_INVALID_ARGUMENT);
    assert_int_equal(choose(w, &both, device, modules, &c), STATUS_INVALID_ARGUMENT);
    hsm.pin = true;
    assert_int_equal(choose(w, &hsm, device, modules, &c), STATUS_INVALID_ARGUMENT);
}

static void another_way_to_the_tpm_needs_no_device(void **state)
{
    struct init_world *w = *state;
    struct init_choice c;
    struct span items[] = {span_text("TPM2_PKCS11_TCTI=tabrmd:bus_type=session")};
    struct init_request request = {.kind = span_text("tpm"), .environment = {.items = items, .count = 1}};
    assert_int_equal(choose(w, &request, no_device, modules, &c), STATUS_OK);
    assert_int_equal(c.kind, INIT_TPM);
    init_choice_free(&c);
}

/* The plan for a TPM: its store in the state folder, and all that the module needs in the environment. */
static void a_tpm_gets_a_store_of_its_own(void **state)
{
    struct init_world *w = *state;
    struct init_machine machine = {"/dev/x", modules, softhsm};
    struct init_request request = {.name = span_text("work")};
    struct init_choice c = {.kind = INIT_TPM};
    struct init_plan p = {.configuration = NULL};
    struct span items[] = {span_text("TPM2_PKCS11_TCTI=a"), span_text("TPM2_PKCS11_STORE=/elsewhere")};
    char store[SOFTHSM_PATH_MAX + 32];
    c.module = strdup("/m.so");
    (void)snprintf(store, sizeof(store), "TPM2_PKCS11_STORE=%s/tpm2", w->state);
    assert_int_equal(init_plan_name(&request, w->state, w->configuration, &p, &w->error), STATUS_OK);
    assert_int_equal(init_plan_complete(&request, &c, &machine, &p, &w->error), STATUS_OK);
    assert_int_equal(p.environment.count, 2);
    assert_string_equal(p.environment.items[0], "TPM2_PKCS11_TCTI=device:/dev/x");
    assert_string_equal(p.environment.items[1], store);
    init_plan_free(&p);
    request.environment = (struct list){.items = items, .count = 2};
    assert_int_equal(init_plan_name(&request, w->state, w->configuration, &p, &w->error), STATUS_OK);
    assert_int_equal(init_plan_complete(&request, &c, &machine, &p, &w->error), STATUS_OK);
    assert_int_equal(p.environment.count, 2);
    assert_string_equal(p.store, "/elsewhere");
    init_plan_free(&p);
    init_choice_free(&c);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, init_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_tpm_is_best),
        TEST(softhsm_is_taken_when_there_is_nothing_better_and_the_reason_says_so),
        TEST(a_token_that_p11_kit_knows_is_better_than_softhsm),
        TEST(several_tokens_are_listed_for_a_person_to_choose),
        TEST(tokens_that_cannot_make_a_key_are_passed_over),
        TEST(a_module_that_hangs_or_crashes_is_named_and_the_others_are_heard),
        TEST(a_uri_without_a_module_is_looked_for_in_p11_kits_configuration),
        TEST(what_is_asked_for_is_taken_or_refused_with_its_reason),
        TEST(another_way_to_the_tpm_needs_no_device),
        TEST(a_tpm_gets_a_store_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
