/*
 * How an authorization code login ends other than by its answer: the user is too slow, cancels, begins another one; the net
 * process ends; there are too many. test_login_flow.c has the way to the user and back.
 */
#include "login_flow_world.h"

/* To the moment where the user's browser is awaited. */
static void begin_and_show(const char *name)
{
    begin_login(name, false);
    open_listener();
    assert_int_equal(flow.begun, 1);
    if (flow.begin_err.status != STATUS_OK)
        fail_msg("%s", flow.begin_err.message);
    await_end(now + 600 * SECOND);
}

static void assert_ended(enum status status, const char *message)
{
    assert_int_equal(flow.finished, 1);
    if (flow.err.status != status || strstr(flow.err.message, message) == NULL)
        fail_msg("%s: %s", status_name(flow.err.status), flow.err.message);
    assert_int_equal(flow.kept, 0);
}

static size_t count_of(uint16_t operation)
{
    size_t n = 0;
    for (size_t i = 0; i < call_count; i++)
        n += calls[i].operation == operation;
    return n;
}

static void ignore_begun(void *context, const struct error *err, const struct login_begin_answer *a)
{
    (void)context;
    (void)err;
    (void)a;
}

static void answer_with_refresh_token(size_t i)
{
    (void)good_answer();
    with_text("refresh_token", "r1");
    give(i);
}

static void test_a_user_who_is_too_slow_is_told_to_begin_anew(void **state)
{
    (void)state;
    begin_and_show("plain");
    tick(100 * SECOND - 1);
    assert_int_equal(flow.finished, 0);
    tick(1);
    assert_ended(STATUS_LOGIN_REQUIRED, "has not logged in within 100 s");
    assert_true(page_says(false, "has failed"));
    come_back_with(""); /* too late */
    assert_int_equal(flow.finished, 1);
    assert_true(login_flows_waiting(front.login_flows));
    tick(60 * SECOND);
    assert_false(login_flows_waiting(front.login_flows)); /* it is forgotten */
    flow.finished = 0;
    await_end(now + SECOND);
    assert_ended(STATUS_INVALID_ARGUMENT, "no login of this handle");
}

static void test_who_waits_may_wait_in_parts_and_in_company(void **state)
{
    (void)state;
    begin_and_show("plain");
    await_end(now + SECOND);
    await_end(now + SECOND);
    tick(SECOND);
    assert_int_equal(flow.finished, 2);
    assert_int_equal(flow.err.status, STATUS_TIMEOUT);
    come_back_with("");
    answer_with_refresh_token(last(INTERNAL_FETCH));
    assert_int_equal(flow.finished, 3);
    assert_int_equal(flow.err.status, STATUS_OK);
}

static void test_a_login_can_be_cancelled_before_the_user_came_and_while_the_server_answers(void **state)
{
    struct error err;
    (void)state;
    for (int i = 0; i < 2; i++) {
        begin_and_show("plain");
        if (i == 1)
            come_back_with("");
        assert_int_equal(login_flow_cancel(&front, handle(), &err), STATUS_OK);
        assert_ended(STATUS_LOGIN_REQUIRED, "was cancelled");
        assert_int_equal(login_flow_cancel(&front, handle(), &err), STATUS_OK); /* twice is once */
        tick(120 * SECOND); /* what is still to come finds its flow */
        if (i == 1)
            answer_with_refresh_token(last(INTERNAL_FETCH));
        else
            give_trouble(last(INTERNAL_REDIRECT_WAIT), STATUS_TIMEOUT);
        assert_int_equal(flow.finished, 1);
        assert_int_equal(flow.kept, 0);
        tick(SECOND);
        assert_false(login_flows_waiting(front.login_flows));
    }
    assert_int_equal(login_flow_cancel(&front, span_text("no handle"), &err), STATUS_INVALID_ARGUMENT);
}

static void test_a_net_process_that_ends_while_the_user_is_away_ends_the_login(void **state)
{
    (void)state;
    begin_and_show("plain");
    give_trouble(last(INTERNAL_REDIRECT_WAIT), STATUS_RESTARTED);
    assert_ended(STATUS_RESTARTED, "there is no net process");
    begin_login("plain", false);
    give_trouble(last(INTERNAL_REDIRECT_OPEN), STATUS_RESTARTED);
    assert_int_equal(flow.begun, 1);
    assert_int_equal(flow.begin_err.status, STATUS_RESTARTED);
}

static void test_nothing_is_told_before_the_login_is_kept(void **state)
{
    (void)state;
    keep_slowly = true;
    begin_and_show("plain");
    come_back_with("");
    answer_with_refresh_token(last(INTERNAL_FETCH));
    tick(200 * SECOND); /* the user's time is over, but he has come */
    assert_int_equal(flow.finished, 0);
    keep_fails = STATUS_STORE_FAILED;
    finish_keeping();
    assert_int_equal(flow.finished, 1);
    assert_int_equal(flow.err.status, STATUS_STORE_FAILED);
    assert_true(page_says(false, "the store says no"));
}

