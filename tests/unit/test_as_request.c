/*
 * One request to an authorization server: what is sent, and what is sent again because of a nonce or the clock. The key and
 * net processes and the clock are the test's; every request calls back exactly once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "as_request.h"
#include "front_world.h"

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile basic]\nkey = k\ntoken-endpoint = " ENDPOINT "\nclient-id = app 1\nclient-secret-file = /s\norigins = https://a\n"
    "[profile jwt]\nkey = k\nissuer = https://as.example/tenant\ntoken-endpoint = " ENDPOINT "\nclient-id = app\n"
    "client-authentication = private_key_jwt\nclient-key = other\norigins = https://a\n"
    "[profile public]\nkey = other\ntoken-endpoint = " ENDPOINT "\nclient-id = app\nclient-authentication = none\norigins = https://a\n"
    "[profile tls]\nkey = k\ntoken-endpoint = " ENDPOINT "\nclient-id = app\nclient-authentication = tls_client_auth\n"
    "client-key = other\nclient-certificate-file = /c\norigins = https://a\n"
    "[profile grant]\nkey = k\nissuer = https://as.example/tenant\ntoken-endpoint = " ENDPOINT "\nclient-id = app\n"
    "client-secret-file = /s\norigins = https://a\ngrant = jwt-bearer\nassertion-subject = robot\nassertion-key = other\n";

static struct result {
    unsigned int calls;
    struct error err;
    uint16_t http_status;
    struct as_result more;
} result;

static void on_done(void *context, const struct error *err, const struct fetch_answer *a, const struct as_result *more)
{
    assert_ptr_equal(context, &result);
    result.calls++;
    result.err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    result.http_status = err == NULL ? a->http_status : 0;
    result.more = *more;
}

static void begin(const char *name, bool precious)
{
    struct as_request r = {.profile = profile(name), .server = &server, .endpoint = ENDPOINT, .stage = "token request",
                           .form = span_text("grant_type=x&secret=precious"), .dpop = true, .precious = precious,
                           .grant_assertion = strcmp(name, "grant") == 0, .deadline = now + 30 * SECOND};
    result = (struct result){0};
    as_request_send(&front, &r, on_done, &result);
}

static void assert_failed(enum status status, const char *message)
{
    assert_int_equal(result.calls, 1);
    if (result.err.status != status || strstr(result.err.message, message) == NULL)
        fail_msg("%s: %s", status_name(result.err.status), result.err.message);
    assert_string_not_equal(result.err.stage, "");
}

static void assert_answered(uint16_t http_status)
{
    assert_int_equal(result.calls, 1);
    if (result.err.status != STATUS_OK)
        fail_msg("%s", result.err.message);
    assert_int_equal(result.http_status, http_status);
    assert_true(result.more.answered && !result.more.in_doubt);
}

static int64_t iat(size_t i)
{
    return number(claims_of(calls[i].dpop), "iat");
}

static const char *nonce_of(size_t i)
{
    return member(claims_of(calls[i].dpop), "nonce");
}

/* Every send has a proof, and an assertion, that none before had. */
static void assert_all_different(void)
{
    char seen[256][64];
    size_t n = 0;
    for (size_t i = 0; i < call_count; i++) {
        const char *assertion = form_value(&calls[i], "client_assertion"), *grant = form_value(&calls[i], "assertion");
        const char *jws[] = {calls[i].dpop, assertion, grant};
        for (size_t j = 0; j < 3; j++) {
            if (jws[j] == NULL)
                continue;
            assert_true(n < 256);
            copy_text(span_text(member(claims_of(jws[j]), "jti")), seen[n], sizeof(seen[n]));
            for (size_t k = 0; k < n; k++)
                assert_string_not_equal(seen[k], seen[n]);
            n++;
        }
    }
}

static int open_world(void **state)
{
    (void)state;
    return open_front(text);
}

static int close_world(void **state)
{
    (void)state;
    close_front();
    return 0;
}

/* --- client authentication --- */

static void test_each_client_authentication_adds_what_is_its_own_to_the_form(void **state)
{
    (void)state;
    begin("basic", false);
    assert_string_equal(calls[0].form, "grant_type=x&secret=precious");
    assert_true(calls[0].authenticates);
    begin("public", false);
    assert_string_equal(calls[1].form, "grant_type=x&secret=precious&client_id=app");
    begin("tls", false);
    assert_string_equal(calls[2].form, "grant_type=x&secret=precious&client_id=app");
    assert_int_equal(calls[2].role, ROLE_NET_TLS);
    assert_true(calls[2].authenticates);
    begin("jwt", false);
    assert_int_equal(calls[3].role, ROLE_NET);
    assert_string_equal(form_value(&calls[3], "client_id"), "app");
    assert_string_equal(form_value(&calls[3], "client_assertion_type"),
                        "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer");
    const char *claims = claims_of(form_value(&calls[3], "client_assertion"));
    assert_string_equal(member(claims, "iss"), "app");
    assert_string_equal(member(claims, "sub"), "app");
    assert_string_equal(member(claims, "aud"), "https://as.example/tenant");
}

