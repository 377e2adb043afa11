/* Metadata of servers: what is asked for and how often, who waits for how long, and what a server that fails comes to. */
#include "metadata_world.h"

#include <sodium.h>
#include <string.h>

/* --- what is asked for --- */

static void test_both_well_known_forms_are_tried(void **state)
{
    (void)state;
    get("plain");
    assert_string_equal(calls[0].url, "https://as.example/.well-known/oauth-authorization-server/tenant");
    assert_string_equal(calls[0].profile, "plain");
    assert_in_range(calls[0].timeout, 30000, 30001);
    answer(404);
    give(0);
    assert_string_equal(calls[1].url, "https://as.example/tenant/.well-known/openid-configuration");
    document(ISSUER);
    give(1);
    assert_known(result);
    assert_string_equal(result->token, TOKEN);
    assert_string_equal(result->issuer, ISSUER);
    assert_string_equal(result->date, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_true(result->discovered);
    assert_int_equal(traced, 2);
    get("slash");
    assert_string_equal(calls[2].url, "https://as.example/.well-known/oauth-authorization-server");
    answer(200);
    next.json_error = span_text("text/html, 9 bytes, not a JSON object");
    give(2);
    assert_string_equal(calls[3].url, "https://as.example/.well-known/openid-configuration");
}

static void test_they_are_kept_for_an_hour_and_shared_by_profiles_with_one_issuer_and_ca(void **state)
{
    (void)state;
    assert_null(metadata_known(front.metadata, profile("plain")));
    get("plain");
    document(ISSUER);
    give(0);
    get("same");
    assert_known(result);
    assert_int_equal(call_count, 1);
    assert_string_equal(metadata_known(front.metadata, profile("plain"))->token_endpoint, TOKEN);
    now += 3599 * SECOND;
    get("plain");
    assert_known(result);
    assert_int_equal(call_count, 1);
    now += 2 * SECOND;
    get("plain");
    assert_int_equal(call_count, 2);
    get_for("ca", &results[1], 30);
    assert_int_equal(call_count, 3);
    assert_string_equal(calls[2].ca_file, "/ca");
}

static void test_fifty_callers_share_one_fetch(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 50; i++)
        get_for(i % 2 == 0 ? "plain" : "same", &results[i], 30);
    assert_int_equal(call_count, 1);
    assert_true(metadata_waiting(front.metadata));
    document(ISSUER);
    give(0);
    for (unsigned int i = 0; i < 50; i++)
        assert_known(&results[i]);
    assert_false(metadata_waiting(front.metadata));
}

static void test_each_waits_until_its_own_deadline(void **state)
{
    (void)state;
    get_for("plain", &results[0], 5);
    get_for("plain", &results[1], 10);
    get_for("plain", &results[2], 30);
    now += 6 * SECOND;
    metadata_tick(front.metadata, now);
    assert_refused(&results[0], STATUS_TIMEOUT, "profile \"plain\": the metadata of " ISSUER " have not come in time");
    assert_int_equal(results[1].calls, 0);
    now += 5 * SECOND;
    metadata_tick(front.metadata, now);
    assert_int_equal(results[1].calls, 1);
    assert_int_equal(results[2].calls, 0);
    document(ISSUER);
    give(0);
    assert_known(&results[2]);
    assert_int_equal(results[0].calls, 1);
    assert_int_equal(call_count, 1);
}

static void test_what_the_configuration_names_counts_first_and_nothing_is_looked_up_without_need(void **state)
{
    (void)state;
    get("named");
    assert_known(result);
    assert_int_equal(call_count, 0);
    assert_string_equal(result->token, "https://named.example/t");
    assert_string_equal(result->issuer, ISSUER);
    assert_false(result->discovered);
    get("half");
    assert_int_equal(call_count, 1);
    document(ISSUER);
    with("pushed_authorization_request_endpoint", "https://as.example/par");
    give(0);
    assert_known(result);
    assert_string_equal(result->token, "https://named.example/t");
    assert_string_equal(result->par, "https://as.example/par");
}

