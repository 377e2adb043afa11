/*
 * When a request to an authorization server is sent: not before a fresh nonce is there, if what it carries could be spent by a
 * challenge; not while the server is in back-off; not more of them at a time than a server is asked to bear.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "as_request.h"
#include "front_world.h"
#include "pace.h"

#define MANY 4096
#define OF_PROFILE 8 /* requests of one profile that are under way at most */

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile basic]\nkey = k\ntoken-endpoint = " ENDPOINT "\nclient-id = app 1\nclient-secret-file = /s\norigins = https://a\n"
    "[profile jwt]\nkey = k\nissuer = https://as.example/tenant\ntoken-endpoint = " ENDPOINT "\nclient-id = app\n"
    "client-authentication = private_key_jwt\nclient-key = other\norigins = https://a\n"
    "[profile second]\nkey = other\ntoken-endpoint = " ENDPOINT "\nclient-id = app\nclient-authentication = none\norigins = https://a\n";

struct result {
    unsigned int calls, turn; /* turn: how many were called before it */
    struct error err;
    struct as_result more;
    bool again; /* asks again from its callback */
};
static struct result result, many[MANY];
static unsigned int turns;

static void begin_as(struct result *r, const char *name, const char *endpoint, bool precious, uint64_t deadline);

static void on_done(void *context, const struct error *err, const struct fetch_answer *a, const struct as_result *more)
{
    struct result *r = context;
    (void)a;
    r->calls++;
    r->turn = turns++;
    r->err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    r->more = *more;
    if (r->again) {
        r->again = false;
        begin_as(r, "basic", ENDPOINT, false, now + 30 * SECOND);
    }
}

static void begin_as(struct result *r, const char *name, const char *endpoint, bool precious, uint64_t deadline)
{
    struct as_request q = {.profile = profile(name), .server = &server, .endpoint = endpoint, .stage = "refresh",
                           .form = span_text("secret=precious"), .dpop = true, .precious = precious, .deadline = deadline};
    as_request_send(&front, &q, on_done, r);
}

static void begin(const char *name, bool precious)
{
    result = (struct result){0};
    begin_as(&result, name, ENDPOINT, precious, now + 30 * SECOND);
}

static void assert_failed(const struct result *r, enum status status, const char *message)
{
    assert_int_equal(r->calls, 1);
    if (r->err.status != status || strstr(r->err.message, message) == NULL)
        fail_msg("%s: %s", status_name(r->err.status), r->err.message);
    assert_string_equal(r->err.stage, "refresh");
}

static void answer_well(size_t i)
{
    (void)good_answer();
    give(i);
}

static bool is_probe(size_t i)
{
    return form_value(&calls[i], "secret") == NULL;
}

static int open_world(void **state)
{
    (void)state;
    turns = 0;
    memset(many, 0, sizeof(many));
    return open_front(text);
}

static int close_world(void **state)
{
    (void)state;
    close_front();
    return 0;
}

/* --- the probe --- */

/* The server asks for nonces from now on. */
static void learn_that_nonces_are_asked_for(const char *name)
{
    size_t first = call_count;
    begin(name, false);
    challenge(first, "n-1");
    answer_well(first + 1);
    assert_int_equal(result.err.status, STATUS_OK);
}

static void test_a_precious_request_waits_for_a_fresh_nonce_if_the_server_asks_for_nonces(void **state)
{
    (void)state;
    learn_that_nonces_are_asked_for("jwt");
    now += 21 * SECOND;
    begin("jwt", true);
    assert_int_equal(call_count, 3);
    assert_true(is_probe(2));
    assert_null(strstr(calls[2].form, "precious"));
    assert_string_equal(form_value(&calls[2], "grant_type"), "refresh_token");
    assert_int_equal(strlen(form_value(&calls[2], "refresh_token")), base64url_length(24));
    assert_non_null(form_value(&calls[2], "client_assertion"));
    (void)answer(400);
    with_error("invalid_grant");
    with_nonce("n-2");
    give(2);
    assert_int_equal(call_count, 4);
    assert_false(is_probe(3));
    assert_string_equal(member(claims_of(calls[3].dpop), "nonce"), "n-2");
    assert_string_not_equal(member(claims_of(calls[3].dpop), "jti"), member(claims_of(calls[2].dpop), "jti"));
    assert_string_not_equal(member(claims_of(form_value(&calls[3], "client_assertion")), "jti"),
                            member(claims_of(form_value(&calls[2], "client_assertion")), "jti"));
    answer_well(3);
    assert_int_equal(result.err.status, STATUS_OK);
    assert_true(result.more.nonces);
}

