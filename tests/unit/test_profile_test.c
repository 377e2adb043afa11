/* What `profile test` makes of what it finds: each broken set-up fails in a check of its own name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "profile_test.h"

#define NOW 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=o\n"
    "[profile plain]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "[profile login]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-authentication = private_key_jwt\n"
    "client-key = other\ngrant = authorization_code\norigins = https://a\n"
    "[profile fapi]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-authentication = private_key_jwt\n"
    "grant = authorization_code\nfapi2 = yes\norigins = https://a\n"
    "[profile api]\nkey = k\nresource = https://api.example\nclient-id = app\nclient-authentication = private_key_jwt\n"
    "origins = https://api.example\n";

static struct config *config;
static struct profile_test t;

static void begin(const char *profile)
{
    profile_test_init(&t, config_profile(config, span_text(profile)));
}

static int open_world(void **state)
{
    struct error err;
    (void)state;
    return config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &config, &err) == STATUS_OK ? 0 : -1;
}

static int close_world(void **state)
{
    (void)state;
    config_free(config);
    return 0;
}

static char *words(const char *word)
{
    return (char *)(uintptr_t)word;
}

static struct server_metadata good_server(void)
{
    static char *es256[] = {NULL}, *s256[] = {NULL}, *methods[2], *grants[3];
    es256[0] = words("ES256");
    s256[0] = words("S256");
    methods[0] = words("client_secret_basic");
    methods[1] = words("private_key_jwt");
    grants[0] = words("client_credentials");
    grants[1] = words("authorization_code");
    grants[2] = words("refresh_token");
    return (struct server_metadata){.issuer = words("https://as.example"),
                                    .token_endpoint = words("https://as.example/t"),
                                    .authorization_endpoint = words("https://as.example/a"),
                                    .pushed_authorization_request_endpoint = words("https://as.example/p"),
                                    .discovered = true,
                                    .authorization_response_iss_parameter_supported = true,
                                    .dpop_signing_alg_values = {.items = es256, .count = 1},
                                    .code_challenge_methods = {.items = s256, .count = 1},
                                    .token_endpoint_auth_methods = {.items = methods, .count = 2},
                                    .grant_types = {.items = grants, .count = 3},
                                    .date = words("Sun, 06 Nov 1994 08:49:37 GMT")};
}

static void assert_only_failure(enum profile_check check, const char *message)
{
    for (unsigned int i = 0; i < TEST_COUNT; i++) {
        if (profile_test_failed(&t, (enum profile_check)i) != (i == check))
            fail_msg("check %u: %s", i, t.checks[i].detail);
    }
    if (strstr(t.checks[check].detail, message) == NULL)
        fail_msg("%s", t.checks[check].detail);
}

static void failure(enum status status, const char *stage, const char *oauth_error, const char *message)
{
    struct error err;
    (void)error_set(&err, status, "next", "%s", message);
    error_put_text(err.stage, sizeof(err.stage), span_text(stage));
    error_put_text(err.oauth_error, sizeof(err.oauth_error), span_text(oauth_error));
    if (strcmp(stage, "discovery") == 0)
        profile_test_metadata(&t, &err, NULL, NOW);
    else
        profile_test_request_failed(&t, &err);
}

static void test_a_good_server_passes_every_check_in_order(void **state)
{
    struct server_metadata s = good_server();
    struct list_builder checks;
    struct check_info info;
    struct error err;
    struct span item;
    size_t cursor = 0, count = 0;
    (void)state;
    begin("plain");
    profile_test_key(&t, TEST_KEY, NULL, "thumbprint");
    profile_test_metadata(&t, NULL, &s, NOW);
    profile_test_granted(&t, true, "thumbprint", 300);
    list_builder_init(&checks, 1 << 20);
    profile_test_put(&t, &checks);
    struct list list = list_builder_list(&checks);
    while (list_next(&list, &cursor, &item)) {
        assert_int_equal(message_take(item, &message_check_info, &info, sizeof(info), &err), STATUS_OK);
        if (info.result != CHECK_PASSED)
            fail_msg("%.*s", (int)info.name.len, (const char *)info.name.data);
        assert_true(info.detail.len > 0);
        count++;
    }
    assert_int_equal(count, 11); /* no client key, resource metadata, PAR, PKCE, iss */
    list_builder_free(&checks);
}

