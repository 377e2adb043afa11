/*
 * When a token's successor is fetched: behind a token that is used, spread in time, and never in a busy loop. The renewal timer
 * is the test's.
 */
#include "tokens_world.h"

/* --- the successor of a token --- */

static void test_a_successor_is_fetched_once_behind_a_valid_token(void **state)
{
    static struct caller callers[100];
    uint64_t sent = now;
    struct token_query q;
    (void)state;
    obtain("one", NULL, "old", 1000);
    now = sent + 666 * SECOND;
    assert_string_equal(ask("one", NULL).token, "old");
    assert_int_equal(begun_count, 1);
    now = sent + 900 * SECOND;
    q = query("one", NULL);
    for (size_t i = 0; i < 100; i++) {
        callers[i] = ask_query(&q);
        assert_string_equal(callers[i].token, "old");
    }
    assert_int_equal(begun_count, 2);
    assert_true(begun[1].force);
    end_with_token(1, "new", 1000);
    struct caller c = ask("one", NULL);
    assert_string_equal(c.token, "new");
    assert_true(c.serial != callers[0].serial);
    assert_int_equal(begun_count, 2);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(callers[i].calls, 1);
}

static void test_it_is_fetched_by_itself_in_the_last_third_if_the_token_was_used(void **state)
{
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "old", 1200);
    (void)ask("one", NULL);
    assert_in_range(timer_at, sent + 800 * SECOND, sent + 900 * SECOND);
    (void)fire_timer_until(sent + 799 * SECOND);
    assert_int_equal(begun_count, 1);
    (void)fire_timer_until(sent + 900 * SECOND);
    assert_int_equal(begun_count, 2);
    assert_true(begun[1].force && begun[1].own);
    assert_string_equal(begun[1].profile, "one");
    assert_true(timer_at == UINT64_MAX);
    end_with_token(1, "new", 1200);
    assert_string_equal(tokens_state(front.tokens, profile("one")).state, "token");
    assert_true(timer_at == UINT64_MAX); /* nobody has asked for the new one yet */
    assert_string_equal(ask("one", NULL).token, "new");
    assert_true(timer_at != UINT64_MAX);
}

static void test_a_token_that_nobody_asked_for_since_it_came_is_not_renewed(void **state)
{
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "one", 1200);
    obtain("two", NULL, "two", 1200);
    (void)ask("two", NULL);
    (void)fire_timer_until(sent + 1200 * SECOND);
    assert_int_equal(begun_count, 3);
    assert_string_equal(begun[2].profile, "two");
    end_with_token(2, "two", 1200);
    (void)fire_timer_until(sent + 10000 * SECOND); /* and its successor was not used */
    assert_int_equal(begun_count, 3);
}

static void test_a_long_lived_token_is_renewed_in_its_last_half_hour(void **state)
{
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "t", 24 * HOUR);
    (void)ask("one", NULL);
    assert_in_range(timer_at, sent + (24 * HOUR - 1800) * SECOND, sent + (24 * HOUR - 1350) * SECOND);
}

static void test_tokens_that_were_obtained_together_are_not_renewed_together(void **state)
{
    uint64_t sent = now;
    size_t most = 0;
    char scope[16];
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        (void)snprintf(scope, sizeof(scope), "s%zu", i);
        obtain("one", scope, "t", 1200);
        (void)ask("one", scope);
    }
    for (uint64_t second = 800; second <= 900; second++) {
        size_t before = begun_count;
        (void)fire_timer_until(sent + second * SECOND);
        for (size_t i = before; i < begun_count; i++)
            end_with_token(i, "t", HOUR);
        if (begun_count - before > most)
            most = begun_count - before;
    }
    assert_int_equal(begun_count, 200);
    assert_in_range(most, 1, 20); /* of 100 in 100 seconds; 20 in one is as good as impossible */
}

/* --- failures --- */

static void test_a_failed_renewal_keeps_the_token_and_is_tried_again_every_ten_seconds(void **state)
{
    uint64_t sent = now;
    struct caller c;
    struct token_query q;
    (void)state;
    obtain("one", NULL, "old", 1200);
    (void)ask("one", NULL);
    fail_at_once = true;
    unsigned int fired = fire_timer_until(sent + 1200 * SECOND - 1);
    assert_in_range(fired, 30, 41); /* 300 to 400 s of tries */
    assert_int_equal(begun_count, 1 + fired);
    assert_string_equal(ask("one", NULL).token, "old");
    struct token_state s = tokens_state(front.tokens, profile("one"));
    assert_string_equal(s.state, "token");
    assert_string_equal(s.reason, "the server said no");
    fail_at_once = false;
    now = sent + 1200 * SECOND;
    q = query("one", NULL);
    wait_as(&c, &q); /* it has expired: now there is nothing to serve meanwhile */
    end_with_failure(begun_count - 1, STATUS_SERVER_UNREACHABLE, 0);
    assert_int_equal(c.status, STATUS_SERVER_UNREACHABLE);
}