static void test_no_probe_is_sent_while_the_nonce_is_fresh_or_nothing_precious_goes_with_it(void **state)
{
    (void)state;
    begin("basic", true); /* a server of which nothing is known */
    assert_false(is_probe(0));
    answer_well(0);
    learn_that_nonces_are_asked_for("basic");
    now += 20 * SECOND;
    begin("basic", true);
    assert_false(is_probe(call_count - 1));
    answer_well(call_count - 1);
    now += SECOND;
    begin("basic", false);
    assert_false(is_probe(call_count - 1));
    answer_well(call_count - 1);
    begin("basic", true);
    assert_true(is_probe(call_count - 1));
}

static void test_a_server_that_asked_for_nonces_before_the_agent_started_gets_a_probe(void **state)
{
    struct as_request q = {.profile = profile("basic"), .server = &server, .endpoint = ENDPOINT, .stage = "refresh",
                           .form = span_text("secret=precious"), .dpop = true, .precious = true, .nonces = true,
                           .deadline = now + SECOND};
    (void)state;
    result = (struct result){0};
    as_request_send(&front, &q, on_done, &result);
    assert_true(is_probe(0));
    challenge(0, "n-1");
    assert_string_equal(member(claims_of(calls[1].dpop), "nonce"), "n-1");
    assert_false(is_probe(1));
}

static void test_a_fresh_nonce_for_another_key_is_none_for_ours(void **state)
{
    (void)state;
    learn_that_nonces_are_asked_for("basic");
    begin("second", true); /* at the same server, with the other key */
    assert_true(is_probe(2));
    key("k")->unseen = true; /* nor does a key count that has not been seen yet */
    begin("basic", true);
    assert_true(is_probe(3));
}

static void test_the_probe_is_the_first_of_two_sends_for_a_nonce(void **state)
{
    (void)state;
    learn_that_nonces_are_asked_for("basic");
    now += 21 * SECOND;
    begin("basic", true);
    challenge(2, "n-2");
    assert_false(is_probe(3));
    challenge(3, "n-3");
    assert_failed(&result, STATUS_SERVER_MISBEHAVED, "again and again");
    assert_true(result.more.answered && !result.more.in_doubt);
    assert_int_equal(call_count, 4);
}

static void test_a_probe_that_is_challenged_without_a_usable_nonce_spends_nothing(void **state)
{
    (void)state;
    learn_that_nonces_are_asked_for("basic");
    now += 21 * SECOND;
    begin("basic", true);
    challenge(2, NULL);
    assert_failed(&result, STATUS_SERVER_MISBEHAVED, "sends none that may be used");
    assert_false(result.more.answered);
    begin("basic", true);
    challenge(3, "n-1"); /* the one that was just refused */
    assert_failed(&result, STATUS_SERVER_MISBEHAVED, "refuses the DPoP nonce that it issued itself");
    for (size_t i = 2; i < call_count; i++)
        assert_true(is_probe(i));
}

static void test_the_probe_learns_the_servers_clock_too(void **state)
{
    (void)state;
    learn_that_nonces_are_asked_for("basic");
    now += 21 * SECOND;
    begin("basic", true);
    (void)answer(400);
    with_error("invalid_dpop_proof");
    with_date(600);
    give(2);
    assert_false(is_probe(3));
    assert_in_range(number(claims_of(calls[3].dpop), "iat") - number(claims_of(calls[2].dpop), "iat"), 590, 610);
    answer_well(3);
    assert_int_equal(result.err.status, STATUS_OK);
    assert_int_equal(call_count, 4);
}