static void test_mtls_aliases_are_for_profiles_with_a_client_certificate(void **state)
{
    (void)state;
    get("tls");
    document(ISSUER);
    with("revocation_endpoint", "https://as.example/revoke");
    with("mtls_endpoint_aliases.token_endpoint", "https://mtls.example/token");
    give(0);
    assert_known(result);
    assert_string_equal(result->token, "https://mtls.example/token");
    assert_string_equal(result->revocation, "https://as.example/revoke");
    get("plain");
    assert_string_equal(result->token, TOKEN);
    assert_int_equal(call_count, 1);
}

/* --- servers that fail --- */

static void test_kept_metadata_are_used_on_when_they_cannot_be_renewed(void **state)
{
    (void)state;
    get("plain");
    document(ISSUER);
    give(0);
    now += 3601 * SECOND;
    get("plain");
    give_failure(1, STATUS_SERVER_UNREACHABLE, "cannot connect");
    assert_known(result);
    get("plain");
    document("https://evil.example");
    give(2);
    assert_known(result);
    get_for("plain", &results[1], 30); /* the server is not troubled again, and nobody waits */
    assert_known(&results[1]);
    assert_int_equal(call_count, 3);
}

static void test_nobody_waits_long_for_the_renewal_of_what_can_be_used_on(void **state)
{
    (void)state;
    get("plain");
    document(ISSUER);
    give(0);
    now += 3601 * SECOND;
    get("plain");
    now += 3 * SECOND;
    metadata_tick(front.metadata, now);
    assert_known(result);
}

static void test_a_server_that_fails_is_not_asked_at_every_call(void **state)
{
    unsigned int fetched = 0;
    (void)state;
    for (unsigned int i = 0; i < 600; i++) { /* ten calls a second for a minute */
        get("plain");
        while (call_count > 0 && calls[0].done != NULL) {
            give_failure(0, STATUS_SERVER_UNREACHABLE, "GET https://as.example: cannot connect: Connection refused");
            fetched++;
        }
        call_count = 0;
        assert_refused(result, STATUS_SERVER_UNREACHABLE, "profile \"plain\": GET https://as.example: cannot connect");
        now += SECOND / 10;
    }
    assert_in_range(fetched, 4, 10);
    get("plain");
    assert_refused(result, STATUS_SERVER_UNREACHABLE, "it is asked again in ");
    assert_true(result->err.retry_after > 0);
}

static void test_a_retry_after_is_honoured(void **state)
{
    (void)state;
    get("plain");
    answer(503);
    next.retry_after = 30;
    give(0);
    assert_refused(result, STATUS_SERVER_UNAVAILABLE, "status 503");
    assert_int_equal(result->err.http_status, 503);
    now += 29 * SECOND;
    get("plain");
    assert_refused(result, STATUS_SERVER_UNAVAILABLE, "status 503; it is asked again in");
    assert_int_equal(call_count, 1);
    now += 5 * SECOND;
    get("plain");
    assert_int_equal(call_count, 2);
}

static void test_a_ca_that_does_not_fit_is_no_trouble_of_other_profiles(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 3; i++) {
        get("ca");
        give_failure(i, STATUS_SERVER_UNREACHABLE, "cannot verify the server's certificate");
        now += 3 * SECOND;
    }
    get("plain");
    assert_int_equal(call_count, 4);
    assert_int_equal(result->calls, 0);
}

static void test_a_net_process_that_ends_is_an_error_without_back_off(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 5; i++) {
        get("plain");
        assert_int_equal(call_count, i + 1);
        give_error(i, STATUS_RESTARTED);
        assert_refused(result, STATUS_RESTARTED, "the net process ended");
    }
}

/* --- for registration and tests --- */

