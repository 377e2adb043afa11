/* The device authorization grant of a login (RFC 8628): what the user is shown, and how often the server is asked. */
#include "login_flow_world.h"

/* Device authorization answered; `interval` and `expires_in` 0: not named. */
static void begin_device(const char *name, int64_t interval, int64_t expires_in)
{
    begin_login(name, true);
    (void)answer(200);
    with_text("device_code", "d-1");
    with_text("user_code", "ABCD-EFGH");
    with_text("verification_uri", "https://as.example/go");
    with_text("verification_uri_complete", "https://as.example/go?c=ABCD-EFGH");
    if (interval != 0)
        with_member("interval", JSON_KIND_INTEGER, NULL, interval);
    if (expires_in != 0)
        with_member("expires_in", JSON_KIND_INTEGER, NULL, expires_in);
    give(last(INTERNAL_FETCH));
    assert_int_equal(flow.begun, 1);
    if (flow.begin_err.status != STATUS_OK)
        fail_msg("%s", flow.begin_err.message);
    await_end(now + 7200 * SECOND);
}

/* Seconds until the next poll. */
static unsigned int wait_for_poll(void)
{
    size_t before = call_count;
    unsigned int seconds = 0;
    while (call_count == before) {
        assert_true(seconds++ < 4000);
        tick(SECOND);
    }
    assert_string_equal(form_value(&calls[before], "device_code"), "d-1");
    return seconds;
}

static void answer_error(const char *error)
{
    (void)answer(400);
    with_error(error);
    give(call_count - 1);
}

static void assert_ended(enum status status, const char *message)
{
    assert_int_equal(flow.finished, 1);
    if (flow.err.status != status || strstr(flow.err.message, message) == NULL)
        fail_msg("%s: %s", status_name(flow.err.status), flow.err.message);
    assert_int_equal(flow.kept, 0);
}

static void on_old_finished(void *context, const struct error *err, const struct login_wait_answer *a)
{
    (void)context;
    (void)a;
    assert_non_null(err);
    assert_non_null(strstr(err->message, "a newer login has replaced this one"));
}

static void test_the_user_is_shown_the_code_and_the_server_asked_until_he_has_come(void **state)
{
    (void)state;
    begin_device("device", 3, 600);
    assert_string_equal(calls[0].url, "https://as.example/device");
    assert_string_equal(calls[0].form, "scope=a&x=y&client_id=app");
    assert_null(calls[0].dpop);
    assert_string_equal(flow.url, "(absent)");
    assert_string_equal(flow.user_code, "ABCD-EFGH");
    assert_string_equal(flow.verification_uri, "https://as.example/go");
    assert_string_equal(flow.complete, "https://as.example/go?c=ABCD-EFGH");
    assert_int_equal(flow.expires_in, 600);
    char jti[4][64];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wait_for_poll(), 3);
        const struct call *c = &calls[call_count - 1];
        assert_string_equal(form_value(c, "grant_type"), "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code");
        copy_text(span_text(member(claims_of(c->dpop), "jti")), jti[i], sizeof(jti[i]));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(jti[i], jti[k]);
        if (i < 3)
            answer_error("authorization_pending");
    }
    (void)good_answer();
    with_text("refresh_token", "r1");
    give(call_count - 1);
    assert_int_equal(flow.finished, 1);
    assert_int_equal(flow.err.status, STATUS_OK);
    assert_string_equal(flow.kept_token, "r1");
    assert_string_equal(flow.scope, "a");
}

static void test_without_an_interval_it_is_five_seconds_and_a_long_one_is_honoured(void **state)
{
    (void)state;
    begin_device("device", 0, 0);
    assert_int_equal(wait_for_poll(), 5);
    begin_device("device", -4, 0);
    assert_int_equal(wait_for_poll(), 5);
    begin_device("device", 120, 3600);
    assert_int_equal(wait_for_poll(), 120);
    give_failure(call_count - 1, STATUS_TIMEOUT, true);
    assert_int_equal(wait_for_poll(), 120); /* no time-out makes it shorter */
}

static void test_the_servers_time_alone_is_the_users(void **state)
{
    static const struct {
        const char *profile; /* login-timeout of "device" is 3,600 s, of "plain" 100 s */
        int64_t expires_in;
        uint32_t wanted;
    } rows[] = {{"device", 0, 600},     {"plain", 0, 600},     {"device", 60, 60},         {"plain", 1800, 1800},
                {"device", -60, 600},   {"plain", 3600, 3600}, {"plain", 3601, 3600},      {"device", INT64_MAX, 3600}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char message[64];
        begin_device(rows[i].profile, 3600, rows[i].expires_in);
        assert_int_equal(flow.expires_in, rows[i].wanted);
        tick(rows[i].wanted * SECOND - 1);
        assert_int_equal(flow.finished, 0);
        tick(1);
        (void)snprintf(message, sizeof(message), "has not logged in within %u s", rows[i].wanted);
        assert_ended(STATUS_LOGIN_REQUIRED, message);
    }
}

