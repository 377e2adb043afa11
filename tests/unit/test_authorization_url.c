/* The URL for the browser: the endpoint's own query stays, and nothing comes twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "authorization_url.h"

static void assert_url(const char *endpoint, const char *form, const char *expected)
{
    char out[256];
    assert_int_equal(authorization_url(endpoint, span_text(form), out, sizeof(out)), 0);
    assert_string_equal(out, expected);
}

static void assert_refused(const char *endpoint, const char *form)
{
    char out[256] = "as it was";
    assert_int_equal(authorization_url(endpoint, span_text(form), out, sizeof(out)), -1);
    assert_string_equal(out, "as it was");
}

static void test_parameters_become_the_query(void **state)
{
    (void)state;
    assert_url("https://as.example/auth", "a=b&c=d", "https://as.example/auth?a=b&c=d");
    assert_url("https://as.example", "a=b", "https://as.example?a=b");
}

static void test_the_endpoints_own_query_is_kept(void **state)
{
    (void)state;
    assert_url("https://as.example/auth?tenant=1", "a=b", "https://as.example/auth?tenant=1&a=b");
    assert_url("https://as.example/auth?tenant", "a=b", "https://as.example/auth?tenant&a=b");
    assert_url("https://as.example/auth?", "a=b", "https://as.example/auth?a=b");
    assert_url("https://as.example/auth?x=1&", "a=b", "https://as.example/auth?x=1&a=b");
    assert_url("https://as.example/auth?x=?&y=%26", "a=b", "https://as.example/auth?x=?&y=%26&a=b");
}

static void test_without_parameters_the_endpoint_stays_as_it_is(void **state)
{
    (void)state;
    assert_url("https://as.example/auth", "", "https://as.example/auth");
    assert_url("https://as.example/auth?x=1", NULL, "https://as.example/auth?x=1");
}

static void test_a_fragment_is_refused(void **state)
{
    (void)state;
    assert_refused("https://as.example/auth#", "a=b");
    assert_refused("https://as.example/auth?x=1#y", "a=b");
}

static void test_a_parameter_that_the_endpoint_has_already_is_refused(void **state)
{
    (void)state;
    assert_refused("https://as.example/auth?client_id=other", "state=s&client_id=app");
    assert_refused("https://as.example/auth?x=1&state", "client_id=app&state=s");
    assert_url("https://as.example/auth?client=1&a=state", "client_id=app&state=s",
               "https://as.example/auth?client=1&a=state&client_id=app&state=s");
}

static void test_what_does_not_fit_is_refused_to_the_byte(void **state)
{
    (void)state;
    static const char expected[] = "https://as.example/auth?a=b&c=d";
    for (size_t size = 0; size <= sizeof(expected); size++) {
        char *out = malloc(size + 1); /* of its own, so that a write behind the end is seen */
        bool fits = size >= sizeof(expected);
        assert_int_equal(authorization_url("https://as.example/auth", span_text("a=b&c=d"), out, size), fits ? 0 : -1);
        if (fits)
            assert_string_equal(out, expected);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters_become_the_query),
        cmocka_unit_test(test_the_endpoints_own_query_is_kept),
        cmocka_unit_test(test_without_parameters_the_endpoint_stays_as_it_is),
        cmocka_unit_test(test_a_fragment_is_refused),
        cmocka_unit_test(test_a_parameter_that_the_endpoint_has_already_is_refused),
        cmocka_unit_test(test_what_does_not_fit_is_refused_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
