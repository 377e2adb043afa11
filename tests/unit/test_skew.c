/* Clock differences: which dates are read, what is learned of them, and when a retry makes sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "skew.h"

#define NOW 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 section 5.6.7 */
#define HOUR 3600
#define A "https://a.example"

static int new_table(void **state)
{
    *state = skew_table_new(2, HOUR);
    return *state != NULL ? 0 : -1;
}

static int free_table(void **state)
{
    skew_table_free(*state);
    return 0;
}

static struct span date_of(int64_t seconds)
{
    static char text[64];
    time_t t = (time_t)seconds;
    struct tm tm;
    assert_non_null(gmtime_r(&t, &tm));
    assert_true(strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0);
    return span_text(text);
}

static void assert_date(const char *text, int64_t expected)
{
    int64_t seconds = -1;
    assert_int_equal(skew_parse_date(span_text(text), &seconds), 0);
    assert_int_equal(seconds, expected);
}

static void assert_no_date(const char *text)
{
    int64_t seconds = 42;
    if (skew_parse_date(span_text(text), &seconds) != -1)
        fail_msg("%s is read as a date", text);
    assert_int_equal(seconds, 42);
}

static void test_the_three_forms_of_rfc_9110_are_the_same_second(void **state)
{
    (void)state;
    assert_date("Sun, 06 Nov 1994 08:49:37 GMT", NOW);
    assert_date("Sunday, 06-Nov-94 08:49:37 GMT", NOW);
    assert_date("Sun Nov  6 08:49:37 1994", NOW);
    assert_date("Wed Nov 16 08:49:37 1994", NOW + 10 * 24 * HOUR);
}

static void test_a_leap_second_is_the_second_after_and_only_at_the_end_of_a_day(void **state)
{
    (void)state;
    assert_date("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800);
    assert_date("Sunday, 01-Jan-17 00:00:00 GMT", 1483228800);
    assert_no_date("Sat, 31 Dec 2016 23:58:60 GMT");
    assert_no_date("Sat, 31 Dec 2016 12:59:60 GMT");
    assert_no_date("Sat, 31 Dec 2016 23:59:61 GMT");
}

static void test_leap_days_are_those_of_the_gregorian_calendar(void **state)
{
    (void)state;
    assert_date("Tue, 29 Feb 2000 00:00:00 GMT", 951782400);
    assert_date("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800);
    assert_no_date("Wed, 29 Feb 2023 00:00:00 GMT");
    assert_no_date("Mon, 29 Feb 2100 00:00:00 GMT");
}

static void test_the_days_name_decides_the_century_of_two_digits(void **state)
{
    (void)state;
    assert_date("Saturday, 21-Nov-26 12:00:00 GMT", 1795262400);
    assert_date("Thursday, 01-Jan-70 00:00:00 GMT", 0);
    assert_no_date("Monday, 21-Nov-26 12:00:00 GMT");
}

static void test_what_is_not_exactly_a_date_is_not_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "now",
        "0",
        "784111777",
        "1994-11-06T08:49:37Z",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMTx",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Sun,06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 06  Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:-1 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08-49-37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Thu, 31 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "So, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 19941 08:49:37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37",
        "Sunday 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994 GMT",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov  6 08:49 1994",
        "Sun Nov",
        "Sun, ",
        "Sunday, ",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_no_date(texts[i]);
    assert_no_date(NULL);
}

static void test_every_cut_of_a_date_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994"};
    for (size_t i = 0; i < 3; i++)
        for (size_t len = 0; len < strlen(texts[i]); len++) {
            char *cut = malloc(len + 1); /* of its own, so that a read behind the end is seen */
            int64_t seconds;
            memcpy(cut, texts[i], len);
            assert_int_equal(skew_parse_date(span_of(cut, len), &seconds), -1);
            free(cut);
        }
}

static void test_dates_of_10000_days_are_read_as_the_c_library_writes_them(void **state)
{
    (void)state;
    for (int64_t t = 0; t < INT64_C(8) * 100000 * 10000; t += 80021) {
        int64_t seconds = -1;
        assert_int_equal(skew_parse_date(date_of(t), &seconds), 0);
        assert_int_equal(seconds, t);
    }
}

static void test_of_an_origin_that_never_complained_no_difference_is_known(void **state)
{
    assert_int_equal(skew_get(*state, A), 0);
}

static void test_a_difference_is_learned_for_its_origin_alone(void **state)
{
    assert_true(skew_learn(*state, A, date_of(NOW + 600), NOW, 0));
    assert_int_equal(skew_get(*state, A), 600);
    assert_int_equal(skew_get(*state, "https://b.example"), 0);
    assert_true(skew_learn(*state, "https://b.example", date_of(NOW - 600), NOW, 0));
    assert_int_equal(skew_get(*state, "https://b.example"), -600);
    assert_int_equal(skew_get(*state, A), 600);
}

