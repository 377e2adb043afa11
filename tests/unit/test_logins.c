/*
 * Refresh tokens: what is on disk before one is sent and before its answer is told, what other answers than tokens lead to, and
 * what is done one after the other. test_logins_doubt.c has lost answers, test_logins_life.c logins that begin, end, are loaded.
 */
#include "logins_world.h"

#define MANY 4000

static struct fetched r, many[MANY];

/* Logged in, and the access token of the login has ended. */
static int open_expired(void **state)
{
    if (open_logins(state) != 0)
        return -1;
    log_in("user", "r1", "a1", 100);
    assert_int_equal(kept.calls, 1);
    now += 200 * SECOND;
    return 0;
}

/* Logged in, with an access token for 100 s. */
static int open_logged_in(void **state)
{
    if (open_logins(state) != 0)
        return -1;
    log_in("user", "r1", "a1", 100);
    return 0;
}

/* --- before it is sent, before it is told --- */

static void test_the_intent_is_on_disk_before_the_refresh_token_is_sent(void **state)
{
    (void)state;
    store.slow = true;
    fetch(&r, "user", NULL, false, 0);
    assert_int_equal(sent_count, 0);
    store_goes_on();
    assert_int_equal(sent_count, 1);
    assert_string_equal(sent[0].refresh_token, "r1");
    assert_int_equal(sent[0].state_on_disk, REFRESH_SENT);
    assert_string_equal(sent[0].subject, "alice");
    assert_int_equal(r.calls, 0);
}

static void test_the_new_refresh_token_is_on_disk_before_anybody_gets_the_access_token(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    store.slow = true;
    refreshed(0, "r2", "a2", 100);
    assert_int_equal(r.calls, 0);
    store_goes_on();
    assert_token(&r, "a2");
    assert_string_equal(r.disk_token, "r2");
    assert_int_equal(r.disk.refresh_state, REFRESH_FRESH);
    assert_true(r.disk.nonces);
    assert_string_equal(logins_state(front.logins, profile("user")).state, "logged in");
}

static void test_an_intent_that_cannot_be_written_is_not_sent(void **state)
{
    (void)state;
    store.fails = STATUS_STORE_FAILED;
    fetch(&r, "user", NULL, false, 0);
    assert_no_token(&r, STATUS_STORE_FAILED, "the store says no");
    assert_int_equal(sent_count, 0);
    store.fails = STATUS_OK;
    fetch(&r, "user", NULL, false, 0);
    assert_int_equal(sent_count, 1);
    assert_int_equal(sent[0].state_on_disk, REFRESH_SENT); /* it was FRESH, and no doubt came of it */
    refreshed(0, "r2", "a2", 100);
    assert_token(&r, "a2");
}

static void test_an_answer_that_cannot_be_written_is_told_to_nobody_until_it_is(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    store.fails = STATUS_STORE_FAILED;
    refreshed(0, "r2", "a2", 100);
    assert_no_token(&r, STATUS_STORE_FAILED, "the store says no");
    assert_true(logins_waiting(front.logins));
    assert_false(logins_state(front.logins, profile("user")).persisted);
    fetch(&r, "user", NULL, false, 0); /* tries to write it first */
    assert_no_token(&r, STATUS_STORE_FAILED, "the store says no");
    assert_int_equal(sent_count, 1);
    store.fails = STATUS_OK;
    fetch(&r, "user", NULL, false, 0);
    assert_token(&r, "a2");
    assert_string_equal(r.disk_token, "r2");
    assert_int_equal(sent_count, 1);
    assert_false(logins_waiting(front.logins));
}

static void test_what_could_not_be_written_is_written_by_the_tick(void **state)
{
    unsigned int saves;
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    store.fails = STATUS_STORE_FAILED;
    refreshed(0, "r2", "a2", 100);
    saves = store.saves;
    logins_tick(front.logins, now);
    assert_int_equal(store.saves, saves); /* not at once: a full disk stays full */
    now += 2 * SECOND;
    logins_tick(front.logins, now);
    assert_int_equal(store.saves, saves + 1);
    store.fails = STATUS_OK;
    now += 2 * SECOND;
    logins_tick(front.logins, now);
    assert_true(span_is(on_disk().refresh_token, "r2"));
    assert_false(logins_waiting(front.logins));
    assert_null(logins_state(front.logins, profile("user")).reason);
}

/* --- answers that are no tokens --- */

static void test_invalid_grant_ends_the_login_on_disk_too(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    store.slow = true;
    refresh_refused(0, 400, STATUS_SERVER_REFUSED, "invalid_grant");
    assert_int_equal(r.calls, 0);
    store_goes_on();
    assert_no_token(&r, STATUS_LOGIN_REQUIRED, "a user has to log in: the refresh has failed");
    assert_string_equal(r.err.oauth_error, "invalid_grant");
    assert_string_equal(r.err.next, "log in: dpop login user");
    assert_false(store.there);
    store.slow = false;
    fetch(&r, "user", NULL, false, 0);
    assert_no_token(&r, STATUS_LOGIN_REQUIRED, "");
    assert_int_equal(sent_count, 1);
}