static void test_a_grants_assertion_is_ours_for_its_subject_and_signed_by_its_key(void **state)
{
    (void)state;
    begin("grant", false);
    assert_int_equal(key("other")->signatures, 1);
    const char *claims = claims_of(form_value(&calls[0], "assertion"));
    assert_string_equal(member(claims, "iss"), "app");
    assert_string_equal(member(claims, "sub"), "robot");
    assert_string_equal(member(claims, "aud"), "https://as.example/tenant");
    assert_null(form_value(&calls[0], "client_assertion"));
}

static void test_a_tls_key_has_shown_that_it_works_before_its_net_process_is_asked(void **state)
{
    (void)state;
    key("other")->fails = STATUS_KEY_LOCKED;
    begin("tls", false);
    assert_failed(STATUS_KEY_LOCKED, "key \"other\" fails");
    assert_int_equal(call_count, 0);
    assert_false(result.more.in_doubt);
}

static void test_a_key_that_fails_ends_the_request_and_nothing_is_sent(void **state)
{
    (void)state;
    key("k")->fails = STATUS_KEY_ABSENT;
    begin("basic", true);
    assert_failed(STATUS_KEY_ABSENT, "key \"k\" fails");
    assert_false(result.more.in_doubt);
    key("k")->fails = STATUS_OK;
    key("other")->fails = STATUS_KEY_LOCKED;
    begin("jwt", true);
    assert_failed(STATUS_KEY_LOCKED, "key \"other\" fails");
    begin("grant", true);
    assert_failed(STATUS_KEY_LOCKED, "key \"other\" fails");
    assert_int_equal(call_count, 0);
    for (int i = 0; i < 40; i++) { /* and gives its turn back */
        now += SECOND / 10;
        begin("jwt", false);
        assert_failed(STATUS_KEY_LOCKED, "key \"other\" fails");
    }
    begin("basic", false);
    assert_int_equal(call_count, 1);
}

/* --- nonces --- */

static void test_a_nonce_challenge_is_answered_once_with_that_nonce_and_everything_else_new(void **state)
{
    (void)state;
    begin("jwt", false);
    assert_null(nonce_of(0));
    challenge(0, "nonce-1");
    assert_int_equal(result.calls, 0);
    assert_int_equal(call_count, 2);
    assert_string_equal(nonce_of(1), "nonce-1");
    assert_string_equal(form_value(&calls[1], "secret"), "precious");
    assert_all_different();
    (void)good_answer();
    give(1);
    assert_answered(200);
    assert_true(result.more.nonces);
    assert_string_equal(result.more.jkt, JKT);
}

static void test_a_server_that_asks_for_a_new_nonce_for_ever_is_sent_two_requests(void **state)
{
    (void)state;
    begin("jwt", false);
    challenge(0, "nonce-1");
    challenge(1, "nonce-2");
    assert_failed(STATUS_SERVER_MISBEHAVED, "again and again");
    assert_true(result.more.answered);
    assert_int_equal(result.err.http_status, 400);
    assert_string_equal(result.err.oauth_error, "use_dpop_nonce");
    assert_int_equal(call_count, 2);
    begin("jwt", false);
    assert_string_equal(nonce_of(2), "nonce-2"); /* for the next one */
}

static void test_the_nonce_that_was_just_refused_is_not_tried_again(void **state)
{
    (void)state;
    begin("basic", false);
    challenge(0, "same");
    challenge(1, "same");
    assert_failed(STATUS_SERVER_MISBEHAVED, "refuses the DPoP nonce that it issued itself");
    assert_int_equal(call_count, 2);
    begin("basic", false);
    challenge(2, "same");
    assert_failed(STATUS_SERVER_MISBEHAVED, "refuses the DPoP nonce that it issued itself");
    assert_int_equal(call_count, 3);
}

static void test_a_challenge_without_a_usable_nonce_is_not_answered(void **state)
{
    struct span two[] = {span_text("one"), span_text("two")}, bad[] = {span_text("with blank"), span_text("quo\"te"), span_text("")};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        begin("basic", false);
        (void)answer(400);
        with_error("use_dpop_nonce");
        if (i == 0)
            with_nonces(two, 2);
        else if (i < 4)
            with_nonces(&bad[i - 1], 1);
        give(i);
        assert_failed(STATUS_SERVER_MISBEHAVED, "sends none that may be used");
        assert_int_equal(call_count, i + 1);
    }
    assert_null(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT));
}