static void test_the_same_difference_again_is_no_reason_for_a_retry(void **state)
{
    assert_true(skew_learn(*state, A, date_of(NOW + 600), NOW, 0));
    assert_false(skew_learn(*state, A, date_of(NOW + 600), NOW, 600));
    assert_false(skew_learn(*state, A, date_of(NOW + 604), NOW, 600));
    assert_int_equal(skew_get(*state, A), 600);
    assert_true(skew_learn(*state, A, date_of(NOW + 605), NOW, 600));
    assert_int_equal(skew_get(*state, A), 605);
}

static void test_a_small_difference_is_not_learned(void **state)
{
    assert_false(skew_learn(*state, A, date_of(NOW + 4), NOW, 0));
    assert_false(skew_learn(*state, A, date_of(NOW - 4), NOW, 0));
    assert_int_equal(skew_get(*state, A), 0);
}

static void test_what_another_request_learned_meanwhile_is_a_reason_for_a_retry(void **state)
{
    assert_true(skew_learn(*state, A, date_of(NOW + 600), NOW, 0));
    assert_true(skew_learn(*state, A, date_of(NOW + 600), NOW, 0));
}

static void test_a_clock_that_was_set_right_is_learned_too(void **state)
{
    assert_true(skew_learn(*state, A, date_of(NOW + 600), NOW, 0));
    assert_true(skew_learn(*state, A, date_of(NOW), NOW, 600));
    assert_int_equal(skew_get(*state, A), 0);
}

static void test_a_difference_beyond_the_bound_is_not_learned(void **state)
{
    assert_false(skew_learn(*state, A, date_of(NOW + HOUR + 1), NOW, 0));
    assert_false(skew_learn(*state, A, date_of(NOW - HOUR - 1), NOW, 0));
    assert_int_equal(skew_get(*state, A), 0);
    assert_false(skew_learn(*state, A, date_of(NOW), INT64_MIN, 0));
    assert_false(skew_learn(*state, A, date_of(NOW), INT64_MAX, 0));
    assert_true(skew_learn(*state, A, date_of(NOW + HOUR), NOW, 0));
    assert_true(skew_learn(*state, A, date_of(NOW - HOUR), NOW, HOUR));
    assert_int_equal(skew_get(*state, A), -HOUR);
}

static void test_what_is_not_a_date_teaches_nothing(void **state)
{
    assert_false(skew_learn(*state, A, span_text("yesterday"), NOW, 0));
    assert_false(skew_learn(*state, A, span_text(NULL), NOW, 0));
    assert_int_equal(skew_get(*state, A), 0);
}

static void test_a_table_with_bound_0_never_learns(void **state)
{
    (void)state;
    struct skew_table *table = skew_table_new(2, 0);
    assert_false(skew_learn(table, A, date_of(NOW + 600), NOW, 0));
    assert_int_equal(skew_get(table, A), 0);
    skew_table_free(table);
}

static void test_a_full_table_forgets_the_origin_that_was_not_used_for_longest(void **state)
{
    assert_true(skew_learn(*state, A, date_of(NOW + 10), NOW, 0));
    assert_true(skew_learn(*state, "https://b.example", date_of(NOW + 20), NOW, 0));
    assert_int_equal(skew_get(*state, A), 10);
    assert_true(skew_learn(*state, "https://c.example", date_of(NOW + 30), NOW, 0));
    assert_int_equal(skew_get(*state, "https://b.example"), 0);
    assert_int_equal(skew_get(*state, A), 10);
    assert_int_equal(skew_get(*state, "https://c.example"), 30);
}

static void test_a_table_without_room_is_none_and_freeing_none_is_safe(void **state)
{
    (void)state;
    assert_null(skew_table_new(0, HOUR));
    skew_table_free(NULL);
}

#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, new_table, free_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_three_forms_of_rfc_9110_are_the_same_second),
        cmocka_unit_test(test_a_leap_second_is_the_second_after_and_only_at_the_end_of_a_day),
        cmocka_unit_test(test_leap_days_are_those_of_the_gregorian_calendar),
        cmocka_unit_test(test_the_days_name_decides_the_century_of_two_digits),
        cmocka_unit_test(test_what_is_not_exactly_a_date_is_not_read),
        cmocka_unit_test(test_every_cut_of_a_date_is_none),
        cmocka_unit_test(test_dates_of_10000_days_are_read_as_the_c_library_writes_them),
        WITH_TABLE(test_of_an_origin_that_never_complained_no_difference_is_known),
        WITH_TABLE(test_a_difference_is_learned_for_its_origin_alone),
        WITH_TABLE(test_the_same_difference_again_is_no_reason_for_a_retry),
        WITH_TABLE(test_a_small_difference_is_not_learned),
        WITH_TABLE(test_what_another_request_learned_meanwhile_is_a_reason_for_a_retry),
        WITH_TABLE(test_a_clock_that_was_set_right_is_learned_too),
        WITH_TABLE(test_a_difference_beyond_the_bound_is_not_learned),
        WITH_TABLE(test_what_is_not_a_date_teaches_nothing),
        cmocka_unit_test(test_a_table_with_bound_0_never_learns),
        WITH_TABLE(test_a_full_table_forgets_the_origin_that_was_not_used_for_longest),
        cmocka_unit_test(test_a_table_without_room_is_none_and_freeing_none_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