static void test_broken_set_ups_fail_by_name_when_metadata_are_fetched(void **state)
{
    static const struct {
        enum status status;
        const char *message;
        enum profile_check check;
    } rows[] = {
        {STATUS_SERVER_UNREACHABLE, "GET https://as: cannot resolve host as", TEST_SERVER},
        {STATUS_SERVER_UNREACHABLE, "GET https://as: cannot connect: Connection refused", TEST_SERVER},
        {STATUS_SERVER_UNREACHABLE, "GET https://as: cannot verify the server's certificate: unable to get issuer", TEST_TLS},
        {STATUS_SERVER_UNREACHABLE, "GET https://as: cannot agree on TLS with the server: x", TEST_TLS},
        {STATUS_CONFIGURATION, "GET https://as: cannot load the CA certificates: x", TEST_TLS},
        {STATUS_SERVER_UNAVAILABLE, "no metadata of https://as: status 503", TEST_SERVER},
        {STATUS_TIMEOUT, "the metadata of https://as have not come in time", TEST_SERVER},
        {STATUS_SERVER_MISBEHAVED, "the metadata of https://as name another issuer", TEST_DISCOVERY},
        {STATUS_INSECURE_URL, "the metadata of https://as name a plain http token_endpoint", TEST_DISCOVERY},
        {STATUS_SERVER_MISBEHAVED, "the resource metadata of https://api.example are of another resource", TEST_RESOURCE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin("api");
        failure(rows[i].status, "discovery", "", rows[i].message);
        assert_only_failure(rows[i].check, rows[i].message);
        assert_string_equal(t.checks[rows[i].check].next, "next");
    }
}

static void test_broken_set_ups_fail_by_name_when_metadata_are_read(void **state)
{
    struct server_metadata s = good_server();
    char *wrong[] = {words("RS256")};
    (void)state;
    s.dpop_signing_alg_values.items = wrong;
    begin("plain");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_only_failure(TEST_DPOP, "does not list ES256");
    s = good_server();
    s.grant_types.items = wrong;
    s.grant_types.count = 1;
    begin("plain");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_only_failure(TEST_GRANT, "does not list client_credentials");
    s = good_server();
    s.token_endpoint_auth_methods.items = wrong;
    s.token_endpoint_auth_methods.count = 1;
    begin("plain");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_only_failure(TEST_METHOD, "does not list client_secret_basic");
    s = good_server();
    s.pushed_authorization_request_endpoint = NULL;
    begin("fapi");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_only_failure(TEST_PAR, "which fapi2 wants");
    begin("login");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_int_equal(t.checks[TEST_PAR].result, CHECK_NOT_TRIED);
    s = good_server();
    s.code_challenge_methods.items = wrong;
    begin("login");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_only_failure(TEST_PKCE, "does not list S256");
    s = good_server();
    s.authorization_response_iss_parameter_supported = false;
    begin("fapi");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_only_failure(TEST_ISS, "RFC 9207");
    begin("login");
    profile_test_metadata(&t, NULL, &s, NOW);
    assert_int_equal(t.checks[TEST_ISS].result, CHECK_WARNING);
}

static void test_the_clock_is_judged_by_how_far_it_is_off(void **state)
{
    static const struct {
        int off;
        enum check_result result;
        const char *words;
    } rows[] = {{0, CHECK_PASSED, "agrees"},          {5, CHECK_PASSED, "5 s ahead"},    {-5, CHECK_PASSED, "5 s behind"},
                {6, CHECK_WARNING, "6 s ahead"},      {-60, CHECK_WARNING, "60 s behind"}, {61, CHECK_FAILED, "61 s ahead"},
                {-600, CHECK_FAILED, "600 s behind"}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin("plain");
        profile_test_clock(&t, span_text("Sun, 06 Nov 1994 08:49:37 GMT"), NOW - rows[i].off);
        assert_int_equal(t.checks[TEST_CLOCK].result, rows[i].result);
        assert_non_null(strstr(t.checks[TEST_CLOCK].detail, rows[i].words));
    }
    profile_test_clock(&t, span_text("yesterday"), NOW);
    assert_int_equal(t.checks[TEST_CLOCK].result, CHECK_NOT_TRIED);
}

static void test_broken_set_ups_fail_by_name_at_the_token_endpoint(void **state)
{
    static const struct {
        enum status status;
        const char *oauth_error, *message;
        enum profile_check check;
        bool client_passed;
    } rows[] = {
        {STATUS_SERVER_REFUSED, "invalid_client", "refuses: invalid_client", TEST_CLIENT, false},
        {STATUS_SERVER_REFUSED, "unauthorized_client", "refuses: unauthorized_client", TEST_GRANT, true},
        {STATUS_SERVER_REFUSED, "unsupported_grant_type", "refuses: unsupported_grant_type", TEST_GRANT, true},
        {STATUS_SERVER_REFUSED, "invalid_scope", "refuses: invalid_scope", TEST_TOKEN, true},
        {STATUS_SERVER_REFUSED, "invalid_dpop_proof", "refuses: invalid_dpop_proof", TEST_DPOP, false},
        {STATUS_SERVER_MISBEHAVED, "use_dpop_nonce", "asks for a new DPoP nonce again and again", TEST_DPOP, false},
        {STATUS_TOKEN_NOT_DPOP, "", "a token of the type \"Bearer\" instead of DPoP", TEST_TOKEN, true},
        {STATUS_TOKEN_OTHER_KEY, "", "bound to another key", TEST_TOKEN, true},
        {STATUS_SECRET_UNREADABLE, "", "client secret of profile plain: cannot open", TEST_CONFIGURATION, false},
        {STATUS_KEY_LOCKED, "", "key \"k\" is locked", TEST_KEY, false},
        {STATUS_SERVER_UNREACHABLE, "", "cannot connect", TEST_SERVER, false},
        {STATUS_SERVER_UNREACHABLE, "", "cannot verify the server's certificate", TEST_TLS, false},
        {STATUS_SERVER_UNAVAILABLE, "", "status 503", TEST_SERVER, false},
        {STATUS_SERVER_MISBEHAVED, "", "gives no token_type", TEST_TOKEN, false},
    };
    struct server_metadata s = good_server();
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin("plain");
        profile_test_metadata(&t, NULL, &s, NOW);
        failure(rows[i].status, "token request", rows[i].oauth_error, rows[i].message);
        assert_only_failure(rows[i].check, rows[i].message);
        assert_int_equal(t.checks[TEST_CLIENT].result == CHECK_PASSED, rows[i].client_passed);
    }
}