static void test_a_nonce_is_learned_from_any_answer(void **state)
{
    static const uint16_t statuses[] = {200, 500, 302};
    static const char *const nonces[] = {"from-200", "from-500", "from-302"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        begin("basic", false);
        (void)answer(statuses[i]);
        with_error("use_dpop_nonce"); /* but only a 400 or 401 asks for one */
        with_nonce(nonces[i]);
        give(i);
        assert_answered(statuses[i]);
        assert_string_equal(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT), nonces[i]);
        assert_null(nonce_get(front.nonces, NONCE_RESOURCE_SERVER, ORIGIN, JKT));
        assert_null(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, OTHER_JKT));
    }
    assert_string_equal(nonce_of(1), "from-200");
}

static void test_the_resource_servers_form_of_a_challenge_is_understood_too(void **state)
{
    struct span challenges[] = {span_text("Basic realm=\"x\", DPoP algs=\"ES256\", error=\"use_dpop_nonce\"")};
    (void)state;
    begin("basic", false);
    (void)answer(401);
    next.answer.challenges = (struct list){.items = challenges, .count = 1};
    with_nonce("n");
    give(0);
    assert_int_equal(call_count, 2);
    assert_string_equal(nonce_of(1), "n");
}

/* --- the clock --- */

static void reject_clock(size_t i, int64_t ahead)
{
    (void)answer(400);
    with_error("invalid_dpop_proof");
    with_date(ahead);
    give(i);
}

static void test_an_iat_rejection_is_answered_once_with_the_servers_time_in_proof_and_assertion(void **state)
{
    (void)state;
    for (int sign = 0; sign < 2; sign++) {
        int64_t ahead = sign == 0 ? 600 : -600;
        size_t first = call_count;
        begin("jwt", false);
        reject_clock(first, ahead);
        assert_int_equal(call_count, first + 2);
        assert_in_range(iat(first + 1) - (int64_t)time(NULL) - ahead + 5, 0, 10);
        const char *claims = claims_of(form_value(&calls[first + 1], "client_assertion"));
        assert_in_range(number(claims, "iat") - (int64_t)time(NULL) - ahead + 5, 0, 10);
        assert_int_equal(number(claims, "exp") - number(claims, "iat"), 60);
        reject_clock(first + 1, ahead);
        assert_answered(400);
        assert_int_equal(call_count, first + 2);
    }
    assert_all_different();
    begin("jwt", false); /* it is remembered */
    assert_in_range(iat(call_count - 1) - (int64_t)time(NULL) + 600 + 5, 0, 10);
}

static void test_a_rejection_by_a_server_whose_clock_agrees_is_no_reason_to_send_again(void **state)
{
    static const int64_t ahead[] = {0, 3, -3, 7200, -7200}; /* the last two are beyond max-clock-skew */
    (void)state;
    for (size_t i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++) {
        begin("basic", false);
        reject_clock(i, ahead[i]);
        assert_answered(400);
        assert_int_equal(call_count, i + 1);
    }
    begin("basic", false);
    (void)answer(400);
    with_error("invalid_dpop_proof"); /* without a Date */
    give(5);
    assert_answered(400);
}

static void test_only_what_may_be_the_clocks_fault_is_sent_again(void **state)
{
    static const struct {
        const char *profile, *error, *description;
        uint16_t status;
        size_t sends;
    } rows[] = {{"basic", "invalid_dpop_proof", NULL, 401, 2},
                {"basic", "invalid_dpop_proof", NULL, 403, 1},
                {"basic", "invalid_request", "bad DPoP iat", 400, 2},
                {"basic", "invalid_request", "redirect_uri", 400, 1},
                {"basic", "invalid_request", NULL, 400, 1},
                {"basic", "invalid_client", NULL, 401, 1},
                {"jwt", "invalid_client", NULL, 401, 2},
                {"basic", "invalid_grant", NULL, 400, 1},
                {"grant", "invalid_grant", NULL, 400, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t first = call_count;
        begin(rows[i].profile, false);
        (void)answer(rows[i].status);
        with_error(rows[i].error);
        if (rows[i].description != NULL)
            with_text("error_description", rows[i].description);
        with_date(100 + 100 * (int64_t)i);
        give(first);
        assert_int_equal(call_count, first + rows[i].sends);
        assert_int_equal(result.calls, rows[i].sends == 1 ? 1 : 0);
    }
}

static void test_a_nonce_and_the_clock_together_cost_three_requests_at_most(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        size_t first = call_count;
        int64_t ahead = order == 0 ? 600 : -600;
        begin("jwt", false);
        if (order == 0)
            challenge(first, "n-1");
        else
            reject_clock(first, ahead);
        if (order == 0)
            reject_clock(first + 1, ahead);
        else
            challenge(first + 1, "n-2");
        assert_int_equal(call_count, first + 3);
        assert_string_equal(nonce_of(first + 2), order == 0 ? "n-1" : "n-2");
        assert_in_range(iat(first + 2) - (int64_t)time(NULL) - ahead + 5, 0, 10);
        reject_clock(first + 2, 0);
        assert_answered(400);
        assert_int_equal(call_count, first + 3);
    }
    assert_all_different();
}