static void test_a_retry_after_puts_the_next_try_off(void **state)
{
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "old", 1200);
    (void)ask("one", NULL);
    (void)fire_timer_until(sent + 900 * SECOND);
    end_with_failure(1, STATUS_SERVER_UNAVAILABLE, 60);
    assert_true(timer_at == now + 60 * SECOND);
    assert_string_equal(ask("one", NULL).token, "old");
    assert_int_equal(begun_count, 2);
    (void)fire_timer_until(now + 60 * SECOND);
    assert_int_equal(begun_count, 3);
    end_with_failure(2, STATUS_SERVER_UNAVAILABLE, 1000);
    assert_true(timer_at == UINT64_MAX); /* not before its end */
}

static void test_a_refused_token_is_not_renewed_behind_anybodys_back(void **state)
{
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "old", 1200);
    tokens_refuse(front.tokens, ask("one", NULL).serial);
    (void)fire_timer_until(sent + 2000 * SECOND);
    assert_int_equal(begun_count, 1);
}

/* --- the timer is never busy --- */

static void test_a_laptop_that_slept_over_a_tokens_end_wakes_to_silence(void **state)
{
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "old", 1200);
    (void)ask("one", NULL);
    now = sent + 5000 * SECOND; /* the timer fires late, once */
    assert_in_range(fire_timer_until(now), 1, 2);
    assert_int_equal(begun_count, 1);
    assert_true(timer_at == UINT64_MAX);
}

static void test_a_profile_whose_exchanges_are_all_at_work_is_renewed_when_one_ends(void **state)
{
    static struct caller callers[32];
    uint64_t sent = now;
    char scope[16];
    (void)state;
    obtain("one", NULL, "old", 1200);
    (void)ask("one", NULL);
    for (size_t i = 0; i < 32; i++) {
        (void)snprintf(scope, sizeof(scope), "s%zu", i);
        struct token_query q = query("one", scope);
        wait_as(&callers[i], &q);
    }
    assert_in_range(fire_timer_until(sent + 1000 * SECOND), 100, 210); /* a try each second */
    assert_int_equal(begun_count, 33);
    end_with_token(1, "t", HOUR);
    (void)fire_timer_until(now + 2 * SECOND);
    assert_int_equal(begun_count, 34);
    assert_string_equal(begun[33].scope, "a b");
}

static void test_tokens_that_live_for_a_moment_do_not_make_it_busy(void **state)
{
    (void)state;
    answer_at_once = 1;
    (void)ask("one", NULL);
    for (int i = 0; i < 10; i++) {
        (void)ask("one", NULL);
        assert_in_range(fire_timer_until(now + SECOND), 0, 3);
    }
    assert_in_range(begun_count, 5, 30);
}

static void test_an_assertion_that_an_application_gave_is_not_used_behind_its_back(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    uint64_t sent = now;
    (void)state;
    q.assertion = span_text("once");
    wait_as(&c, &q);
    assert_string_equal(begun[0].assertion, "once");
    end_with_token(0, "t", 1200);
    assert_string_equal(ask_query(&q).token, "t");
    (void)fire_timer_until(sent + 1199 * SECOND);
    assert_string_equal(ask_query(&q).token, "t");
    assert_int_equal(begun_count, 1);
    q.force = true;
    wait_as(&c, &q);
    end_with_failure(1, STATUS_SERVER_REFUSED, 0);
    assert_true(timer_at == UINT64_MAX);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        TEST(test_a_successor_is_fetched_once_behind_a_valid_token),
        TEST(test_it_is_fetched_by_itself_in_the_last_third_if_the_token_was_used),
        TEST(test_a_token_that_nobody_asked_for_since_it_came_is_not_renewed),
        TEST(test_a_long_lived_token_is_renewed_in_its_last_half_hour),
        TEST(test_tokens_that_were_obtained_together_are_not_renewed_together),
        TEST(test_a_failed_renewal_keeps_the_token_and_is_tried_again_every_ten_seconds),
        TEST(test_a_retry_after_puts_the_next_try_off),
        TEST(test_a_refused_token_is_not_renewed_behind_anybodys_back),
        TEST(test_a_laptop_that_slept_over_a_tokens_end_wakes_to_silence),
        TEST(test_a_profile_whose_exchanges_are_all_at_work_is_renewed_when_one_ends),
        TEST(test_tokens_that_live_for_a_moment_do_not_make_it_busy),
        TEST(test_an_assertion_that_an_application_gave_is_not_used_behind_its_back),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
