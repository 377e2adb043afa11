/*
 * One token request: what is sent for a grant, and what is told of an answer that is no token. Every exchange calls back
 * exactly once. test_exchange_token.c has the answers that are tokens, or nearly.
 */
#include "exchange_world.h"

/* --- what is sent --- */

static void test_the_request_is_a_form_with_a_proof_for_the_endpoint(void **state)
{
    char *items[] = {(char[]){"https://api.example/x"}, (char[]){"urn:y"}};
    struct strings resources = {.items = items, .count = 2};
    struct exchange_request r = request_of("basic");
    (void)state;
    r.scope = span_text("b a");
    r.resources = &resources;
    r.grant_form = span_text("code=1&code_verifier=2");
    start_with(&r);
    assert_int_equal(call_count, 1);
    assert_string_equal(calls[0].url, ENDPOINT);
    assert_string_equal(calls[0].form, "grant_type=client_credentials&code=1&code_verifier=2&scope=b+a"
                                       "&resource=https%3A%2F%2Fapi.example%2Fx&resource=urn%3Ay&audience=a+b%26c"
                                       "&authorization_details=%5B%7B%22type%22%3A%22t%22%7D%5D&x=y%3Dz");
    assert_true(calls[0].authenticates);
    assert_false(calls[0].token_files);
    assert_in_range(calls[0].timeout, 30000, 30001);
    assert_true(calls[0].deadline > now + 30 * SECOND);
    const char *claims = claims_of(calls[0].dpop);
    assert_string_equal(member(claims, "htm"), "POST");
    assert_string_equal(member(claims, "htu"), ENDPOINT);
    assert_null(member(claims, "nonce"));
    assert_null(member(claims, "ath"));
    assert_non_null(member(claims, "jti"));
    assert_in_range(number(claims, "iat") - time(NULL) + 5, 0, 10);
    (void)good_answer();
    now += 3 * SECOND;
    give(0);
    assert_granted();
    assert_string_equal(result.scope, "(absent)");
    assert_string_equal(result.jkt, JKT);
    assert_int_equal(result.lifetime, 3600);
    assert_true(result.asked == now - 3 * SECOND);
}

static void test_a_refresh_names_neither_audience_nor_authorization_details(void **state)
{
    struct exchange_request r = request_of("basic");
    (void)state;
    r.audiences = false;
    r.token_files = true;
    start_with(&r);
    assert_string_equal(calls[0].form, "grant_type=client_credentials&x=y%3Dz");
    assert_true(calls[0].token_files);
}

static void test_what_is_sent_is_the_endpoint_normalised_and_the_proof_says_the_same_without_the_query(void **state)
{
    char odd[] = "HTTPS://AS.example:443/a/../%74oken%2f?tenant=1";
    (void)state;
    server.token_endpoint = odd;
    start("odd");
    assert_string_equal(calls[0].url, "https://as.example/token%2F?tenant=1");
    assert_string_equal(member(claims_of(calls[0].dpop), "htu"), "https://as.example/token%2F");
}

static void test_only_where_dpop_is_optional_and_the_server_does_not_speak_it_there_is_no_proof(void **state)
{
    char *es256[] = {(char[]){"ES384"}, (char[]){"ES256"}};
    const char *const profiles[] = {"basic", "refresh-only", "optional"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        server.discovered = true;
        server.dpop_signing_alg_values = (struct strings){.items = es256, .count = 1};
        start(profiles[i]);
        assert_int_equal(calls[call_count - 1].dpop == NULL, i == 2);
        server.dpop_signing_alg_values.count = 2;
        start(profiles[i]);
        assert_non_null(calls[call_count - 1].dpop);
        server.dpop_signing_alg_values.count = 0;
        start(profiles[i]);
        assert_non_null(calls[call_count - 1].dpop);
    }
}

static void test_without_metadata_or_an_endpoint_nothing_is_sent(void **state)
{
    (void)state;
    metadata_fails = STATUS_SERVER_UNREACHABLE;
    start("basic");
    assert_failed(STATUS_SERVER_UNREACHABLE, "no metadata");
    metadata_fails = STATUS_OK;
    server.token_endpoint = NULL;
    start("basic");
    assert_failed(STATUS_SERVER_MISBEHAVED, "no token_endpoint");
    assert_string_equal(result.err.stage, "discovery");
    assert_int_equal(call_count, 0);
    assert_false(result.more.in_doubt);
}

static void test_a_key_that_fails_ends_the_exchange_with_its_error_and_nothing_is_sent(void **state)
{
    (void)state;
    key("k")->fails = STATUS_KEY_ABSENT;
    start("basic");
    assert_failed(STATUS_KEY_ABSENT, "key \"k\" fails");
    assert_string_equal(result.err.stage, "token request");
    assert_int_equal(call_count, 0);
    assert_false(result.more.in_doubt);
}

/* --- no answer --- */

static void test_a_failure_is_handed_on_with_whether_it_leaves_a_doubt(void **state)
{
    (void)state;
    start("basic");
    give_failure(0, STATUS_SERVER_UNREACHABLE, false);
    assert_failed(STATUS_SERVER_UNREACHABLE, "the net process says no");
    assert_false(result.more.in_doubt);
    assert_false(result.granted);
    start("basic");
    give_failure(1, STATUS_SERVER_UNREACHABLE, true);
    assert_true(result.more.in_doubt);
}

