/* Metadata of servers: what is believed of a document, for every profile and for some. */
#include "metadata_world.h"

#include <sodium.h>
#include <string.h>

/* --- what is believed --- */

static void test_documents_that_cannot_be_trusted_are_refused(void **state)
{
    static const struct {
        const char *issuer, *name, *value;
        enum status status;
        const char *message;
    } rows[] = {
        {"https://as.example", NULL, NULL, STATUS_SERVER_MISBEHAVED, "another issuer, \"https://as.example\""},
        {ISSUER "/", NULL, NULL, STATUS_SERVER_MISBEHAVED, "another issuer"},
        {ISSUER, "revocation_endpoint", "http://as.example/r", STATUS_INSECURE_URL, "plain http revocation_endpoint"},
        {ISSUER, "introspection_endpoint", "http://127.0.0.1/r", STATUS_INSECURE_URL, "plain http introspection_endpoint"},
        {ISSUER, "authorization_endpoint", "/authorize", STATUS_SERVER_MISBEHAVED, "no usable authorization_endpoint"},
        {ISSUER, "mtls_endpoint_aliases.token_endpoint", "http://as.example/t", STATUS_INSECURE_URL, "mtls_endpoint_aliases"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        now += 61 * SECOND; /* longer than any back-off */
        get("plain");
        document(rows[i].issuer);
        if (rows[i].name != NULL)
            with(rows[i].name, rows[i].value);
        give(call_count - 1);
        assert_refused(result, rows[i].status, rows[i].message);
        assert_non_null(strstr(result->err.message, "profile \"plain\": "));
    }
    now += 61 * SECOND;
    get("plain");
    answer(200);
    with("issuer", ISSUER);
    give(call_count - 1);
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "no usable token_endpoint");
}

static void test_members_of_a_wrong_kind_are_refused(void **state)
{
    (void)state;
    get("plain");
    document(ISSUER);
    with_kind("registration_endpoint", JSON_KIND_INTEGER);
    give(0);
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "registration_endpoint that is no text");
    now += 61 * SECOND;
    get("plain");
    document(ISSUER);
    with_kind("dpop_signing_alg_values_supported", JSON_KIND_OTHER);
    give(1);
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "dpop_signing_alg_values_supported that is no list");
    now += 61 * SECOND;
    get("plain");
    document(ISSUER);
    with_kind("revocation_endpoint", JSON_KIND_NULL);
    give(2);
    assert_known(result);
}

static void test_plain_http_is_for_loopback_where_the_profile_allows_it(void **state)
{
    (void)state;
    get("loopback");
    assert_true(calls[0].loopback);
    answer(200);
    with("issuer", "http://127.0.0.1:1/");
    with("token_endpoint", "http://127.0.0.1:1/token");
    give(0);
    assert_known(result);
}

static void test_a_server_that_lists_dpop_algorithms_must_list_es256_unless_dpop_is_optional(void **state)
{
    (void)state;
    get("plain");
    get_for("same", &results[1], 30);
    document(ISSUER);
    with_list("dpop_signing_alg_values_supported", "RS256", "ES384");
    give(0);
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "does not list ES256");
    assert_known(&results[1]);
    now += 30 * SECOND; /* it is not asked at every request */
    get("plain");
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "does not list ES256");
    assert_int_equal(call_count, 1);
    now += 31 * SECOND; /* but well before the hour is over */
    get("plain");
    document(ISSUER);
    with_list("dpop_signing_alg_values_supported", "RS256", "ES256");
    give(1);
    assert_known(result);
    now += 3601 * SECOND;
    get("plain");
    document(ISSUER);
    with_list("dpop_signing_alg_values_supported", NULL, NULL);
    give(2);
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "does not list ES256");
}

