/* Values per origin: who has one, what goes when the table is full, and what stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "origin_table.h"

static bool is_even(const void *value)
{
    return *(const int *)value % 2 == 0;
}

static void put(struct origin_table *table, const char *origin, int number)
{
    void *value = NULL;
    assert_int_equal(origin_table_put(table, origin, &value), ORIGIN_TABLE_PUT);
    *(int *)value = number;
}

static void assert_has(struct origin_table *table, const char *origin, int number)
{
    const int *value = origin_table_find(table, origin);
    assert_non_null(value);
    assert_int_equal(*value, number);
}

static void test_a_new_value_is_zero_and_an_old_one_is_found_again(void **state)
{
    (void)state;
    struct origin_table *table = origin_table_new(2, sizeof(uint64_t), NULL);
    void *value = NULL, *again = NULL;
    assert_null(origin_table_find(table, "https://a"));
    assert_int_equal(origin_table_put(table, "https://a", &value), ORIGIN_TABLE_PUT);
    assert_int_equal(*(uint64_t *)value, 0);
    *(uint64_t *)value = 7;
    assert_int_equal(origin_table_put(table, "https://a", &again), ORIGIN_TABLE_PUT);
    assert_ptr_equal(value, again);
    assert_ptr_equal(origin_table_find(table, "https://a"), value);
    assert_null(origin_table_find(table, "https://a:8443"));
    assert_int_equal(origin_table_count(table), 1);
    origin_table_free(table);
}

static void test_a_full_table_forgets_what_was_not_asked_for_for_longest(void **state)
{
    (void)state;
    struct origin_table *table = origin_table_new(2, sizeof(int), NULL);
    put(table, "https://a", 1);
    put(table, "https://b", 2);
    assert_has(table, "https://a", 1);
    put(table, "https://c", 3);
    assert_null(origin_table_find(table, "https://b"));
    assert_has(table, "https://a", 1);
    assert_has(table, "https://c", 3);
    assert_int_equal(origin_table_count(table), 2);
    origin_table_free(table);
}

static void test_a_value_that_must_stay_stays_and_a_table_of_such_values_is_full(void **state)
{
    (void)state;
    void *value = &value;
    struct origin_table *table = origin_table_new(3, sizeof(int), is_even);
    put(table, "https://a", 1);
    put(table, "https://b", 2);
    put(table, "https://c", 3);
    put(table, "https://d", 5);
    assert_null(origin_table_find(table, "https://b"));
    assert_int_equal(origin_table_put(table, "https://e", &value), ORIGIN_TABLE_FULL);
    assert_ptr_equal(value, &value);
    assert_has(table, "https://a", 1);
    assert_has(table, "https://c", 3);
    assert_has(table, "https://d", 5);
    put(table, "https://a", 4);
    put(table, "https://e", 6);
    assert_null(origin_table_find(table, "https://a"));
    origin_table_free(table);
}

static void test_a_dropped_value_is_gone_and_the_others_stay(void **state)
{
    (void)state;
    struct origin_table *table = origin_table_new(1, sizeof(int), NULL);
    origin_table_drop(table, "https://a");
    put(table, "https://a", 1);
    origin_table_drop(table, "https://b");
    assert_has(table, "https://a", 1);
    origin_table_drop(table, "https://a");
    assert_null(origin_table_find(table, "https://a"));
    assert_int_equal(origin_table_count(table), 0);
    put(table, "https://b", 2);
    assert_has(table, "https://b", 2);
    origin_table_free(table);
}

static void test_a_table_of_thousands_keeps_the_newest_of_many_more(void **state)
{
    (void)state;
    struct origin_table *table = origin_table_new(2000, sizeof(int), NULL);
    char origin[64];
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(origin, sizeof(origin), "https://host-%d.example", i);
        put(table, origin, i);
    }
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(origin, sizeof(origin), "https://host-%d.example", i);
        if (i < 8000)
            assert_null(origin_table_find(table, origin));
        else
            assert_has(table, origin, i);
        if (i % 3 == 0)
            origin_table_drop(table, origin);
    }
    assert_int_equal(origin_table_count(table), 1333);
    origin_table_free(table);
}

static void test_a_table_without_room_is_none_and_freeing_none_is_safe(void **state)
{
    (void)state;
    assert_null(origin_table_new(0, sizeof(int), NULL));
    origin_table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_value_is_zero_and_an_old_one_is_found_again),
        cmocka_unit_test(test_a_full_table_forgets_what_was_not_asked_for_for_longest),
        cmocka_unit_test(test_a_value_that_must_stay_stays_and_a_table_of_such_values_is_full),
        cmocka_unit_test(test_a_dropped_value_is_gone_and_the_others_stay),
        cmocka_unit_test(test_a_table_of_thousands_keeps_the_newest_of_many_more),
        cmocka_unit_test(test_a_table_without_room_is_none_and_freeing_none_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