static void test_a_server_without_a_profile_is_found_and_not_kept(void **state)
{
    struct metadata_query query = {.resource = "https://api.example", .ca_file = "/my/ca"};
    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        *result = (struct result){.calls = 0};
        metadata_find(front.metadata, &query, now + 10 * SECOND, on_done, result);
        assert_string_equal(calls[2 * i].url, "https://api.example/.well-known/oauth-protected-resource");
        assert_string_equal(calls[2 * i].ca_file, "/my/ca");
        assert_in_range(calls[2 * i].timeout, 10000, 10001);
        resource_document("https://api.example", ISSUER);
        give(2 * i);
        document(ISSUER);
        give(2 * i + 1);
        assert_known(result);
        assert_string_equal(result->issuer, ISSUER);
    }
    assert_int_equal(traced, 0);
    *result = (struct result){.calls = 0};
    metadata_find(front.metadata, &(struct metadata_query){.ca_file = NULL}, now + SECOND, on_done, result);
    assert_refused(result, STATUS_INVALID_ARGUMENT, "no server is named");
}

static void test_a_search_ends_at_its_deadline(void **state)
{
    struct metadata_query query = {.issuer = ISSUER};
    (void)state;
    *result = (struct result){.calls = 0};
    metadata_find(front.metadata, &query, now + 10 * SECOND, on_done, result);
    now += 12 * SECOND;
    metadata_tick(front.metadata, now);
    assert_refused(result, STATUS_TIMEOUT, "the metadata of " ISSUER " have not come in time");
    give_error(0, STATUS_TIMEOUT);
    assert_int_equal(result->calls, 1);
}

static void renew(const char *name)
{
    *result = (struct result){.calls = 0};
    metadata_renew(front.metadata, profile(name), now + 30 * SECOND, on_done, result);
}

static void test_a_renewal_is_not_judged_and_tells_its_failure(void **state)
{
    (void)state;
    get("plain");
    document(ISSUER);
    give(0);
    now += SECOND;
    renew("plain");
    assert_int_equal(call_count, 2);
    document(ISSUER);
    with_list("dpop_signing_alg_values_supported", "RS256", NULL);
    give(1);
    assert_known(result);
    get("plain"); /* everybody else is told the truth now */
    assert_refused(result, STATUS_SERVER_MISBEHAVED, "does not list ES256");
    for (unsigned int i = 0; i < 4; i++) { /* in spite of back-off, and of what is kept */
        now += SECOND;
        renew("plain");
        assert_int_equal(call_count, 3 + i);
        give_failure(2 + i, STATUS_SERVER_UNREACHABLE, "cannot resolve host");
        assert_refused(result, STATUS_SERVER_UNREACHABLE, "cannot resolve host");
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_both_well_known_forms_are_tried),
        TEST(test_they_are_kept_for_an_hour_and_shared_by_profiles_with_one_issuer_and_ca),
        TEST(test_fifty_callers_share_one_fetch),
        TEST(test_each_waits_until_its_own_deadline),
        TEST(test_what_the_configuration_names_counts_first_and_nothing_is_looked_up_without_need),
        TEST(test_mtls_aliases_are_for_profiles_with_a_client_certificate),
        TEST(test_kept_metadata_are_used_on_when_they_cannot_be_renewed),
        TEST(test_nobody_waits_long_for_the_renewal_of_what_can_be_used_on),
        TEST(test_a_server_that_fails_is_not_asked_at_every_call),
        TEST(test_a_retry_after_is_honoured),
        TEST(test_a_ca_that_does_not_fit_is_no_trouble_of_other_profiles),
        TEST(test_a_net_process_that_ends_is_an_error_without_back_off),
        TEST(test_a_server_without_a_profile_is_found_and_not_kept),
        TEST(test_a_search_ends_at_its_deadline),
        TEST(test_a_renewal_is_not_judged_and_tells_its_failure),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