static void test_a_probe_that_fails_leaves_nothing_in_doubt(void **state)
{
    (void)state;
    learn_that_nonces_are_asked_for("basic");
    now += 21 * SECOND;
    begin("basic", true);
    give_failure(2, STATUS_TIMEOUT, true);
    assert_failed(&result, STATUS_TIMEOUT, "the net process says no");
    assert_false(result.more.in_doubt);
    begin("basic", true);
    give_trouble(3, STATUS_RESTARTED);
    assert_failed(&result, STATUS_RESTARTED, "no net process");
    assert_false(result.more.in_doubt);
    begin("basic", true);
    (void)answer(503);
    give(4);
    assert_failed(&result, STATUS_SERVER_UNAVAILABLE, "status 503");
    assert_int_equal(result.err.http_status, 503);
    assert_false(result.more.in_doubt || result.more.answered); /* the probe was */
    for (size_t i = 2; i < call_count; i++)
        assert_true(is_probe(i));
}

/* --- back-off --- */

static void test_after_the_second_failure_in_a_row_the_server_is_left_alone_for_a_while(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        now += 1;
        begin("basic", false);
        assert_int_equal(call_count, i + 1);
        if (i == 0)
            give_failure(i, STATUS_SERVER_UNREACHABLE, false);
        else
            give_failure(i, STATUS_TIMEOUT, true);
    }
    begin("basic", true);
    assert_failed(&result, STATUS_SERVER_UNAVAILABLE, "has failed, and is asked again in 1 s");
    assert_int_equal(result.err.retry_after, 1);
    assert_false(result.more.in_doubt);
    assert_int_equal(call_count, 2);
    begin_as(&many[0], "basic", "https://other.example/token", false, now + SECOND); /* another server */
    assert_int_equal(call_count, 3);
    now += SECOND;
    begin("basic", false);
    assert_int_equal(call_count, 4);
    answer_well(3);
    begin("basic", false); /* its success ends it */
    assert_int_equal(call_count, 5);
}

static void test_a_retry_after_counts_from_the_first_failure(void **state)
{
    (void)state;
    begin("basic", false);
    answer(429)->answer.retry_after = 30;
    give(0);
    assert_int_equal(result.err.status, STATUS_OK); /* the answer is the caller's to judge */
    begin("basic", false);
    assert_failed(&result, STATUS_SERVER_UNAVAILABLE, "is asked again in");
    assert_in_range(result.err.retry_after, 30, 34);
    now += 34 * SECOND;
    begin("basic", false);
    assert_int_equal(call_count, 2);
}

static void test_failures_of_our_own_are_not_the_servers(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        now += SECOND;
        begin("basic", false);
        assert_int_equal(call_count, i + 1);
        if (i % 2 == 0)
            give_failure(i, STATUS_SECRET_UNREADABLE, false);
        else
            give_trouble(i, STATUS_RESTARTED);
    }
}

/* --- turns --- */

static void test_sixteen_are_under_way_at_most_and_the_others_wait_in_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < 40; i++) {
        char endpoint[64];
        (void)snprintf(endpoint, sizeof(endpoint), "https://as.example/token/%zu", i);
        begin_as(&many[i], i % 2 == 0 ? "basic" : "second", endpoint, false, now + 30 * SECOND);
    }
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX);
    assert_true(as_requests_waiting(front.as_requests));
    assert_true(waits > 0);
    begin_as(&result, "jwt", "https://other.example/token", false, now + SECOND); /* does not wait for another server */
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX + 1);
    now += SECOND;
    for (size_t i = 0; i < 40; i++) {
        size_t at = i < PACE_UNDER_WAY_MAX ? i : i + 1;
        char wanted[64];
        (void)snprintf(wanted, sizeof(wanted), "https://as.example/token/%zu", i);
        assert_string_equal(calls[at].url, wanted);
        answer_well(at);
        now += SECOND / 10;
        assert_int_equal(many[i].calls, 1);
        assert_true(call_count <= i + 2 + PACE_UNDER_WAY_MAX);
    }
    assert_false(as_requests_waiting(front.as_requests));
    assert_int_equal(call_count, 41);
}

