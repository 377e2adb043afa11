/* Back-off: how long a server that fails is left alone, and what does and does not count as another failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "backoff.h"

#define SECOND UINT64_C(1000000)
#define START (1000 * SECOND)
#define A "https://a.example"
#define LEAST 0
#define MOST UINT32_MAX

static int new_table(void **state)
{
    *state = backoff_table_new(2);
    return *state != NULL ? 0 : -1;
}

static int free_table(void **state)
{
    backoff_table_free(*state);
    return 0;
}

/* A request that is sent at once and fails at once. */
static void fail_at(struct backoff_table *table, uint64_t now, uint32_t random)
{
    backoff_failed(table, A, now, now, 0, random);
}

static void test_an_origin_that_never_failed_has_no_wait(void **state)
{
    assert_int_equal(backoff_until(*state, A), 0);
    backoff_succeeded(*state, A);
    assert_int_equal(backoff_until(*state, A), 0);
}

static void test_the_first_failure_costs_no_wait(void **state)
{
    fail_at(*state, START, MOST);
    assert_int_equal(backoff_until(*state, A), 0);
}

static void test_waits_double_from_1_to_60_seconds_of_which_jitter_leaves_half_to_whole(void **state)
{
    static const uint64_t seconds[] = {1, 2, 4, 8, 16, 32, 60, 60, 60, 60};
    (void)state;
    for (unsigned int i = 0; i < 3; i++) {
        struct backoff_table *table = backoff_table_new(2);
        uint64_t now = START;
        fail_at(table, now, LEAST);
        for (size_t n = 0; n < sizeof(seconds) / sizeof(seconds[0]); n++) {
            uint64_t whole = seconds[n] * SECOND;
            now += 100 * SECOND;
            fail_at(table, now, (const uint32_t[]){LEAST, MOST / 2, MOST}[i]);
            assert_in_range(backoff_until(table, A), now + whole / 2 + whole * i / 4 - i,
                            now + whole / 2 + whole * i / 4);
        }
        backoff_table_free(table);
    }
}

static void test_a_million_failures_still_wait_60_seconds(void **state)
{
    for (uint64_t i = 0; i < 1000000; i++)
        fail_at(*state, START + i, MOST);
    assert_in_range(backoff_until(*state, A), START + 999999 + 59 * SECOND, START + 999999 + 60 * SECOND);
}

static void test_requests_that_were_under_way_together_count_once(void **state)
{
    backoff_failed(*state, A, START, START + 5 * SECOND, 0, MOST);
    for (uint64_t i = 1; i < 16; i++)
        backoff_failed(*state, A, START + i, START + 5 * SECOND + i, 0, MOST);
    assert_int_equal(backoff_until(*state, A), 0);
    fail_at(*state, START + 6 * SECOND, LEAST);
    assert_int_equal(backoff_until(*state, A), START + 6 * SECOND + SECOND / 2);
    backoff_failed(*state, A, START + 5 * SECOND, START + 9 * SECOND, 0, MOST);
    assert_int_equal(backoff_until(*state, A), START + 6 * SECOND + SECOND / 2);
}

static void test_a_request_that_is_sent_at_the_moment_of_a_failure_counts(void **state)
{
    fail_at(*state, START, LEAST);
    backoff_failed(*state, A, START, START + SECOND, 0, LEAST);
    assert_int_equal(backoff_until(*state, A), START + SECOND + SECOND / 2);
}

static void test_a_success_ends_the_row(void **state)
{
    fail_at(*state, START, MOST);
    fail_at(*state, START + SECOND, MOST);
    fail_at(*state, START + 2 * SECOND, MOST);
    assert_true(backoff_until(*state, A) > START + 3 * SECOND);
    backoff_succeeded(*state, A);
    assert_int_equal(backoff_until(*state, A), 0);
    fail_at(*state, START + 3 * SECOND, MOST);
    assert_int_equal(backoff_until(*state, A), 0);
    fail_at(*state, START + 4 * SECOND, LEAST);
    assert_int_equal(backoff_until(*state, A), START + 4 * SECOND + SECOND / 2);
}

static void test_a_retry_after_counts_from_the_first_failure_with_up_to_a_tenth_on_top(void **state)
{
    backoff_failed(*state, A, START, START, 120, LEAST);
    assert_int_equal(backoff_until(*state, A), START + 120 * SECOND);
    backoff_succeeded(*state, A);
    backoff_failed(*state, "https://b.example", START, START, 120, MOST);
    assert_in_range(backoff_until(*state, "https://b.example"), START + 132 * SECOND - 1, START + 132 * SECOND);
}