static void test_the_name_that_a_draft_gave_the_verification_uri_is_understood(void **state)
{
    (void)state;
    begin_login("device", true);
    (void)answer(200);
    with_text("device_code", "d-1");
    with_text("user_code", "ABCD");
    with_text("verification_url", "https://www.google.com/device");
    give(last(INTERNAL_FETCH));
    assert_int_equal(flow.begin_err.status, STATUS_OK);
    assert_string_equal(flow.verification_uri, "https://www.google.com/device");
    begin_login("device", true);
    (void)answer(200);
    with_text("device_code", "d-1");
    with_text("user_code", "ABCD");
    with_text("verification_url", "javascript:alert(1)");
    give(last(INTERNAL_FETCH));
    assert_int_equal(flow.begin_err.status, STATUS_SERVER_MISBEHAVED);
}

static void test_an_agent_that_ends_polls_no_more(void **state)
{
    (void)state;
    begin_device("device", 5, 0);
    size_t count = call_count;
    front.ending = true;
    tick(30 * SECOND);
    assert_int_equal(call_count, count);
    assert_false(login_flows_busy(front.login_flows));
}

static void test_a_new_login_ends_the_polls_of_the_one_before(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) { /* between polls; during one */
        uint8_t old[LOGIN_HANDLE_SIZE];
        begin_device("device", 5, 0);
        if (i == 1)
            (void)wait_for_poll();
        size_t poll = call_count - 1;
        memcpy(old, flow.handle, sizeof(old));
        begin_device("device", 3600, 3600);
        if (i == 1) {
            (void)good_answer();
            give(poll);
            assert_int_equal(flow.kept, 0); /* the user was told that it is over */
        }
        size_t count = call_count;
        tick(30 * SECOND);
        assert_int_equal(call_count, count);
        flow.finished = 0;
        login_flow_wait(&front, span_of(old, sizeof(old)), now + SECOND, on_old_finished, &flow);
    }
}

static void test_slow_down_adds_five_seconds_each_time(void **state)
{
    (void)state;
    begin_device("device", 5, 0);
    for (unsigned int i = 0; i < 13; i++) {
        assert_int_equal(wait_for_poll(), 5 + 5 * i);
        answer_error("slow_down");
    }
    assert_int_equal(wait_for_poll(), 70);
    answer_error("authorization_pending");
    assert_int_equal(wait_for_poll(), 70);
}

static void test_after_time_outs_it_is_asked_more_seldom_but_goes_on(void **state)
{
    (void)state;
    begin_device("device", 5, 0);
    assert_int_equal(wait_for_poll(), 5);
    give_failure(call_count - 1, STATUS_TIMEOUT, true);
    assert_int_equal(wait_for_poll(), 10);
    give_failure(call_count - 1, STATUS_SERVER_UNREACHABLE, false);
    assert_int_equal(wait_for_poll(), 20);
    give_trouble(call_count - 1, STATUS_RESTARTED);
    assert_int_equal(wait_for_poll(), 40);
    (void)answer(503);
    give(call_count - 1);
    assert_int_equal(wait_for_poll(), 60);
    give_failure(call_count - 1, STATUS_TIMEOUT, true);
    assert_in_range(wait_for_poll(), 60, 60);
    assert_int_equal(flow.finished, 0);
}

static void test_the_users_no_and_an_expired_code_end_it(void **state)
{
    static const struct {
        const char *error;
        enum status status;
        const char *message;
    } rows[] = {{"access_denied", STATUS_SERVER_REFUSED, "access_denied"},
                {"expired_token", STATUS_LOGIN_REQUIRED, "has not confirmed the code in time"},
                {"invalid_grant", STATUS_SERVER_REFUSED, "invalid_grant"}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        begin_device("device", 5, 0);
        (void)wait_for_poll();
        answer_error(rows[i].error);
        assert_ended(rows[i].status, rows[i].message);
        size_t count = call_count;
        tick(60 * SECOND);
        assert_int_equal(call_count, count);
    }
}

static void test_a_nonce_challenge_is_part_of_one_poll(void **state)
{
    (void)state;
    begin_device("device", 5, 0);
    (void)wait_for_poll();
    challenge(call_count - 1, "n-1");
    assert_string_equal(member(claims_of(calls[call_count - 1].dpop), "nonce"), "n-1");
    answer_error("authorization_pending");
    assert_int_equal(wait_for_poll(), 5);
    assert_string_equal(member(claims_of(calls[call_count - 1].dpop), "nonce"), "n-1");
}

