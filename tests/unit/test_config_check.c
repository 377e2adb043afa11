/* What a configuration must mean: URIs, URLs and origins that nobody could use are told with file, line and option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "config_check.h"

static enum status check(const char *text, struct error *err)
{
    struct config *c = NULL;
    enum status status = config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &c, err);
    if (status != STATUS_OK)
        fail_msg("%s", err->message);
    status = config_check(c, err);
    config_free(c);
    return status;
}

static void assert_refused(const char *text, const char *where, const char *why)
{
    struct error err;
    assert_int_equal(check(text, &err), STATUS_CONFIGURATION);
    if (strncmp(err.message, where, strlen(where)) != 0 || strstr(err.message, why) == NULL)
        fail_msg("\"%s\" is not about %s and \"%s\"", err.message, where, why);
}

#define KEY "[key k]\nuri = pkcs11:object=k?module-path=/m.so\n"
#define PROFILE(issuer, origins, more)                                                                              \
    KEY "[profile p]\nkey = k\nissuer = " issuer "\nclient-id = c\nclient-secret-file = /s\norigins = " origins "\n" more

static void test_a_good_configuration_passes(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(check("", &err), STATUS_OK);
    assert_int_equal(check(PROFILE("https://as.example/tenant/", "https://api.example https://b.example:8443/ https://[::1]:1",
                                   "token-endpoint = https://as.example/token?tenant=1\nresource = https://api.example/x\n"
                                   "resource = urn:example:y\n"),
                           &err),
                     STATUS_OK);
}

static void test_a_key_uri_that_no_module_could_be_asked_for_is_refused(void **state)
{
    static const char *const uris[] = {"pkcs11:object=k",
                                       "http://x",
                                       "pkcs11:object=a;object=b?module-path=/m.so",
                                       "pkcs11:colour=red?module-path=/m.so",
                                       "pkcs11:object=%zz?module-path=/m.so",
                                       "pkcs11:object=k?module-path=/m.so&pin-value=1234"};
    (void)state;
    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "[agent]\n[key k]\nuri = %s\n", uris[i]);
        assert_refused(text, "agent.conf:3: uri: ", "");
    }
}

static void test_an_issuer_or_endpoint_that_is_no_https_url_is_refused(void **state)
{
    (void)state;
    assert_refused(PROFILE("as.example", "https://a.example", ""), "agent.conf:5: issuer: ", "");
    assert_refused(PROFILE("ftp://as.example", "https://a.example", ""), "agent.conf:5: issuer: ", "");
    assert_refused(PROFILE("http://as.example", "https://a.example", ""), "agent.conf:5: issuer: ", "plain http");
    assert_refused(PROFILE("http://127.0.0.1:1", "https://a.example", ""), "agent.conf:5: issuer: ", "plain http");
    assert_refused(PROFILE("https://as.example?x=1", "https://a.example", ""), "agent.conf:5: issuer: ", "no query");
    assert_refused(PROFILE("https://as.example/#", "https://a.example", ""), "agent.conf:5: issuer: ", "no fragment");
    assert_refused(PROFILE("https://me@as.example", "https://a.example", ""), "agent.conf:5: issuer: ", "no user name");
    assert_refused(PROFILE("https://as.example", "https://a.example", "token-endpoint = https://as.example:0/\n"),
                   "agent.conf:9: token-endpoint: ", "");
    assert_refused(PROFILE("https://as.example", "https://a.example", "token-endpoint = http://as.example/\n"),
                   "agent.conf:9: token-endpoint: ", "plain http");
}

static void test_http_is_allowed_to_loopback_with_the_profiles_permission_and_nowhere_else(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(check(PROFILE("http://127.0.0.1:9", "http://localhost:1 http://[::1]", "allow-http-loopback = yes\n"), &err),
                     STATUS_OK);
    assert_refused(PROFILE("http://as.example", "https://a.example", "allow-http-loopback = yes\n"), "agent.conf:5: issuer: ",
                   "plain http");
    assert_refused(PROFILE("http://127.0.0.1.evil.example", "https://a.example", "allow-http-loopback = yes\n"),
                   "agent.conf:5: issuer: ", "plain http");
    assert_refused(PROFILE("https://as.example", "http://localhost:1", ""), "agent.conf:8: origins: ", "plain http");
}

static void test_an_origin_with_a_path_query_fragment_or_user_is_refused(void **state)
{
    (void)state;
    assert_refused(PROFILE("https://as.example", "https://a.example https://b.example/path", ""), "agent.conf:8: origins: ",
                   "scheme, host and port");
    assert_refused(PROFILE("https://as.example", "https://a.example?x", ""), "agent.conf:8: origins: ", "scheme, host and port");
    assert_refused(PROFILE("https://as.example", "https://a.example#x", ""), "agent.conf:8: origins: ", "scheme, host and port");
    assert_refused(PROFILE("https://as.example", "https://u@a.example", ""), "agent.conf:8: origins: ", "scheme, host and port");
    assert_refused(PROFILE("https://as.example", "a.example", ""), "agent.conf:8: origins: ", "");
    assert_refused(PROFILE("https://as.example", "https://*.example", ""), "agent.conf:8: origins: ", "");
    assert_refused(PROFILE("https://as.example", "http://a.example", ""), "agent.conf:8: origins: ", "plain http");
}

static void test_a_keys_own_origins_are_checked_and_may_be_on_loopback(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(check(KEY "origins = https://a.example http://localhost:8080\n", &err), STATUS_OK);
    assert_refused(KEY "origins = https://a.example/x\n", "agent.conf:3: origins: ", "scheme, host and port");
    assert_refused(KEY "origins = http://a.example\n", "agent.conf:3: origins: ", "plain http");
}

static void test_a_resource_that_is_no_absolute_uri_is_refused(void **state)
{
    (void)state;
    assert_refused(PROFILE("https://as.example", "https://a.example", "resource = https://ok.example\nresource = api\n"),
                   "agent.conf:10: resource: ", "RFC 8707");
    assert_refused(PROFILE("https://as.example", "https://a.example", "resource = https://a.example/#f\n"),
                   "agent.conf:9: resource: ", "RFC 8707");
    assert_refused(PROFILE("https://as.example", "https://a.example", "resource = :x\n"), "agent.conf:9: resource: ", "RFC 8707");
}

static void test_a_scope_with_quotes_and_a_form_field_of_ours_are_refused(void **state)
{
    (void)state;
    assert_refused(PROFILE("https://as.example", "https://a.example", "scope = \"a b\"\n"), "agent.conf:9: scope: ", "without quotes");
    assert_refused(PROFILE("https://as.example", "https://a.example", "form = audience=x\nform = grant_type=password\n"),
                   "agent.conf:10: form: ", "the agent's to set");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_configuration_passes),
        cmocka_unit_test(test_a_key_uri_that_no_module_could_be_asked_for_is_refused),
        cmocka_unit_test(test_an_issuer_or_endpoint_that_is_no_https_url_is_refused),
        cmocka_unit_test(test_http_is_allowed_to_loopback_with_the_profiles_permission_and_nowhere_else),
        cmocka_unit_test(test_an_origin_with_a_path_query_fragment_or_user_is_refused),
        cmocka_unit_test(test_a_keys_own_origins_are_checked_and_may_be_on_loopback),
        cmocka_unit_test(test_a_resource_that_is_no_absolute_uri_is_refused),
        cmocka_unit_test(test_a_scope_with_quotes_and_a_form_field_of_ours_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