/* --- what comes back --- */

static void test_whether_the_request_may_have_been_sent_is_told(void **state)
{
    (void)state;
    begin("basic", true);
    give_failure(0, STATUS_SERVER_UNREACHABLE, false);
    assert_failed(STATUS_SERVER_UNREACHABLE, "the net process says no");
    assert_false(result.more.in_doubt);
    assert_false(result.more.answered);
    begin("basic", true);
    give_failure(1, STATUS_TIMEOUT, true);
    assert_failed(STATUS_TIMEOUT, "the net process says no");
    assert_true(result.more.in_doubt && !result.more.answered);
}

static void test_a_net_process_that_ended_or_wrote_nonsense_leaves_it_in_doubt(void **state)
{
    struct error_message nonsense = {.status = 1};
    (void)state;
    begin("basic", true);
    give_trouble(0, STATUS_RESTARTED);
    assert_failed(STATUS_RESTARTED, "no net process");
    assert_true(result.more.in_doubt);
    begin("basic", true);
    call_done done = calls[1].done;
    calls[1].done = NULL;
    done(calls[1].context, NULL, span_of("\0", 1));
    assert_failed(STATUS_MALFORMED, "");
    assert_true(result.more.in_doubt);
    begin("basic", true);
    struct fetch_answer a = {.failure = span_of(&nonsense, 1)};
    give_message(2, &message_fetch_answer, &a);
    assert_failed(STATUS_INTERNAL, "no reason for a failure");
    assert_true(result.more.in_doubt);
    begin("basic", true);
    give_failure(3, STATUS_OK, false); /* a failure that is none */
    assert_failed(STATUS_INTERNAL, "");
    assert_true(result.more.in_doubt);
}

static void test_an_endpoint_that_is_no_url_is_an_error(void **state)
{
    struct as_request r = {.profile = profile("basic"), .server = &server, .endpoint = "nonsense", .stage = "revocation",
                           .form = span_text("a=b"), .deadline = now + SECOND};
    (void)state;
    result = (struct result){0};
    as_request_send(&front, &r, on_done, &result);
    assert_int_equal(result.calls, 1);
    assert_int_not_equal(result.err.status, STATUS_OK);
    assert_string_equal(result.err.stage, "revocation");
    assert_int_equal(call_count, 0);
}

static void test_a_request_without_a_proof_asks_no_key_and_takes_no_challenge(void **state)
{
    struct as_request r = {.profile = profile("basic"), .server = &server, .endpoint = ENDPOINT, .stage = "revocation",
                           .form = span_text("a=b"), .deadline = now + SECOND};
    (void)state;
    result = (struct result){0};
    as_request_send(&front, &r, on_done, &result);
    assert_null(calls[0].dpop);
    assert_int_equal(key("k")->signatures, 0);
    challenge(0, "n");
    assert_answered(400);
    assert_string_equal(result.more.jkt, "");
    assert_null(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT));
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_each_client_authentication_adds_what_is_its_own_to_the_form),
        TEST(test_a_grants_assertion_is_ours_for_its_subject_and_signed_by_its_key),
        TEST(test_a_tls_key_has_shown_that_it_works_before_its_net_process_is_asked),
        TEST(test_a_key_that_fails_ends_the_request_and_nothing_is_sent),
        TEST(test_a_nonce_challenge_is_answered_once_with_that_nonce_and_everything_else_new),
        TEST(test_a_server_that_asks_for_a_new_nonce_for_ever_is_sent_two_requests),
        TEST(test_the_nonce_that_was_just_refused_is_not_tried_again),
        TEST(test_a_challenge_without_a_usable_nonce_is_not_answered),
        TEST(test_a_nonce_is_learned_from_any_answer),
        TEST(test_the_resource_servers_form_of_a_challenge_is_understood_too),
        TEST(test_an_iat_rejection_is_answered_once_with_the_servers_time_in_proof_and_assertion),
        TEST(test_a_rejection_by_a_server_whose_clock_agrees_is_no_reason_to_send_again),
        TEST(test_only_what_may_be_the_clocks_fault_is_sent_again),
        TEST(test_a_nonce_and_the_clock_together_cost_three_requests_at_most),
        TEST(test_whether_the_request_may_have_been_sent_is_told),
        TEST(test_a_net_process_that_ended_or_wrote_nonsense_leaves_it_in_doubt),
        TEST(test_an_endpoint_that_is_no_url_is_an_error),
        TEST(test_a_request_without_a_proof_asks_no_key_and_takes_no_challenge),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