static void probe(uint16_t status, const char *oauth_error, void (*judge)(struct profile_test *, const struct fetch_answer *))
{
    struct list_builder members;
    struct json_member m = {.name = span_text("error"), .kind = JSON_KIND_TEXT, .text = span_text(oauth_error)};
    list_builder_init(&members, 65536);
    if (oauth_error != NULL)
        list_builder_add(&members, &message_json_member, &m);
    struct fetch_answer a = {.http_status = status, .members = list_builder_list(&members)};
    judge(&t, &a);
    list_builder_free(&members);
}

static void test_a_refresh_token_that_is_none_tells_whether_the_client_is_known(void **state)
{
    (void)state;
    begin("login");
    probe(400, "invalid_grant", profile_test_probe);
    assert_int_equal(t.checks[TEST_CLIENT].result, CHECK_PASSED);
    begin("login");
    probe(400, "unauthorized_client", profile_test_probe);
    assert_int_equal(t.checks[TEST_CLIENT].result, CHECK_PASSED);
    assert_int_equal(t.checks[TEST_GRANT].result, CHECK_WARNING);
    begin("login");
    probe(401, "invalid_client", profile_test_probe);
    assert_only_failure(TEST_CLIENT, "invalid_client");
    probe(400, "invalid_client", profile_test_client_known);
    assert_only_failure(TEST_CLIENT, "the server does not know client \"app\"");
    probe(400, "invalid_request", profile_test_client_known);
    assert_only_failure(TEST_CLIENT, "the server knows client \"app\", but refuses its private_key_jwt");
    begin("login");
    probe(401, "invalid_client", profile_test_probe);
    probe(404, NULL, profile_test_client_known); /* that says nothing */
    assert_only_failure(TEST_CLIENT, "refuses: invalid_client");
    begin("login");
    probe(200, NULL, profile_test_probe);
    assert_int_equal(t.checks[TEST_CLIENT].result, CHECK_WARNING);
}

static void test_each_key_of_the_profile_is_a_check(void **state)
{
    struct error err;
    (void)state;
    begin("login");
    (void)error_set(&err, STATUS_KEY_ABSENT, "plug it in", "key \"other\" is absent");
    profile_test_key(&t, TEST_KEY, NULL, "thumbprint");
    profile_test_key(&t, TEST_CLIENT_KEY, &err, NULL);
    assert_true(t.checks[TEST_CLIENT_KEY].wanted);
    assert_only_failure(TEST_CLIENT_KEY, "key \"other\" is absent");
    assert_string_equal(t.checks[TEST_CLIENT_KEY].next, "plug it in");
    begin("fapi");
    assert_false(t.checks[TEST_CLIENT_KEY].wanted);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_a_good_server_passes_every_check_in_order),
        TEST(test_broken_set_ups_fail_by_name_when_metadata_are_fetched),
        TEST(test_broken_set_ups_fail_by_name_when_metadata_are_read),
        TEST(test_the_clock_is_judged_by_how_far_it_is_off),
        TEST(test_broken_set_ups_fail_by_name_at_the_token_endpoint),
        TEST(test_a_refresh_token_that_is_none_tells_whether_the_client_is_known),
        TEST(test_each_key_of_the_profile_is_a_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