static void test_only_so_many_logins_are_under_way(void **state)
{
    (void)state;
    for (int i = 0; i < 64; i++) { /* each replaces the one before, whose listener is still to be opened, however */
        begin_login("plain", false);
        assert_int_equal(flow.begun, i == 0 ? 0 : 1);
        if (i > 0)
            assert_non_null(strstr(flow.begin_err.message, "a newer login has replaced this one"));
    }
    begin_login("plain", false);
    assert_int_equal(flow.begun, 1);
    assert_int_equal(flow.begin_err.status, STATUS_BUSY);
    open_listener(); /* the newest of them goes on: who was refused has replaced nobody */
    assert_int_equal(flow.begun, 2);
    assert_int_equal(flow.begin_err.status, STATUS_OK);
}

static void test_a_new_login_ends_an_older_one_of_its_profile_that_has_no_code_yet(void **state)
{
    uint8_t old[LOGIN_HANDLE_SIZE];
    struct flow_result first;
    struct error err;
    (void)state;
    begin_and_show("full");
    begin_and_show("plain");
    memcpy(old, flow.handle, sizeof(old));
    size_t wait = last(INTERNAL_REDIRECT_WAIT);
    await_end(now + 600 * SECOND);
    login_flow_begin(&front, profile("plain"), false, ignore_begun, &first);
    assert_int_equal(flow.finished, 2);
    assert_int_equal(flow.err.status, STATUS_LOGIN_REQUIRED);
    assert_string_equal(flow.err.message, "profile \"plain\": a newer login has replaced this one");
    assert_true(page_says(false, "a newer login has replaced this one"));
    assert_int_equal(login_flow_redirect(&front, span_of(old, sizeof(old)), span_text(REDIRECT "?code=x"), &err),
                     STATUS_INVALID_ARGUMENT);
    size_t closes = count_of(INTERNAL_REDIRECT_CLOSE);
    assert_int_equal(closes, 1); /* the other profile's goes on */
    struct redirect_came m = {.query = span_text("code=late")};
    give_message(wait, &message_redirect_came, &m);
    assert_int_equal(count_of(INTERNAL_FETCH), 0);
}

static void test_a_login_whose_code_has_come_is_not_replaced(void **state)
{
    (void)state;
    begin_and_show("plain");
    come_back_with("");
    struct flow_result second;
    size_t exchange = last(INTERNAL_FETCH);
    login_flow_begin(&front, profile("plain"), false, ignore_begun, &second);
    assert_int_equal(flow.finished, 0);
    answer_with_refresh_token(exchange);
    assert_int_equal(flow.finished, 1);
    assert_int_equal(flow.err.status, STATUS_OK);
    assert_int_equal(flow.kept, 1);
}

static void test_a_login_that_was_replaced_on_its_way_to_the_user_goes_no_further(void **state)
{
    struct flow_result newer;
    (void)state;
    server.pushed_authorization_request_endpoint = (char *)(uintptr_t)"https://as.example/par";
    for (int step = 0; step < 3; step++) {
        begin_login("plain", false);
        size_t open = last(INTERNAL_REDIRECT_OPEN), closes = count_of(INTERNAL_REDIRECT_CLOSE);
        if (step == 2)
            open_listener();
        size_t fetches = count_of(INTERNAL_FETCH), pushed = step == 2 ? last(INTERNAL_FETCH) : 0;
        login_flow_begin(&front, profile("plain"), false, ignore_begun, &newer);
        assert_int_equal(flow.begun, 1);
        assert_non_null(strstr(flow.begin_err.message, "a newer login has replaced this one"));
        struct redirect_opened m = {.listener = LISTENER, .redirect_uri = span_text(REDIRECT)};
        if (step == 0) {
            give_message(open, &message_redirect_opened, &m);
        } else if (step == 1) {
            give_trouble(open, STATUS_RESTARTED);
        } else {
            (void)answer(201);
            with_text("request_uri", "urn:1");
            give(pushed);
        }
        assert_int_equal(count_of(INTERNAL_REDIRECT_CLOSE), closes + (step != 1)); /* a port of the newer one's, perhaps */
        assert_int_equal(count_of(INTERNAL_REDIRECT_WAIT), 0);
        assert_int_equal(count_of(INTERNAL_FETCH), fetches);
        assert_int_equal(flow.begun, 1);
        give_trouble(last(INTERNAL_REDIRECT_OPEN), STATUS_RESTARTED); /* the newer one's */
        tick(61 * SECOND);
        assert_false(login_flows_waiting(front.login_flows)); /* and all are forgotten */
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_flows, close_flows)
    const struct CMUnitTest tests[] = {
        TEST(test_a_user_who_is_too_slow_is_told_to_begin_anew),
        TEST(test_who_waits_may_wait_in_parts_and_in_company),
        TEST(test_a_login_can_be_cancelled_before_the_user_came_and_while_the_server_answers),
        TEST(test_a_net_process_that_ends_while_the_user_is_away_ends_the_login),
        TEST(test_nothing_is_told_before_the_login_is_kept),
        TEST(test_only_so_many_logins_are_under_way),
        TEST(test_a_new_login_ends_an_older_one_of_its_profile_that_has_no_code_yet),
        TEST(test_a_login_whose_code_has_come_is_not_replaced),
        TEST(test_a_login_that_was_replaced_on_its_way_to_the_user_goes_no_further),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