static void test_an_answer_that_is_no_message_leaves_a_doubt(void **state)
{
    call_done done;
    (void)state;
    start("basic");
    done = calls[0].done;
    calls[0].done = NULL;
    done(calls[0].context, NULL, span_of("\0", 1));
    assert_failed(STATUS_MALFORMED, "");
    assert_true(result.more.in_doubt);
}

/* --- refusals --- */

static void test_an_oauth_error_is_kept_with_all_its_fields_and_a_next_step(void **state)
{
    (void)state;
    start("basic");
    answer(401)->answer.retry_after = 17;
    with_error("invalid_client");
    with_text("error_description", "no such client");
    with_text("error_uri", "https://as.example/help");
    give(0);
    assert_failed(STATUS_SERVER_REFUSED, "refuses: invalid_client");
    assert_int_equal(result.err.http_status, 401);
    assert_int_equal(result.err.retry_after, 17);
    assert_string_equal(result.err.oauth_error, "invalid_client");
    assert_string_equal(result.err.oauth_description, "no such client");
    assert_string_equal(result.err.oauth_uri, "https://as.example/help");
    assert_string_equal(result.err.stage, "token request");
    assert_non_null(strstr(result.err.next, "client-id"));
    assert_false(result.more.in_doubt);
    assert_int_equal(call_count, 1);
}

static void test_what_a_server_says_cannot_bring_control_characters_or_endless_text(void **state)
{
    char *longest = malloc(100001);
    (void)state;
    assert_non_null(longest);
    memset(longest, 'x', 100000);
    longest[100000] = '\0';
    start("basic");
    (void)answer(400);
    with_error("bad\n\x1b[31m\xff");
    with_text("error_description", longest);
    give(0);
    assert_failed(STATUS_SERVER_REFUSED, "refuses: bad??[31m?");
    assert_string_equal(result.err.oauth_error, "bad??[31m?");
    assert_int_equal(strlen(result.err.oauth_description), sizeof(result.err.oauth_description) - 1);
    free(longest);
}

static void test_other_statuses_are_told_apart(void **state)
{
    static const struct {
        uint16_t http;
        enum status status;
        const char *message;
    } rows[] = {{500, STATUS_SERVER_UNAVAILABLE, "status 500"},   {503, STATUS_SERVER_UNAVAILABLE, "status 503"},
                {429, STATUS_SERVER_UNAVAILABLE, "status 429"},   {302, STATUS_SERVER_MISBEHAVED, "redirect (status 302)"},
                {307, STATUS_SERVER_MISBEHAVED, "redirect"},      {404, STATUS_SERVER_MISBEHAVED, "status 404, which is neither 200 nor an OAuth error"},
                {204, STATUS_SERVER_MISBEHAVED, "status 204"},    {201, STATUS_SERVER_MISBEHAVED, "status 201"}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        now += 100 * SECOND;
        start("basic");
        (void)answer(rows[i].http);
        if (rows[i].http == 201) { /* a token in any answer but a 200 is none */
            with_text("access_token", "abc.def");
            with_text("token_type", "DPoP");
        }
        give(call_count - 1);
        assert_failed(rows[i].status, rows[i].message);
        assert_int_equal(result.err.http_status, rows[i].http);
        assert_false(result.granted);
    }
}

static void test_a_body_that_cannot_be_read_is_told_with_its_reason_and_leaves_a_doubt(void **state)
{
    (void)state;
    start("basic");
    answer(200)->answer.json_error = span_text("not an object");
    give(0);
    assert_failed(STATUS_SERVER_MISBEHAVED, "not an object");
    assert_true(result.more.in_doubt); /* a grant was given, and what it was is not known */
    assert_string_equal(result.err.stage, "token request");
    start("basic");
    answer(400)->answer.json_error = span_text("not an object");
    give(1);
    assert_failed(STATUS_SERVER_MISBEHAVED, "status 400, which is neither 200 nor an OAuth error: not an object");
    assert_false(result.more.in_doubt);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_the_request_is_a_form_with_a_proof_for_the_endpoint),
        TEST(test_a_refresh_names_neither_audience_nor_authorization_details),
        TEST(test_what_is_sent_is_the_endpoint_normalised_and_the_proof_says_the_same_without_the_query),
        TEST(test_only_where_dpop_is_optional_and_the_server_does_not_speak_it_there_is_no_proof),
        TEST(test_without_metadata_or_an_endpoint_nothing_is_sent),
        TEST(test_a_key_that_fails_ends_the_exchange_with_its_error_and_nothing_is_sent),
        TEST(test_a_failure_is_handed_on_with_whether_it_leaves_a_doubt),
        TEST(test_an_answer_that_is_no_message_leaves_a_doubt),
        TEST(test_an_oauth_error_is_kept_with_all_its_fields_and_a_next_step),
        TEST(test_what_a_server_says_cannot_bring_control_characters_or_endless_text),
        TEST(test_other_statuses_are_told_apart),
        TEST(test_a_body_that_cannot_be_read_is_told_with_its_reason_and_leaves_a_doubt),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
