/*
 * A refresh token that the server may have taken: in doubt after a lost answer, held after a gateway's failure. When it is sent
 * again, what that leads to, and what a kill leaves.
 */
#include "logins_world.h"

static struct fetched r;

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

/* A refresh whose answer was lost. */
static void lose_an_answer(void)
{
    fetch(&r, "user", NULL, true, 0);
    refresh_failed(sent_count - 1, STATUS_TIMEOUT, true);
    assert_no_token(&r, STATUS_TIMEOUT, "the refresh has failed");
    assert_in_range(r.err.retry_after, 100, 101);
    assert_non_null(strstr(r.err.next, "use the present token: the refresh token is sent once more when that has ended"));
    assert_int_equal(on_disk().refresh_state, REFRESH_SENT);
}

/* --- doubt --- */

static void test_in_doubt_nothing_is_sent_before_the_access_token_has_ended(void **state)
{
    (void)state;
    lose_an_answer();
    assert_string_equal(logins_state(front.logins, profile("user")).state, "in doubt");
    fetch(&r, "user", NULL, true, 0);
    assert_no_token(&r, STATUS_SERVER_UNAVAILABLE, "the server may have taken the refresh token without an answer");
    assert_in_range(r.err.retry_after, 100, 101);
    assert_string_equal(r.err.stage, "refresh");
    assert_non_null(strstr(r.err.next, "use the present token: "));
    fetch(&r, "user", NULL, false, 0); /* the access token still serves */
    assert_token(&r, "a1");
    assert_int_equal(sent_count, 1);
    now += 99 * SECOND;
    fetch(&r, "user", NULL, true, 0);
    assert_no_token(&r, STATUS_SERVER_UNAVAILABLE, "");
    now += SECOND;
    fetch(&r, "user", NULL, true, 0);
    assert_int_equal(sent_count, 2);
    assert_string_equal(sent[1].refresh_token, "r1");
    assert_int_equal(sent[1].state_on_disk, REFRESH_RESENT);
    refreshed(1, "r2", "a2", 100);
    assert_token(&r, "a2");
    assert_int_equal(r.disk.refresh_state, REFRESH_FRESH);
    assert_int_equal(r.disk.resends, 0);
}

static void test_a_second_send_that_reached_the_server_and_brought_nothing_means_that_a_user_has_to_log_in(void **state)
{
    static const struct {
        uint16_t http_status; /* 0: its answer was lost too */
        enum status status;
        const char *oauth_error, *message;
    } rows[] = {{0, STATUS_TIMEOUT, NULL, "was in doubt, and was sent once more in vain: the refresh has failed"},
                {400, STATUS_SERVER_REFUSED, "invalid_grant", "a user has to log in: the refresh has failed"},
                {400, STATUS_SERVER_REFUSED, "invalid_scope", "sent once more in vain"},
                {401, STATUS_SERVER_REFUSED, "invalid_client", "sent once more in vain"},
                {429, STATUS_SERVER_UNAVAILABLE, NULL, "sent once more in vain"},
                {500, STATUS_SERVER_UNAVAILABLE, NULL, "sent once more in vain"},
                {503, STATUS_SERVER_UNAVAILABLE, NULL, "sent once more in vain"},
                {0, STATUS_TOKEN_NOT_DPOP, NULL, "sent once more in vain"}}; /* a 200 of no use, which is no HTTP error */
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        log_in("user", "r1", "a1", 100);
        lose_an_answer();
        now += 100 * SECOND;
        fetch(&r, "user", NULL, false, 0);
        assert_int_equal(sent[sent_count - 1].state_on_disk, REFRESH_RESENT);
        if (i == 0)
            refresh_failed(sent_count - 1, rows[i].status, true);
        else
            refresh_refused(sent_count - 1, rows[i].http_status, rows[i].status, rows[i].oauth_error);
        assert_no_token(&r, STATUS_LOGIN_REQUIRED, rows[i].message);
        assert_false(store.there);
        size_t count = sent_count;
        fetch(&r, "user", NULL, false, 0);
        assert_no_token(&r, STATUS_LOGIN_REQUIRED, rows[i].message);
        assert_int_equal(sent_count, count);
        assert_string_equal(logins_state(front.logins, profile("user")).state, "login required");
    }
}

static void test_a_second_send_that_never_left_is_made_again(void **state)
{
    (void)state;
    lose_an_answer();
    now += 100 * SECOND;
    fetch(&r, "user", NULL, false, 0);
    refresh_failed(1, STATUS_SERVER_UNREACHABLE, false);
    assert_no_token(&r, STATUS_SERVER_UNREACHABLE, "the refresh has failed");
    assert_int_equal(on_disk().refresh_state, REFRESH_SENT); /* still in doubt */
    fetch(&r, "user", NULL, false, 0);
    refresh_not_begun(2); /* the server answers, but to the metadata's request, or the nonce's */
    assert_no_token(&r, STATUS_SERVER_UNAVAILABLE, "the refresh has failed");
    assert_int_equal(on_disk().refresh_state, REFRESH_SENT);
    fetch(&r, "user", NULL, false, 0);
    assert_int_equal(sent_count, 4);
    assert_int_equal(sent[3].state_on_disk, REFRESH_RESENT);
    refreshed(3, "r2", "a2", 100);
    assert_token(&r, "a2");
}

static void test_a_second_send_that_cannot_be_recorded_is_not_made(void **state)
{
    (void)state;
    lose_an_answer();
    now += 100 * SECOND;
    store.fails = STATUS_STORE_FAILED;
    fetch(&r, "user", NULL, false, 0);
    assert_no_token(&r, STATUS_STORE_FAILED, "");
    assert_int_equal(sent_count, 1);
    store.fails = STATUS_OK;
    fetch(&r, "user", NULL, false, 0);
    assert_int_equal(sent_count, 2);
}