static void test_a_profile_whose_requests_hang_leaves_room_for_another_at_the_same_server(void **state)
{
    (void)state;
    for (size_t i = 0; i < 20; i++)
        begin_as(&many[i], "basic", ENDPOINT, true, now + 300 * SECOND);
    assert_int_equal(call_count, OF_PROFILE);
    for (size_t i = 0; i < 20; i++) { /* those that come later do not wait behind them */
        size_t at = call_count;
        begin_as(&many[100 + i], "second", ENDPOINT, true, now + 300 * SECOND);
        assert_int_equal(call_count, at + 1);
        answer_well(at);
        assert_int_equal(many[100 + i].calls, 1);
        now += SECOND;
    }
    give_failure(0, STATUS_KEY_LOCKED, false); /* each that ends, however, gives its turn to the next of its profile */
    assert_int_equal(call_count, OF_PROFILE + 20 + 1);
    challenge(1, "n-1"); /* the same turn */
    assert_int_equal(call_count, OF_PROFILE + 20 + 2);
    give_trouble(call_count - 1, STATUS_RESTARTED);
    assert_int_equal(call_count, OF_PROFILE + 20 + 3);
    begin_as(&result, "basic", "https://other.example/token", false, now + SECOND); /* of one profile, whatever the server */
    assert_int_equal(call_count, OF_PROFILE + 20 + 3);
}

static void test_a_burst_is_spread_by_the_tick(void **state)
{
    (void)state;
    for (size_t i = 0; i < PACE_UNDER_WAY_MAX; i++)
        begin_as(&many[i], i % 2 == 0 ? "basic" : "second", ENDPOINT, false, now + 30 * SECOND);
    for (size_t i = 0; i < PACE_UNDER_WAY_MAX; i++)
        answer_well(i);
    begin_as(&result, "basic", ENDPOINT, false, now + 30 * SECOND);
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX);
    now += SECOND / PACE_PER_SECOND;
    as_requests_tick(front.as_requests, now);
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX + 1);
}

static void fill_the_turns(void)
{
    static struct result under_way[PACE_UNDER_WAY_MAX];
    memset(under_way, 0, sizeof(under_way));
    for (size_t i = 0; i < PACE_UNDER_WAY_MAX; i++)
        begin_as(&under_way[i], i % 2 == 0 ? "basic" : "second", ENDPOINT, false, now + 100 * SECOND);
}

static void test_who_waits_longer_than_his_deadline_is_told_and_nothing_was_sent(void **state)
{
    (void)state;
    fill_the_turns();
    for (size_t i = 0; i < 9; i++)
        begin_as(&many[i], "basic", ENDPOINT, true, now + (i % 3 == 0 ? 1 : 60) * SECOND);
    now += SECOND;
    as_requests_tick(front.as_requests, now);
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(many[i].calls, i % 3 == 0 ? 1 : 0);
        if (i % 3 == 0) {
            assert_failed(&many[i], STATUS_TIMEOUT, "too many requests");
            assert_false(many[i].more.in_doubt);
        }
    }
    begin_as(&many[9], "basic", ENDPOINT, true, now + 60 * SECOND); /* the end of the queue is still its end */
    now += SECOND;
    for (size_t i = 0; i < 16 + 7; i++) {
        answer_well(i);
        now += SECOND / 10;
    }
    static const size_t order[] = {1, 2, 4, 5, 7, 8, 9};
    for (size_t i = 0; i + 1 < 7; i++)
        assert_true(many[order[i]].turn < many[order[i + 1]].turn);
    assert_int_equal(call_count, 16 + 7);
    assert_false(as_requests_waiting(front.as_requests));
}

