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
    assert_string_not_equal(err.next, "");
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
    assert_refused(PROFILE("https://as.example", "https://a.example", "form = x=y\nform = grant_type=password\n"),
                   "agent.conf:10: form: ", "the agent's to set");
}

static void test_a_key_is_checked_as_a_whole(void **state)
{
    (void)state;
    assert_refused("[agent]\n[key k]\nworkers = 1\n", "agent.conf:2: [key k] ", "lacks the option \"uri\"");
    assert_refused(KEY "pin-file = /p\npin-credential = p\n", "agent.conf:1: [key k] ", "has both pin-file and pin-credential");
    assert_refused(KEY "thumbprint = abc\n", "agent.conf:3: thumbprint: ", "43 characters");
    assert_refused(KEY "environment = A=b\nenvironment = ABC\n", "agent.conf:4: environment: ", "NAME=value");
    assert_refused(KEY "environment = =x\n", "agent.conf:3: environment: ", "NAME=value");
}

/* The agent's own fields of each endpoint, and others that are free there. */
static void test_each_endpoints_own_fields_are_refused_there_and_free_elsewhere(void **state)
{
    static const struct {
        const char *option, *refused, *taken;
    } forms[] = {
        {"form", "grant_type code redirect_uri code_verifier refresh_token client_id client_secret client_assertion "
                 "client_assertion_type scope resource audience subject_token subject_token_type actor_token actor_token_type "
                 "requested_token_type assertion device_code authorization_details",
         "token state nonce grant_types Grant_Type grant_type%3D"},
        {"authorization-form", "response_type client_id redirect_uri scope state nonce code_challenge code_challenge_method resource "
                               "audience authorization_details dpop_jkt request request_uri client_secret client_assertion "
                               "client_assertion_type response_mode",
         "prompt login_hint max_age grant_type"},
        {"device-form", "client_id scope resource audience authorization_details client_secret client_assertion", "state prompt"},
        {"revocation-form", "token token_type_hint client_id client_secret client_assertion client_assertion_type", "scope"},
        {"introspection-form", "token token_type_hint client_id client_secret client_assertion client_assertion_type", "resource"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        for (int refused = 0; refused < 2; refused++) {
            char words[512], text[512], *rest = NULL;
            (void)snprintf(words, sizeof(words), "%s", refused ? forms[i].refused : forms[i].taken);
            for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
                struct error err;
                (void)snprintf(text, sizeof(text), PROFILE("https://as.example", "https://a.example", "grant = authorization_code\n%s = %s=x\n"),
                               forms[i].option, word);
                if (refused)
                    assert_refused(text, "agent.conf:10: ", "the agent's to set");
                else if (check(text, &err) != STATUS_OK)
                    fail_msg("%s", err.message);
            }
        }
}

static void test_a_redirect_uri_is_on_loopback_without_query_and_fragment(void **state)
{
    static const char *const taken[] = {"http://127.0.0.1", "http://127.0.0.1/", "http://127.0.0.1:0/cb", "http://127.0.0.1:8080/a/b",
                                        "http://[::1]", "http://[::1]:1/", "http://localhost:65535/x", "http://localhost:0"};
    static const char *const refused[] = {"https://127.0.0.1/", "http://127.0.0.2/", "http://127.0.0.1.evil.example/", "http://127.0.0.10/",
                                          "http://[::2]/", "http://localhost.evil/", "http://u@127.0.0.1/", "http://127.0.0.1@evil/",
                                          "http://127.0.0.1/?x", "http://127.0.0.1/#x", "http://127.0.0.1:65536/", "http://127.0.0.1:00/",
                                          "http://127.0.0.1:x/", "http://127.0.0.1/a b", "urn:ietf:wg:oauth:2.0:oob", "app:/cb"};
    char text[512];
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        (void)snprintf(text, sizeof(text), PROFILE("https://as.example", "https://a.example", "grant = authorization_code\nredirect-uri = %s\n"),
                       taken[i]);
        if (check(text, &err) != STATUS_OK)
            fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        (void)snprintf(text, sizeof(text), PROFILE("https://as.example", "https://a.example", "grant = authorization_code\nredirect-uri = %s\n"),
                       refused[i]);
        assert_refused(text, "agent.conf:10: redirect-uri: ", "");
    }
}

static void test_every_endpoint_is_https_without_a_fragment(void **state)
{
    static const char *const endpoints[] = {"token", "authorization", "pushed-authorization-request", "device-authorization", "revocation",
                                            "introspection"};
    static const char *const urls[] = {"http://as.example/", "ftp://as.example/", "as.example", "https://as.example/#f", "https://"};
    char text[512];
    (void)state;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++)
        for (size_t j = 0; j < sizeof(urls) / sizeof(urls[0]); j++) {
            (void)snprintf(text, sizeof(text), PROFILE("https://as.example", "https://a.example", "%s-endpoint = %s\n"), endpoints[i], urls[j]);
            assert_refused(text, "agent.conf:9: ", "");
        }
}

static void test_details_are_an_array_and_token_types_uris(void **state)
{
    (void)state;
    assert_refused(PROFILE("https://as.example", "https://a.example", "authorization-details = {}\n"),
                   "agent.conf:9: authorization-details: ", "array");
    assert_refused(PROFILE("https://as.example", "https://a.example", "authorization-details = [\n"),
                   "agent.conf:9: authorization-details: ", "array");
    assert_refused(PROFILE("https://as.example", "https://a.example", "grant = token-exchange\nactor-token-type = jwt\n"),
                   "agent.conf:10: actor-token-type: ", "RFC 8693");
}

static void test_a_trace_file_has_no_other_use_but_may_be_shared(void **state)
{
    struct error err;
    (void)state;
    assert_refused(PROFILE("https://as.example", "https://a.example", "trace-file = /s\n"), "agent.conf:9: trace-file: ", "another use");
    assert_refused(PROFILE("https://as.example", "https://a.example", "trace-file = /c\nca-file = /c\n"), "agent.conf:9: trace-file: ",
                   "another use");
    assert_int_equal(check(PROFILE("https://as.example", "https://a.example", "trace-file = /t\n[profile q]\nkey = k\nissuer = https://b.example\n"
                                   "client-id = c\nclient-secret-file = /s\norigins = https://a.example\ntrace-file = /t\n"),
                           &err),
                     STATUS_OK);
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
        cmocka_unit_test(test_a_key_is_checked_as_a_whole),
        cmocka_unit_test(test_each_endpoints_own_fields_are_refused_there_and_free_elsewhere),
        cmocka_unit_test(test_a_redirect_uri_is_on_loopback_without_query_and_fragment),
        cmocka_unit_test(test_every_endpoint_is_https_without_a_fragment),
        cmocka_unit_test(test_details_are_an_array_and_token_types_uris),
        cmocka_unit_test(test_a_trace_file_has_no_other_use_but_may_be_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