static void fapi_document(unsigned int without)
{
    document(ISSUER);
    with("authorization_endpoint", "https://as.example/a");
    if (without != 1)
        with("pushed_authorization_request_endpoint", "https://as.example/par");
    with_list("code_challenge_methods_supported", without == 2 ? "plain" : "S256", NULL);
    with_kind("authorization_response_iss_parameter_supported", without == 3 ? JSON_KIND_FALSE : JSON_KIND_TRUE);
    with_list("token_endpoint_auth_methods_supported", without == 4 ? "client_secret_basic" : "private_key_jwt", NULL);
    with_list("token_endpoint_auth_signing_alg_values_supported", without == 5 ? "RS256" : "ES256", NULL);
}

static void test_fapi2_names_each_rule_that_a_server_breaks(void **state)
{
    static const char *const words[] = {NULL, "PAR, RFC 9126", "S256", "RFC 9207", "token_endpoint_auth_methods_supported",
                                        "token_endpoint_auth_signing_alg_values_supported"};
    (void)state;
    for (unsigned int i = 1; i < sizeof(words) / sizeof(words[0]); i++) {
        now += 61 * SECOND;
        get("fapi");
        fapi_document(i);
        give(i - 1);
        assert_refused(result, STATUS_SERVER_MISBEHAVED, words[i]);
        assert_non_null(strstr(result->err.message, "fapi2"));
    }
    now += 61 * SECOND;
    get("fapi");
    fapi_document(0);
    give(call_count - 1);
    assert_known(result);
}

/* --- from an API's URL --- */

static void test_the_first_resources_metadata_name_the_issuer(void **state)
{
    (void)state;
    get("api");
    assert_string_equal(calls[0].url, "https://api.example/.well-known/oauth-protected-resource/v1/?x=1");
    resource_document("https://api.example/v1/?x=1", ISSUER);
    give(0);
    assert_int_equal(result->calls, 0);
    assert_string_equal(calls[1].url, "https://as.example/.well-known/oauth-authorization-server/tenant");
    document(ISSUER);
    give(1);
    assert_known(result);
    assert_string_equal(result->issuer, ISSUER);
    get("api");
    assert_known(result);
    assert_int_equal(call_count, 2);
}

static void test_resource_metadata_that_cannot_be_trusted_are_refused(void **state)
{
    static const struct {
        const char *resource, *issuer;
        enum status status;
        const char *message;
    } rows[] = {
        {"https://api.example/v1", ISSUER, STATUS_SERVER_MISBEHAVED, "are of another resource"},
        {"https://api.example/v1/?x=1", NULL, STATUS_SERVER_MISBEHAVED, "name no authorization server"},
        {"https://api.example/v1/?x=1", "http://as.example", STATUS_INSECURE_URL, "plain http authorization server"},
        {"https://api.example/v1/?x=1", "https://as.example/?a", STATUS_SERVER_MISBEHAVED, "no issuer's URL"},
        {"https://api.example/v1/?x=1", "as.example", STATUS_SERVER_MISBEHAVED, "no issuer's URL"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        now += 61 * SECOND;
        get("api");
        resource_document(rows[i].resource, rows[i].issuer);
        give(i);
        assert_refused(result, rows[i].status, rows[i].message);
        assert_non_null(strstr(result->err.message, "resource metadata"));
        assert_int_equal(call_count, i + 1);
    }
    now += 61 * SECOND;
    get("api");
    answer(404);
    give(call_count - 1);
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "no resource metadata (RFC 9728) of https://api.example/v1/?x=1: status 404");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_documents_that_cannot_be_trusted_are_refused),
        TEST(test_members_of_a_wrong_kind_are_refused),
        TEST(test_plain_http_is_for_loopback_where_the_profile_allows_it),
        TEST(test_a_server_that_lists_dpop_algorithms_must_list_es256_unless_dpop_is_optional),
        TEST(test_fapi2_names_each_rule_that_a_server_breaks),
        TEST(test_the_first_resources_metadata_name_the_issuer),
        TEST(test_resource_metadata_that_cannot_be_trusted_are_refused),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
