/* Form encoding, against the URL Standard's serialiser and RFC 6749 appendix B. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "form.h"

static void assert_encoded(const void *in, size_t len, const char *expected)
{
    struct buffer b;
    buffer_init(&b, 4096);
    form_put_encoded(&b, span_of(in, len));
    assert_false(b.failed);
    assert_int_equal(b.len, strlen(expected));
    assert_memory_equal(buffer_span(&b).data, expected, strlen(expected));
    buffer_free(&b);
}

static void test_letters_digits_and_four_signs_stay(void **state)
{
    static const char plain[] = "AZaz09*-._";
    (void)state;
    assert_encoded(plain, sizeof(plain) - 1, plain);
}

static void test_every_other_byte_is_percent_encoded_in_upper_case_and_a_blank_is_a_plus(void **state)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._";
    (void)state;
    for (unsigned int c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c;
        char expected[4] = {'%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15], '\0'};
        if (memchr(plain, (int)c, sizeof(plain) - 1) != NULL)
            memcpy(expected, (char[]){(char)c, '\0'}, 2);
        else if (c == ' ')
            memcpy(expected, "+", 2);
        assert_encoded(&byte, 1, expected);
    }
}

static void test_the_example_of_rfc_6749_is_encoded_as_printed(void **state)
{
    static const char in[] = " %&+\xc2\xa3\xe2\x82\xac";
    (void)state;
    assert_encoded(in, sizeof(in) - 1, "+%25%26%2B%C2%A3%E2%82%AC");
}

static void test_tilde_and_other_unreserved_characters_follow_the_url_standard(void **state)
{
    (void)state;
    assert_encoded("~!'()/:?=", 9, "%7E%21%27%28%29%2F%3A%3F%3D");
    assert_encoded("a\0b\r\n", 5, "a%00b%0D%0A");
}

static void test_pairs_are_joined_with_ampersands(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 4096);
    form_put(&b, "grant_type", span_text("client_credentials"));
    form_put(&b, "scope", span_text("a b"));
    form_put(&b, "empty", span_text(""));
    form_put(&b, "a&b", span_text("c=d"));
    assert_true(span_is(buffer_span(&b), "grant_type=client_credentials&scope=a+b&empty=&a%26b=c%3Dd"));
    buffer_free(&b);
}

static void test_a_form_that_is_too_long_fails_once_and_for_all(void **state)
{
    struct buffer b;
    (void)state;
    buffer_init(&b, 8);
    form_put(&b, "a", span_text("12345"));
    assert_false(b.failed);
    form_put(&b, "b", span_text("6"));
    assert_true(b.failed);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_letters_digits_and_four_signs_stay),
        cmocka_unit_test(test_every_other_byte_is_percent_encoded_in_upper_case_and_a_blank_is_a_plus),
        cmocka_unit_test(test_the_example_of_rfc_6749_is_encoded_as_printed),
        cmocka_unit_test(test_tilde_and_other_unreserved_characters_follow_the_url_standard),
        cmocka_unit_test(test_pairs_are_joined_with_ampersands),
        cmocka_unit_test(test_a_form_that_is_too_long_fails_once_and_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