static void test_a_retry_after_beyond_an_hour_is_honoured_for_an_hour(void **state)
{
    backoff_failed(*state, A, START, START, UINT32_MAX, LEAST);
    assert_int_equal(backoff_until(*state, A), START + BACKOFF_RETRY_AFTER_MAX * SECOND);
}

static void test_a_short_retry_after_does_not_shorten_the_wait(void **state)
{
    for (uint64_t i = 0; i < 10; i++)
        backoff_failed(*state, A, START + i, START + i, 1, LEAST);
    assert_int_equal(backoff_until(*state, A), START + 9 + 30 * SECOND);
}

static void test_the_retry_after_of_a_request_that_does_not_count_is_honoured(void **state)
{
    fail_at(*state, START, LEAST);
    backoff_failed(*state, A, START - 1, START + SECOND, 10, LEAST);
    assert_int_equal(backoff_until(*state, A), START + 11 * SECOND);
}

static void test_a_later_retry_after_lengthens_the_wait_and_never_shortens_it(void **state)
{
    backoff_failed(*state, A, START, START, 100, LEAST);
    backoff_failed(*state, A, START - 1, START + SECOND, 10, LEAST);
    assert_int_equal(backoff_until(*state, A), START + 100 * SECOND);
    backoff_failed(*state, A, START - 1, START + 2 * SECOND, 200, LEAST);
    assert_int_equal(backoff_until(*state, A), START + 202 * SECOND);
}

static void test_a_retry_after_outlasts_the_success_of_another_request(void **state)
{
    fail_at(*state, START, LEAST);
    backoff_failed(*state, A, START, START + SECOND, 10, LEAST);
    backoff_succeeded(*state, A);
    assert_int_equal(backoff_until(*state, A), START + 11 * SECOND);
    fail_at(*state, START + 20 * SECOND, MOST); /* the first in a row again */
    assert_int_equal(backoff_until(*state, A), START + 11 * SECOND);
}

static void test_origins_do_not_wait_for_each_other(void **state)
{
    fail_at(*state, START, MOST);
    fail_at(*state, START + SECOND, MOST);
    assert_int_equal(backoff_until(*state, "https://b.example"), 0);
    backoff_succeeded(*state, "https://b.example");
    assert_true(backoff_until(*state, A) > START + SECOND);
}

static void test_a_full_table_forgets_the_origin_that_was_not_used_for_longest(void **state)
{
    backoff_failed(*state, A, START, START, 10, LEAST);
    backoff_failed(*state, "https://b.example", START, START, 20, LEAST);
    backoff_failed(*state, "https://c.example", START, START, 30, LEAST);
    assert_int_equal(backoff_until(*state, A), 0);
    assert_int_equal(backoff_until(*state, "https://b.example"), START + 20 * SECOND);
    assert_int_equal(backoff_until(*state, "https://c.example"), START + 30 * SECOND);
}

static void test_a_table_without_room_is_none_and_freeing_none_is_safe(void **state)
{
    (void)state;
    assert_null(backoff_table_new(0));
    backoff_table_free(NULL);
}

#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, new_table, free_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TABLE(test_an_origin_that_never_failed_has_no_wait),
        WITH_TABLE(test_the_first_failure_costs_no_wait),
        cmocka_unit_test(test_waits_double_from_1_to_60_seconds_of_which_jitter_leaves_half_to_whole),
        WITH_TABLE(test_a_million_failures_still_wait_60_seconds),
        WITH_TABLE(test_requests_that_were_under_way_together_count_once),
        WITH_TABLE(test_a_request_that_is_sent_at_the_moment_of_a_failure_counts),
        WITH_TABLE(test_a_success_ends_the_row),
        WITH_TABLE(test_a_retry_after_counts_from_the_first_failure_with_up_to_a_tenth_on_top),
        WITH_TABLE(test_a_retry_after_beyond_an_hour_is_honoured_for_an_hour),
        WITH_TABLE(test_a_short_retry_after_does_not_shorten_the_wait),
        WITH_TABLE(test_the_retry_after_of_a_request_that_does_not_count_is_honoured),
        WITH_TABLE(test_a_later_retry_after_lengthens_the_wait_and_never_shortens_it),
        WITH_TABLE(test_a_retry_after_outlasts_the_success_of_another_request),
        WITH_TABLE(test_origins_do_not_wait_for_each_other),
        WITH_TABLE(test_a_full_table_forgets_the_origin_that_was_not_used_for_longest),
        cmocka_unit_test(test_a_table_without_room_is_none_and_freeing_none_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
