/* Frames: round trip, cut at every byte, limits, and lengths that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "frame.h"

#include <string.h>

static void put_frame(struct buffer *b, uint16_t operation, uint32_t request, const char *fields)
{
    size_t begin = frame_begin(b, operation, request);
    buffer_put_text(b, fields);
    frame_end(b, begin);
}

static void a_frame_comes_back_as_it_was_put(void **state)
{
    struct buffer b;
    struct frame f;
    size_t size;
    (void)state;
    buffer_init(&b, 1024);
    put_frame(&b, 5, 77, "fields");
    put_frame(&b, 0x8005, 78, "");
    assert_int_equal(frame_take(buffer_span(&b), FRAME_MAX, &f, &size), FRAME_COMPLETE);
    assert_int_equal(f.operation, 5);
    assert_int_equal(f.request, 77);
    assert_true(span_is(f.fields, "fields"));
    assert_int_equal(size, FRAME_HEADER_SIZE + 6);
    buffer_consume(&b, size);
    assert_int_equal(frame_take(buffer_span(&b), FRAME_MAX, &f, &size), FRAME_COMPLETE);
    assert_int_equal(f.operation, 0x8005);
    assert_int_equal(f.fields.len, 0);
    assert_int_equal(size, b.len);
    buffer_free(&b);
}

static void a_frame_cut_anywhere_is_incomplete(void **state)
{
    struct buffer b;
    struct frame f = {.operation = 99};
    size_t size = 99;
    (void)state;
    buffer_init(&b, 1024);
    put_frame(&b, 5, 77, "fields");
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(frame_take(span_of(buffer_span(&b).data, len), FRAME_MAX, &f, &size), FRAME_INCOMPLETE);
    assert_int_equal(f.operation, 99);
    assert_int_equal(size, 99);
    buffer_free(&b);
}

static enum frame_result take_with_length(uint32_t length, size_t max)
{
    struct buffer b;
    struct frame f;
    size_t size;
    buffer_init(&b, 64);
    buffer_put_u32(&b, length);
    enum frame_result result = frame_take(buffer_span(&b), max, &f, &size);
    buffer_free(&b);
    return result;
}

static void a_frame_over_the_limit_is_refused_by_its_first_four_bytes(void **state)
{
    (void)state;
    assert_int_equal(take_with_length(4093, 4096), FRAME_TOO_LARGE);
    assert_int_equal(take_with_length(4092, 4096), FRAME_INCOMPLETE);
    assert_int_equal(take_with_length(UINT32_MAX, FRAME_MAX), FRAME_TOO_LARGE);
    assert_int_equal(take_with_length(UINT32_MAX - 3, FRAME_MAX), FRAME_TOO_LARGE);
}

static void a_length_below_the_header_is_malformed(void **state)
{
    (void)state;
    for (uint32_t length = 0; length < 8; length++)
        assert_int_equal(take_with_length(length, FRAME_MAX), FRAME_MALFORMED);
    assert_int_equal(take_with_length(8, FRAME_MAX), FRAME_INCOMPLETE);
}

static void the_reserved_bytes_are_ignored(void **state)
{
    struct buffer b;
    struct frame f;
    size_t size;
    (void)state;
    buffer_init(&b, 64);
    put_frame(&b, 3, 1, "");
    b.data[6] = 0xff;
    b.data[7] = 0xff;
    assert_int_equal(frame_take(buffer_span(&b), FRAME_MAX, &f, &size), FRAME_COMPLETE);
    assert_int_equal(f.operation, 3);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_back_as_it_was_put),
        cmocka_unit_test(a_frame_cut_anywhere_is_incomplete),
        cmocka_unit_test(a_frame_over_the_limit_is_refused_by_its_first_four_bytes),
        cmocka_unit_test(a_length_below_the_header_is_malformed),
        cmocka_unit_test(the_reserved_bytes_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