static void test_at_the_codes_end_it_is_over(void **state)
{
    (void)state;
    begin_device("device", 5, 60);
    for (int i = 0; i < 11; i++) {
        (void)wait_for_poll();
        answer_error("authorization_pending");
    }
    tick(5 * SECOND);
    assert_ended(STATUS_LOGIN_REQUIRED, "has not logged in");
    size_t count = call_count;
    tick(30 * SECOND);
    assert_int_equal(call_count, count);
}

static void test_a_poll_that_is_under_way_at_the_end_may_still_bring_the_token(void **state)
{
    (void)state;
    begin_device("device", 5, 60);
    (void)wait_for_poll();
    tick(60 * SECOND);
    assert_int_equal(flow.finished, 0);
    (void)good_answer();
    give(call_count - 1);
    assert_int_equal(flow.err.status, STATUS_OK);
    assert_int_equal(flow.kept, 1);
}

static void test_it_can_be_cancelled_between_polls_and_during_one(void **state)
{
    struct error err;
    (void)state;
    for (int i = 0; i < 2; i++) {
        begin_device("device", 5, 0);
        if (i == 1)
            (void)wait_for_poll();
        assert_int_equal(login_flow_cancel(&front, handle(), &err), STATUS_OK);
        assert_ended(STATUS_LOGIN_REQUIRED, "was cancelled");
        size_t count = call_count;
        if (i == 1) {
            (void)good_answer();
            give(call_count - 1);
        }
        tick(61 * SECOND);
        assert_int_equal(call_count, count);
        assert_int_equal(flow.kept, 0);
        assert_false(login_flows_waiting(front.login_flows));
    }
}

static void test_a_device_authorization_that_is_refused_or_of_no_use_is_told(void **state)
{
    (void)state;
    for (int i = 0; i < 7; i++) {
        begin_login("device", false);
        (void)answer(i == 0 ? 400 : 200);
        if (i == 0)
            with_error("invalid_client");
        if (i != 1)
            with_text("device_code", i == 5 ? "" : "d-1");
        if (i != 2)
            with_text("user_code", i == 6 ? "bad\x1b[1m" : "ABCD");
        if (i != 3)
            with_text("verification_uri", i == 4 ? "https://as.example/\n" : "https://as.example/go");
        give(call_count - 1);
        assert_int_equal(flow.begun, 1);
        assert_int_equal(flow.begin_err.status, i == 0 ? STATUS_SERVER_REFUSED : STATUS_SERVER_MISBEHAVED);
        assert_string_equal(flow.begin_err.stage, "device authorization");
    }
    server.device_authorization_endpoint = NULL;
    begin_login("device", false);
    assert_non_null(strstr(flow.begin_err.message, "no device_authorization_endpoint"));
    assert_string_equal(flow.begin_err.stage, "discovery");
}

static void test_a_profile_with_a_browser_may_be_logged_in_by_a_device(void **state)
{
    struct error err;
    (void)state;
    begin_device("pushed", 5, 0);
    assert_string_equal(form_value(&calls[0], "client_id"), "app");
    assert_int_equal(login_flow_redirect(&front, handle(), span_text("http://127.0.0.1/?code=1"), &err), STATUS_INVALID_ARGUMENT);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_flows, close_flows)
    const struct CMUnitTest tests[] = {
        TEST(test_the_user_is_shown_the_code_and_the_server_asked_until_he_has_come),
        TEST(test_without_an_interval_it_is_five_seconds_and_a_long_one_is_honoured),
        TEST(test_the_servers_time_alone_is_the_users),
        TEST(test_the_name_that_a_draft_gave_the_verification_uri_is_understood),
        TEST(test_an_agent_that_ends_polls_no_more),
        TEST(test_a_new_login_ends_the_polls_of_the_one_before),
        TEST(test_slow_down_adds_five_seconds_each_time),
        TEST(test_after_time_outs_it_is_asked_more_seldom_but_goes_on),
        TEST(test_the_users_no_and_an_expired_code_end_it),
        TEST(test_a_nonce_challenge_is_part_of_one_poll),
        TEST(test_at_the_codes_end_it_is_over),
        TEST(test_a_poll_that_is_under_way_at_the_end_may_still_bring_the_token),
        TEST(test_it_can_be_cancelled_between_polls_and_during_one),
        TEST(test_a_device_authorization_that_is_refused_or_of_no_use_is_told),
        TEST(test_a_profile_with_a_browser_may_be_logged_in_by_a_device),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
