/* The byte buffer and spans: limits, sticky failures, takes that move nothing, and wiping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "buffer.h"

#include <stdlib.h>
#include <string.h>

static void numbers_are_big_endian(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 64);
    buffer_put_u16(&b, 0x0102);
    buffer_put_u32(&b, 0x03040506);
    buffer_put_u64(&b, UINT64_C(0x0708090a0b0c0d0e));
    const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    assert_true(span_equal(buffer_span(&b), span_of(expected, sizeof(expected))));

    struct span s = buffer_span(&b);
    uint16_t u16;
    uint32_t u32;
    assert_int_equal(span_take_u16(&s, &u16), 0);
    assert_int_equal(u16, 0x0102);
    assert_int_equal(span_take_u32(&s, &u32), 0);
    assert_int_equal(u32, 0x03040506);
    buffer_free(&b);
}

static void a_put_over_the_limit_sticks(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 4);
    buffer_put(&b, "abc", 3);
    buffer_put(&b, "de", 2);
    assert_true(b.failed);
    buffer_put(&b, "d", 1);
    assert_int_equal(b.len, 3);
    assert_null(buffer_room(&b, 1));
    buffer_clear(&b);
    assert_false(b.failed);
    buffer_put(&b, "abcd", 4);
    assert_false(b.failed);
    buffer_free(&b);
    assert_int_equal(b.max, 4);
}

static void a_take_that_fails_moves_nothing(void **state)
{
    struct span s = span_text("abc"), out = span_text("x");
    uint32_t number = 7;
    (void)state;
    assert_int_equal(span_take_u32(&s, &number), -1);
    assert_int_equal(span_take(&s, 4, &out), -1);
    assert_int_equal(s.len, 3);
    assert_int_equal(number, 7);
    assert_true(span_is(out, "x"));
}

static void consumed_bytes_are_wiped(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 64);
    buffer_put_text(&b, "secretpublic");
    buffer_consume(&b, 6);
    assert_true(span_is(buffer_span(&b), "public"));
    assert_null(memmem(b.data, b.capacity < 12 ? b.capacity : 12, "secret", 6));
    buffer_free(&b);
}

static void bytes_moved_to_the_front_leave_no_copy(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 256);
    for (int i = 0; i < 25; i++)
        buffer_put_text(&b, "0123456789");
    buffer_consume(&b, 244);
    buffer_put_text(&b, "secret");
    buffer_put_text(&b, "behind");
    assert_int_equal(b.start, 0);
    assert_true(span_is(buffer_span(&b), "456789secretbehind"));
    for (size_t i = b.len; i < b.capacity && i < 250; i++)
        assert_int_equal(b.data[i], 0);
    buffer_free(&b);
}

static void a_buffer_grows_and_keeps_its_bytes(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 100000);
    for (unsigned int i = 0; i < 20000; i++)
        buffer_put_u32(&b, i);
    assert_false(b.failed);
    struct span s = buffer_span(&b);
    for (unsigned int i = 0; i < 20000; i++) {
        uint32_t n;
        assert_int_equal(span_take_u32(&s, &n), 0);
        assert_int_equal(n, i);
    }
    assert_int_equal(s.len, 0);
    buffer_free(&b);
}

static void room_is_filled_by_the_caller_and_announced(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 16);
    uint8_t *room = buffer_room(&b, 16);
    assert_non_null(room);
    memcpy(room, "abc", 3);
    buffer_added(&b, 3);
    assert_true(span_is(buffer_span(&b), "abc"));
    buffer_set_u32(&b, 0, 1); /* four bytes do not fit into three */
    assert_true(span_is(buffer_span(&b), "abc"));
    buffer_free(&b);
}

static void an_absent_text_is_not_an_empty_one(void **state)
{
    char out[4] = "xyz";
    (void)state;
    assert_null(span_text(NULL).data);
    assert_non_null(span_text("").data);
    assert_true(span_equal(span_text(NULL), span_text("")));
    assert_int_equal(span_copy(span_text("abcd"), out, sizeof(out)), -1);
    assert_string_equal(out, "xyz");
    assert_int_equal(span_copy(span_text("abc"), out, sizeof(out)), 0);
    assert_string_equal(out, "abc");
    char *copy = span_dup(span_text(NULL));
    assert_string_equal(copy, "");
    free(copy);
}

static void an_empty_buffer_can_be_freed_and_read(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 8);
    assert_int_equal(buffer_span(&b).len, 0);
    assert_non_null(buffer_span(&b).data);
    buffer_clear(&b);
    buffer_free(&b);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_big_endian),
        cmocka_unit_test(a_put_over_the_limit_sticks),
        cmocka_unit_test(a_take_that_fails_moves_nothing),
        cmocka_unit_test(consumed_bytes_are_wiped),
        cmocka_unit_test(bytes_moved_to_the_front_leave_no_copy),
        cmocka_unit_test(a_buffer_grows_and_keeps_its_bytes),
        cmocka_unit_test(room_is_filled_by_the_caller_and_announced),
        cmocka_unit_test(an_absent_text_is_not_an_empty_one),
        cmocka_unit_test(an_empty_buffer_can_be_freed_and_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
