/* Pacing: how many requests a server gets at a time, how fast, and when one that was refused may be tried again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "pace.h"

#define SECOND UINT64_C(1000000)
#define START (1000 * SECOND)
#define A "https://a.example"
#define B "https://b.example"
#define C "https://c.example"

static int new_table(void **state)
{
    *state = pace_table_new(2);
    return *state != NULL ? 0 : -1;
}

static int free_table(void **state)
{
    pace_table_free(*state);
    return 0;
}

static bool begin(struct pace_table *table, const char *origin, uint64_t now)
{
    uint64_t retry_at = 42;
    bool may = pace_begin(table, origin, now, &retry_at);
    if (may)
        assert_int_equal(retry_at, 42);
    return may;
}

static uint64_t refused_until(struct pace_table *table, const char *origin, uint64_t now)
{
    uint64_t retry_at = 0;
    assert_false(pace_begin(table, origin, now, &retry_at));
    return retry_at;
}

static void begin_many(struct pace_table *table, const char *origin, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++)
        assert_true(begin(table, origin, START));
}

static void test_sixteen_may_be_under_way_and_the_next_waits_for_one_to_end(void **state)
{
    begin_many(*state, A, 16);
    assert_int_equal(refused_until(*state, A, START + 3600 * SECOND), PACE_WHEN_ONE_ENDS);
    pace_end(*state, A);
    assert_true(begin(*state, A, START + 3600 * SECOND));
    assert_int_equal(refused_until(*state, A, START + 3600 * SECOND), PACE_WHEN_ONE_ENDS);
}

static void test_after_a_burst_starts_are_a_fiftieth_of_a_second_apart(void **state)
{
    begin_many(*state, A, 16);
    for (unsigned int i = 0; i < 16; i++)
        pace_end(*state, A);
    for (uint64_t now = START, n = 0; n < 100; n++) {
        uint64_t retry_at = refused_until(*state, A, now);
        assert_int_equal(retry_at, now + SECOND / 50);
        assert_int_equal(refused_until(*state, A, retry_at - 1), retry_at);
        assert_true(begin(*state, A, retry_at));
        pace_end(*state, A);
        now = retry_at;
    }
}

static void test_no_second_has_more_than_50_starts_and_a_burst(void **state)
{
    unsigned int starts = 0;
    for (uint64_t now = START; now < START + 10 * SECOND; now += 1000)
        if (begin(*state, A, now)) {
            starts++;
            pace_end(*state, A);
        }
    assert_in_range(starts, 500, 516);
}

static void test_a_server_left_alone_has_its_burst_back(void **state)
{
    begin_many(*state, A, 16);
    for (unsigned int i = 0; i < 16; i++)
        pace_end(*state, A);
    for (unsigned int i = 0; i < 16; i++)
        assert_true(begin(*state, A, START + SECOND));
    assert_false(begin(*state, A, START + SECOND));
}

static void test_origins_do_not_wait_for_each_other(void **state)
{
    begin_many(*state, A, 16);
    assert_false(begin(*state, A, START));
    begin_many(*state, B, 16);
}

static void test_a_refused_start_costs_nothing(void **state)
{
    begin_many(*state, A, 16);
    for (unsigned int i = 0; i < 1000; i++)
        assert_false(begin(*state, A, START));
    pace_end(*state, A);
    assert_int_equal(refused_until(*state, A, START), START + SECOND / 50);
}

static void test_a_table_full_of_requests_under_way_refuses_another_origin_until_one_ends(void **state)
{
    begin_many(*state, A, 1);
    begin_many(*state, B, 2);
    assert_int_equal(refused_until(*state, C, START), PACE_WHEN_ONE_ENDS);
    pace_end(*state, B);
    assert_int_equal(refused_until(*state, C, START), PACE_WHEN_ONE_ENDS);
    pace_end(*state, A);
    assert_true(begin(*state, C, START));
    assert_int_equal(refused_until(*state, A, START), PACE_WHEN_ONE_ENDS);
    pace_end(*state, B);
    assert_true(begin(*state, A, START));
}

static void test_an_end_without_a_start_changes_nothing(void **state)
{
    pace_end(*state, A);
    begin_many(*state, A, 1);
    pace_end(*state, A);
    pace_end(*state, A);
    begin_many(*state, A, 15);
    assert_true(begin(*state, A, START + SECOND));
    assert_int_equal(refused_until(*state, A, START + SECOND), PACE_WHEN_ONE_ENDS);
}

static void test_a_table_without_room_is_none_and_freeing_none_is_safe(void **state)
{
    (void)state;
    assert_null(pace_table_new(0));
    pace_table_free(NULL);
}

#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, new_table, free_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TABLE(test_sixteen_may_be_under_way_and_the_next_waits_for_one_to_end),
        WITH_TABLE(test_after_a_burst_starts_are_a_fiftieth_of_a_second_apart),
        WITH_TABLE(test_no_second_has_more_than_50_starts_and_a_burst),
        WITH_TABLE(test_a_server_left_alone_has_its_burst_back),
        WITH_TABLE(test_origins_do_not_wait_for_each_other),
        WITH_TABLE(test_a_refused_start_costs_nothing),
        WITH_TABLE(test_a_table_full_of_requests_under_way_refuses_another_origin_until_one_ends),
        WITH_TABLE(test_an_end_without_a_start_changes_nothing),
        cmocka_unit_test(test_a_table_without_room_is_none_and_freeing_none_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
