/* Which origin a profile or a key may serve: those that are named, compared as origins, and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "policy.h"

static const char text[] = "[key work]\nuri = pkcs11:object=work\norigins = https://own.example\n"
                           "[key spare]\nuri = pkcs11:object=spare\n"
                           "[profile one]\nkey = work\nissuer = https://as.example\nclient-id = c\nclient-secret-file = /s\n"
                           "origins = HTTPS://API.example:443/ https://api.example:8443 https://[2001:DB8::1]\n"
                           "[profile two]\nkey = work\nissuer = https://as.example\nclient-id = c\nclient-secret-file = /s\n"
                           "allow-http-loopback = yes\norigins = https://two.example http://localhost:8080\n";

struct world {
    struct config *config;
    struct policy *policy;
};
static struct world world;

static int make_world(void **state)
{
    struct error err;
    *state = &world;
    return config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &world.config, &err) == STATUS_OK &&
                   policy_new(world.config, &world.policy, &err) == STATUS_OK
               ? 0
               : -1;
}

static int free_world(void **state)
{
    (void)state;
    policy_free(world.policy);
    config_free(world.config);
    return 0;
}

static enum status profile(const char *name, const char *origin)
{
    struct error err;
    return policy_profile(world.policy, config_profile(world.config, span_text(name)), origin, &err);
}

static enum status key(const char *name, const char *origin)
{
    struct error err;
    return policy_key(world.policy, config_key(world.config, span_text(name)), origin, &err);
}

static void test_a_profile_serves_the_origins_that_it_names_however_they_are_written(void **state)
{
    (void)state;
    assert_int_equal(profile("one", "https://api.example"), STATUS_OK);
    assert_int_equal(profile("one", "https://api.example:8443"), STATUS_OK);
    assert_int_equal(profile("one", "https://[2001:db8::1]"), STATUS_OK);
    assert_int_equal(profile("two", "http://localhost:8080"), STATUS_OK);
}

static void test_every_other_origin_is_refused_by_its_whole_text(void **state)
{
    static const char *const others[] = {"https://api.example:8444", "https://api.example.evil", "https://xapi.example",
                                         "https://api.exampl",       "https://own.example",      "https://two.example",
                                         "https://as.example",       "https://example",          ""};
    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(profile("one", others[i]), STATUS_ORIGIN_REFUSED);
}

static void test_plain_http_that_is_not_named_has_its_own_status(void **state)
{
    (void)state;
    assert_int_equal(profile("one", "http://api.example"), STATUS_INSECURE_URL);
    assert_int_equal(profile("two", "http://localhost:8081"), STATUS_ORIGIN_REFUSED);
    assert_int_equal(key("work", "http://own.example"), STATUS_INSECURE_URL);
}

static void test_a_key_serves_its_own_origins_and_those_of_the_profiles_that_use_it(void **state)
{
    (void)state;
    assert_int_equal(key("work", "https://own.example"), STATUS_OK);
    assert_int_equal(key("work", "https://api.example"), STATUS_OK);
    assert_int_equal(key("work", "https://two.example"), STATUS_OK);
    assert_int_equal(key("work", "https://as.example"), STATUS_ORIGIN_REFUSED);
    assert_int_equal(key("spare", "https://own.example"), STATUS_ORIGIN_REFUSED);
    assert_int_equal(key("spare", "https://api.example"), STATUS_ORIGIN_REFUSED);
}

static void test_a_refusal_names_who_and_what_and_the_next_step(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(policy_profile(world.policy, config_profile(world.config, span_text("one")), "https://evil.example", &err),
                     STATUS_ORIGIN_REFUSED);
    assert_non_null(strstr(err.message, "profile \"one\""));
    assert_non_null(strstr(err.message, "https://evil.example"));
    assert_non_null(strstr(err.next, "origins"));
}

static void test_an_origin_that_cannot_be_read_makes_no_policy(void **state)
{
    struct config *config;
    struct policy *policy = NULL;
    struct error err;
    (void)state;
    assert_int_equal(config_parse(span_text("[key k]\nuri = pkcs11:object=k\norigins = https://a.example nonsense\n"), "agent.conf",
                                  ROLE_SUPERVISOR, &config, &err),
                     STATUS_OK);
    assert_int_not_equal(policy_new(config, &policy, &err), STATUS_OK);
    assert_null(policy);
    policy_free(NULL);
    config_free(config);
}

static void test_a_policy_of_nothing_allows_nothing_and_is_no_error(void **state)
{
    struct config *config;
    struct policy *policy;
    struct error err;
    (void)state;
    assert_int_equal(config_parse(span_text(""), "agent.conf", ROLE_SUPERVISOR, &config, &err), STATUS_OK);
    assert_int_equal(policy_new(config, &policy, &err), STATUS_OK);
    policy_free(policy);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_profile_serves_the_origins_that_it_names_however_they_are_written),
        cmocka_unit_test(test_every_other_origin_is_refused_by_its_whole_text),
        cmocka_unit_test(test_plain_http_that_is_not_named_has_its_own_status),
        cmocka_unit_test(test_a_key_serves_its_own_origins_and_those_of_the_profiles_that_use_it),
        cmocka_unit_test(test_a_refusal_names_who_and_what_and_the_next_step),
        cmocka_unit_test(test_an_origin_that_cannot_be_read_makes_no_policy),
        cmocka_unit_test(test_a_policy_of_nothing_allows_nothing_and_is_no_error),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