static void test_other_refusals_and_what_was_not_sent_leave_the_refresh_token_fresh(void **state)
{
    static const struct {
        uint16_t http_status; /* 0: it was not sent */
        enum status status;
        const char *oauth_error;
    } rows[] = {{503, STATUS_SERVER_UNAVAILABLE, NULL},         {429, STATUS_SERVER_UNAVAILABLE, NULL},
                {400, STATUS_SERVER_REFUSED, "invalid_scope"},  {401, STATUS_SERVER_REFUSED, "invalid_client"},
                {302, STATUS_SERVER_MISBEHAVED, NULL},          {0, STATUS_SERVER_UNREACHABLE, NULL},
                {0, STATUS_KEY_LOCKED, NULL},                   {503, STATUS_SERVER_UNAVAILABLE, "invalid_grant"}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fetch(&r, "user", NULL, true, 0);
        assert_int_equal(sent_count, i + 1);
        assert_string_equal(sent[i].refresh_token, "r1");
        if (rows[i].http_status != 0)
            refresh_refused(i, rows[i].http_status, rows[i].status, rows[i].oauth_error);
        else
            refresh_failed(i, rows[i].status, false);
        assert_no_token(&r, rows[i].status, "the refresh has failed");
        assert_int_equal(r.disk.refresh_state, REFRESH_FRESH);
        assert_string_equal(logins_state(front.logins, profile("user")).state, "logged in");
    }
}

static void test_an_agent_that_ends_begins_no_refresh(void **state)
{
    (void)state;
    front.ending = true;
    fetch(&r, "user", NULL, false, 0); /* the one that is kept serves */
    assert_token(&r, "a1");
    unsigned int saves = store.saves;
    fetch(&r, "user", NULL, true, 0);
    assert_no_token(&r, STATUS_RESTARTED, "the agent is ending");
    assert_int_equal(store.saves, saves);
    assert_int_equal(sent_count, 0);
    assert_int_equal(on_disk().refresh_state, REFRESH_FRESH);
}

static void test_a_refresh_that_is_under_way_when_the_agent_ends_is_waited_for_and_the_next_one_not_begun(void **state)
{
    (void)state;
    fetch(&many[0], "user", NULL, true, 0);
    fetch(&many[1], "user", NULL, true, 0);
    front.ending = true;
    assert_true(logins_busy(front.logins));
    refreshed(0, "r2", "a2", 100);
    assert_token(&many[0], "a2");
    assert_string_equal(many[0].disk_token, "r2");
    assert_no_token(&many[1], STATUS_RESTARTED, "the agent is ending");
    assert_false(logins_busy(front.logins));
}

static void test_who_waited_longer_than_his_deadline_spends_no_refresh_token(void **state)
{
    (void)state;
    fetch(&many[0], "user", "x", false, 0);
    fetch(&many[1], "user", "y", false, 0);
    now += 30 * SECOND;
    refreshed(0, "r2", "ax", 100);
    assert_token(&many[0], "ax");
    assert_no_token(&many[1], STATUS_TIMEOUT, "other refreshes were before this one");
    assert_int_equal(sent_count, 1);
}

static void test_a_refresh_token_that_comes_with_a_useless_answer_is_kept(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    refresh_useless(0, "r2");
    assert_no_token(&r, STATUS_TOKEN_NOT_DPOP, "it is a Bearer token");
    assert_string_equal(r.disk_token, "r2");
    assert_int_equal(r.disk.refresh_state, REFRESH_FRESH);
    fetch(&r, "user", NULL, false, 0);
    assert_string_equal(sent[1].refresh_token, "r2");
}

/* --- the access token that is kept --- */

static void test_the_kept_access_token_serves_unless_it_is_too_short_or_another_is_wanted(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    assert_token(&r, "a1");
    assert_int_equal(r.lifetime, 100);
    now += 50 * SECOND;
    fetch(&r, "user", NULL, false, 50);
    assert_token(&r, "a1");
    assert_int_equal(sent_count, 0);
    fetch(&r, "user", NULL, false, 51);
    assert_int_equal(sent_count, 1);
    refreshed(0, "r2", "a2", 100);
    assert_token(&r, "a2");
    fetch(&r, "user", NULL, true, 0);
    assert_int_equal(sent_count, 2);
    refreshed(1, NULL, "a3", 100);
    assert_token(&r, "a3");
    fetch(&r, "user", NULL, true, 0);
    assert_string_equal(sent[2].refresh_token, "r2"); /* not rotated: the old one is good */
}