static void test_a_kill_between_the_intent_and_the_answer_leaves_a_doubt(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, true, 0);
    restart();
    fetch(&r, "user", NULL, false, 0);
    assert_token(&r, "a1"); /* it serves after a restart */
    fetch(&r, "user", NULL, true, 0);
    assert_no_token(&r, STATUS_SERVER_UNAVAILABLE, "the server may have taken the refresh token without an answer");
    now += 100 * SECOND;
    restart();
    logins_key_ready(front.logins, "k"); /* the wall clock stood still: its 100 s are counted anew, at most */
    now += 101 * SECOND;
    fetch(&r, "user", NULL, false, 0);
    assert_int_equal(sent[sent_count - 1].state_on_disk, REFRESH_RESENT);
    restart(); /* at the second send: it may not have happened */
    logins_key_ready(front.logins, "k");
    now += 101 * SECOND;
    fetch(&r, "user", NULL, false, 0);
    assert_int_equal(sent_count, 3);
    assert_int_equal(on_disk().resends, 2);
    refreshed(2, "r2", "a2", 100);
    assert_token(&r, "a2");
}

static void test_a_kill_while_the_answer_is_written_leaves_a_doubt_or_the_new_token(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    store.slow = true;
    refreshed(0, "r2", "a2", 100);
    restart();
    assert_int_equal(on_disk().refresh_state, REFRESH_SENT);
    assert_int_equal(r.calls, 0); /* nobody has the access token */
    fetch(&r, "user", NULL, false, 0);
    refreshed(1, "r3", "a3", 100);
    assert_token(&r, "a3");
    restart();
    fetch(&r, "user", NULL, false, 0);
    assert_token(&r, "a3");
}

/* --- held --- */

static void test_behind_a_gateways_failure_the_token_may_have_been_taken_so_it_waits_for_the_access_tokens_end(void **state)
{
    static const uint16_t statuses[] = {500, 502, 504, 599};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t first = sent_count;
        log_in("user", "r1", "a1", 100);
        fetch(&r, "user", NULL, true, 0);
        refresh_refused(first, statuses[i], STATUS_SERVER_UNAVAILABLE, NULL);
        assert_no_token(&r, STATUS_SERVER_UNAVAILABLE, "the refresh has failed");
        assert_int_equal(r.disk.refresh_state, REFRESH_FRESH);
        fetch(&r, "user", NULL, false, 0);
        assert_token(&r, "a1");
        now += 99 * SECOND;
        fetch(&r, "user", NULL, true, 0);
        assert_no_token(&r, STATUS_SERVER_UNAVAILABLE, "may have taken the refresh token");
        assert_in_range(r.err.retry_after, 1, 2);
        assert_int_equal(sent_count, first + 1);
        now += SECOND;
        fetch(&r, "user", NULL, true, 0);
        assert_int_equal(sent_count, first + 2);
        assert_int_equal(sent[first + 1].state_on_disk, REFRESH_SENT); /* no second send of one in doubt: it can be made again */
        refreshed(first + 1, "r2", "a2", 100);
        assert_token(&r, "a2");
        fetch(&r, "user", NULL, true, 0); /* held no more */
        refreshed(first + 2, "r3", "a3", 100);
        fetch(&r, "user", NULL, true, 0);
        refresh_not_begun(first + 3); /* nor by a gateway before the metadata */
        fetch(&r, "user", NULL, true, 0);
        assert_int_equal(sent_count, first + 5);
        refreshed(first + 4, "r4", "a4", 100);
    }
}

static void test_a_held_token_is_free_when_a_resource_server_refuses_the_access_tokens(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        size_t first = sent_count;
        log_in("user", "r1", "a1", 100);
        fetch(&r, "user", NULL, true, 0);
        if (i == 0)
            refresh_refused(first, 502, STATUS_SERVER_UNAVAILABLE, NULL);
        else
            refresh_failed(first, STATUS_TIMEOUT, true); /* or in doubt */
        logins_refused(&front, profile("user"), now + 500 * SECOND); /* not beyond its own end */
        logins_refused(&front, profile("user"), now + 50 * SECOND);
        now += 49 * SECOND;
        fetch(&r, "user", NULL, true, 0);
        assert_no_token(&r, STATUS_SERVER_UNAVAILABLE, "may have taken the refresh token");
        logins_refused(&front, profile("user"), 0);
        fetch(&r, "user", NULL, true, 0);
        assert_int_equal(sent_count, first + 2);
        refreshed(first + 1, "r2", "a2", 100);
        assert_token(&r, "a2");
    }
}

int main(void)
{
#define TEST(test, open) cmocka_unit_test_setup_teardown(test, open, close_logins)
    const struct CMUnitTest tests[] = {
        TEST(test_in_doubt_nothing_is_sent_before_the_access_token_has_ended, open_logged_in),
        TEST(test_a_second_send_that_reached_the_server_and_brought_nothing_means_that_a_user_has_to_log_in, open_logged_in),
        TEST(test_a_second_send_that_never_left_is_made_again, open_logged_in),
        TEST(test_a_second_send_that_cannot_be_recorded_is_not_made, open_logged_in),
        TEST(test_a_kill_between_the_intent_and_the_answer_leaves_a_doubt, open_logged_in),
        TEST(test_a_kill_while_the_answer_is_written_leaves_a_doubt_or_the_new_token, open_expired),
        TEST(test_behind_a_gateways_failure_the_token_may_have_been_taken_so_it_waits_for_the_access_tokens_end, open_logins),
        TEST(test_a_held_token_is_free_when_a_resource_server_refuses_the_access_tokens, open_logins),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
