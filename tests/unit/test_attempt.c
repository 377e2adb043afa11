/* Attempt handles: every field comes back, and nothing that was not made with this process's key is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"

static const uint8_t key[ATTEMPT_KEY_SIZE] = {1, 2, 3}, other_key[ATTEMPT_KEY_SIZE] = {1, 2, 4};

static const struct attempt full = {.profile = "work",
                                    .origin = "https://api.example:8443",
                                    .jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
                                    .token_serial = UINT64_C(0x0123456789abcdef),
                                    .has_nonce = true,
                                    .nonce = {1, 2, 3, 4, 5, 6, 7, 8},
                                    .sends = 65535,
                                    .nonce_retries = 1,
                                    .refreshes = 2,
                                    .skew = -3600,
                                    .clock_retries = 1};

static size_t make(const struct attempt *a, uint8_t out[LIMIT_ATTEMPT])
{
    struct buffer b;
    buffer_init(&b, LIMIT_ATTEMPT);
    attempt_put(a, key, &b);
    assert_false(b.failed);
    size_t len = b.len;
    memcpy(out, buffer_span(&b).data, len);
    buffer_free(&b);
    return len;
}

static void assert_same(const struct attempt *a, const struct attempt *b)
{
    assert_string_equal(a->profile, b->profile);
    assert_string_equal(a->origin, b->origin);
    assert_string_equal(a->jkt, b->jkt);
    assert_true(a->token_serial == b->token_serial);
    assert_int_equal(a->has_nonce, b->has_nonce);
    assert_memory_equal(a->nonce, b->nonce, sizeof(a->nonce));
    assert_int_equal(a->sends, b->sends);
    assert_int_equal(a->nonce_retries, b->nonce_retries);
    assert_int_equal(a->refreshes, b->refreshes);
    assert_true(a->skew == b->skew);
    assert_int_equal(a->clock_retries, b->clock_retries);
}

static void test_every_field_comes_back(void **state)
{
    uint8_t handle[LIMIT_ATTEMPT];
    struct attempt out;
    size_t len = make(&full, handle);
    (void)state;
    assert_int_equal(attempt_take(span_of(handle, len), key, &out), 0);
    assert_same(&out, &full);
}

static void test_an_attempt_without_a_nonce_is_not_one_with_a_nonce_of_zeros(void **state)
{
    uint8_t handle[LIMIT_ATTEMPT];
    struct attempt in = {.profile = "p", .origin = "https://a", .sends = 1}, out;
    (void)state;
    assert_int_equal(attempt_take(span_of(handle, make(&in, handle)), key, &out), 0);
    assert_false(out.has_nonce);
    in.has_nonce = true;
    assert_int_equal(attempt_take(span_of(handle, make(&in, handle)), key, &out), 0);
    assert_true(out.has_nonce);
}

static void test_the_longest_fields_fit(void **state)
{
    uint8_t handle[LIMIT_ATTEMPT];
    struct attempt in = full, out;
    (void)state;
    memset(in.profile, 'p', LIMIT_NAME);
    memset(in.origin, 'o', sizeof(in.origin) - 1);
    in.profile[LIMIT_NAME] = in.origin[sizeof(in.origin) - 1] = '\0';
    assert_int_equal(attempt_take(span_of(handle, make(&in, handle)), key, &out), 0);
    assert_same(&out, &in);
}

static void test_a_handle_of_another_key_is_refused(void **state)
{
    uint8_t handle[LIMIT_ATTEMPT];
    struct attempt out = {.sends = 77};
    size_t len = make(&full, handle);
    (void)state;
    assert_int_equal(attempt_take(span_of(handle, len), other_key, &out), -1);
    assert_int_equal(out.sends, 77);
}

static void test_a_handle_with_any_bit_changed_is_refused(void **state)
{
    uint8_t handle[LIMIT_ATTEMPT];
    struct attempt out;
    size_t len = make(&full, handle);
    (void)state;
    for (size_t i = 0; i < 8 * len; i++) {
        handle[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(attempt_take(span_of(handle, len), key, &out), -1);
        handle[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(attempt_take(span_of(handle, len), key, &out), 0);
}

static void test_a_handle_cut_short_or_made_longer_is_refused(void **state)
{
    uint8_t handle[LIMIT_ATTEMPT + 1] = {0};
    struct attempt out;
    size_t len = make(&full, handle);
    (void)state;
    for (size_t i = 0; i < len; i++) {
        uint8_t *copy = malloc(i + 1); /* so that a read behind the end is seen */
        assert_non_null(copy);
        memcpy(copy, handle, i);
        assert_int_equal(attempt_take(span_of(copy, i), key, &out), -1);
        free(copy);
    }
    handle[len] = 0;
    assert_int_equal(attempt_take(span_of(handle, len + 1), key, &out), -1);
    assert_int_equal(attempt_take(span_text(NULL), key, &out), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_comes_back),
        cmocka_unit_test(test_an_attempt_without_a_nonce_is_not_one_with_a_nonce_of_zeros),
        cmocka_unit_test(test_the_longest_fields_fit),
        cmocka_unit_test(test_a_handle_of_another_key_is_refused),
        cmocka_unit_test(test_a_handle_with_any_bit_changed_is_refused),
        cmocka_unit_test(test_a_handle_cut_short_or_made_longer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