static void test_thousands_that_wait_when_the_back_off_begins_are_all_told_at_once(void **state)
{
    (void)state;
    fill_the_turns();
    now += 1;
    for (size_t i = 0; i < MANY; i++) {
        many[i].again = i % 64 == 0; /* some ask again at once */
        begin_as(&many[i], "basic", ENDPOINT, true, now + 30 * SECOND);
    }
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX);
    answer(503)->answer.retry_after = 60;
    give(0);
    assert_false(as_requests_waiting(front.as_requests));
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(many[i].calls, i % 64 == 0 ? 2 : 1);
        assert_int_equal(many[i].err.status, STATUS_SERVER_UNAVAILABLE);
        assert_true(many[i].err.retry_after >= 60);
        assert_false(many[i].more.in_doubt);
    }
}

static void test_thousands_whose_key_fails_when_their_turn_comes_are_all_told(void **state)
{
    (void)state;
    fill_the_turns();
    for (size_t i = 0; i < MANY; i++)
        begin_as(&many[i], "basic", ENDPOINT, true, now + 300 * SECOND);
    key("k")->fails = STATUS_KEY_ABSENT;
    for (size_t i = 0; i < PACE_UNDER_WAY_MAX; i++)
        answer_well(i);
    for (size_t i = 0; i < 4000 && as_requests_waiting(front.as_requests); i++) {
        now += SECOND / 20;
        as_requests_tick(front.as_requests, now);
    }
    for (size_t i = 0; i < MANY; i++)
        assert_failed(&many[i], STATUS_KEY_ABSENT, "key \"k\" fails");
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX);
}

static void test_those_that_wait_when_the_front_ends_are_told(void **state)
{
    (void)state;
    fill_the_turns();
    for (size_t i = 0; i < MANY; i++) {
        many[i].again = i % 64 == 0;
        begin_as(&many[i], "basic", ENDPOINT, true, now + 30 * SECOND);
    }
    as_requests_end(front.as_requests);
    assert_false(as_requests_waiting(front.as_requests));
    assert_int_equal(call_count, PACE_UNDER_WAY_MAX);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(many[i].calls, i % 64 == 0 ? 2 : 1);
        assert_int_equal(many[i].err.status, STATUS_RESTARTED);
        assert_false(many[i].more.in_doubt);
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_a_precious_request_waits_for_a_fresh_nonce_if_the_server_asks_for_nonces),
        TEST(test_no_probe_is_sent_while_the_nonce_is_fresh_or_nothing_precious_goes_with_it),
        TEST(test_a_server_that_asked_for_nonces_before_the_agent_started_gets_a_probe),
        TEST(test_a_fresh_nonce_for_another_key_is_none_for_ours),
        TEST(test_the_probe_is_the_first_of_two_sends_for_a_nonce),
        TEST(test_a_probe_that_is_challenged_without_a_usable_nonce_spends_nothing),
        TEST(test_the_probe_learns_the_servers_clock_too),
        TEST(test_a_probe_that_fails_leaves_nothing_in_doubt),
        TEST(test_after_the_second_failure_in_a_row_the_server_is_left_alone_for_a_while),
        TEST(test_a_retry_after_counts_from_the_first_failure),
        TEST(test_failures_of_our_own_are_not_the_servers),
        TEST(test_sixteen_are_under_way_at_most_and_the_others_wait_in_order),
        TEST(test_a_profile_whose_requests_hang_leaves_room_for_another_at_the_same_server),
        TEST(test_a_burst_is_spread_by_the_tick),
        TEST(test_who_waits_longer_than_his_deadline_is_told_and_nothing_was_sent),
        TEST(test_thousands_that_wait_when_the_back_off_begins_are_all_told_at_once),
        TEST(test_thousands_whose_key_fails_when_their_turn_comes_are_all_told),
        TEST(test_those_that_wait_when_the_front_ends_are_told),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