static void test_a_lifetime_counts_from_before_the_request_whatever_the_answer_and_the_disk_take(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, true, 0);
    now += 10 * SECOND;
    store.slow = true;
    refreshed(0, "r2", "a2", 60);
    now += 10 * SECOND;
    store_goes_on();
    assert_int_equal(r.lifetime, 40);
    store.slow = false;
    fetch(&r, "user", NULL, true, 0);
    store.slow = true;
    refreshed(1, "r3", "a3", 5);
    now += 20 * SECOND;
    store_goes_on();
    assert_token(&r, "a3");
    assert_int_equal(r.lifetime, 0); /* it has ended on its way */
}

static void test_a_token_of_another_scope_is_fetched_for_it_and_not_kept(void **state)
{
    (void)state;
    fetch(&r, "user", "b", false, 0);
    assert_string_equal(sent[0].scope, "b");
    refreshed(0, "r2", "narrow", 100);
    assert_token(&r, "narrow");
    fetch(&r, "user", NULL, false, 0);
    assert_token(&r, "a1");
    fetch(&r, "user", NULL, true, 0);
    assert_string_equal(sent[1].scope, "");
    assert_string_equal(sent[1].refresh_token, "r2");
}

/* --- one after the other --- */

static void test_fetches_of_different_scopes_run_one_after_the_other(void **state)
{
    static const char *const scopes[] = {"s0", "s1", "s2", "s3"}, *const refresh[] = {"r2", "r3", "r4", "r5"};
    (void)state;
    for (size_t i = 0; i < 4; i++)
        fetch(&many[i], "user", scopes[i], false, 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(sent_count, i + 1);
        assert_string_equal(sent[i].scope, scopes[i]);
        assert_string_equal(sent[i].refresh_token, i == 0 ? "r1" : refresh[i - 1]);
        refreshed(i, refresh[i], scopes[i], 100);
        assert_token(&many[i], scopes[i]);
    }
}

static void test_another_profile_does_not_wait(void **state)
{
    (void)state;
    fetch(&many[0], "user", NULL, false, 0);
    log_in("memory", "m1", "ma", 1);
    now += 10 * SECOND;
    fetch(&many[1], "memory", NULL, false, 0);
    assert_int_equal(sent_count, 2);
    assert_string_equal(sent[1].refresh_token, "m1");
    refreshed(1, "m2", "mb", 100);
    assert_token(&many[1], "mb");
    assert_int_equal(many[0].calls, 0);
}

static void test_thousands_that_wait_for_one_refresh_are_all_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        fetch(&many[i], "user", NULL, false, 0);
    assert_int_equal(sent_count, 1);
    refreshed(0, "r2", "a2", 100);
    for (size_t i = 0; i < MANY; i++) {
        assert_token(&many[i], "a2");
        assert_int_equal(many[i].turn, i);
    }
    now += 200 * SECOND;
    for (size_t i = 0; i < MANY; i++)
        fetch(&many[i], "user", NULL, false, 0);
    refresh_refused(1, 400, STATUS_SERVER_REFUSED, "invalid_grant");
    for (size_t i = 0; i < MANY; i++)
        assert_no_token(&many[i], STATUS_LOGIN_REQUIRED, "");
    assert_int_equal(sent_count, 2);
}

int main(void)
{
#define TEST(test, open) cmocka_unit_test_setup_teardown(test, open, close_logins)
    const struct CMUnitTest tests[] = {
        TEST(test_the_intent_is_on_disk_before_the_refresh_token_is_sent, open_expired),
        TEST(test_the_new_refresh_token_is_on_disk_before_anybody_gets_the_access_token, open_expired),
        TEST(test_an_intent_that_cannot_be_written_is_not_sent, open_expired),
        TEST(test_an_answer_that_cannot_be_written_is_told_to_nobody_until_it_is, open_expired),
        TEST(test_what_could_not_be_written_is_written_by_the_tick, open_expired),
        TEST(test_invalid_grant_ends_the_login_on_disk_too, open_expired),
        TEST(test_other_refusals_and_what_was_not_sent_leave_the_refresh_token_fresh, open_expired),
        TEST(test_an_agent_that_ends_begins_no_refresh, open_logged_in),
        TEST(test_a_refresh_that_is_under_way_when_the_agent_ends_is_waited_for_and_the_next_one_not_begun, open_logged_in),
        TEST(test_who_waited_longer_than_his_deadline_spends_no_refresh_token, open_expired),
        TEST(test_a_refresh_token_that_comes_with_a_useless_answer_is_kept, open_expired),
        TEST(test_the_kept_access_token_serves_unless_it_is_too_short_or_another_is_wanted, open_logged_in),
        TEST(test_a_lifetime_counts_from_before_the_request_whatever_the_answer_and_the_disk_take, open_logged_in),
        TEST(test_a_token_of_another_scope_is_fetched_for_it_and_not_kept, open_logged_in),
        TEST(test_fetches_of_different_scopes_run_one_after_the_other, open_expired),
        TEST(test_another_profile_does_not_wait, open_expired),
        TEST(test_thousands_that_wait_for_one_refresh_are_all_told, open_expired),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
