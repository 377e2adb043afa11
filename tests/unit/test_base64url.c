/* base64url: the encoder against published values, the decoder against everything that is not strict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "base64url.h"

static void assert_pair(const char *bytes, const char *text)
{
    char encoded[64];
    uint8_t decoded[64];
    size_t len = 99;
    base64url_encode((const uint8_t *)bytes, strlen(bytes), encoded);
    assert_string_equal(encoded, text);
    assert_int_equal(base64url_length(strlen(bytes)), strlen(text));
    assert_int_equal(base64url_decode(span_text(text), decoded, sizeof(decoded), &len), 0);
    assert_int_equal(len, strlen(bytes));
    assert_memory_equal(decoded, bytes, len);
}

static void test_the_examples_of_rfc_4648_encode_and_decode_without_padding(void **state)
{
    (void)state;
    assert_pair("", "");
    assert_pair("f", "Zg");
    assert_pair("fo", "Zm8");
    assert_pair("foo", "Zm9v");
    assert_pair("foob", "Zm9vYg");
    assert_pair("fooba", "Zm9vYmE");
    assert_pair("foobar", "Zm9vYmFy");
    assert_pair("\xfb\xff\xfe", "-__-");
}

static void test_every_length_and_byte_survives_encoding_and_decoding(void **state)
{
    (void)state;
    uint8_t in[256], out[256];
    char text[BASE64URL_LENGTH(256) + 1];
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 167 + 13);
    for (size_t n = 0; n <= sizeof(in); n++) {
        size_t len = 0;
        base64url_encode(in, n, text);
        assert_int_equal(strlen(text), base64url_length(n));
        assert_int_equal(base64url_length(n), BASE64URL_LENGTH(n));
        assert_int_equal(base64url_decode(span_text(text), out, n, &len), 0);
        assert_int_equal(len, n);
        assert_memory_equal(in, out, n);
    }
}

static void test_the_key_of_rfc_7515_a3_decodes_to_32_bytes_and_encodes_back(void **state)
{
    (void)state;
    json_t *rfc = json_load_file(TEST_VECTORS "/rfc.json", JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(rfc);
    json_t *jwk = json_object_get(json_object_get(rfc, "rfc7515_a3"), "jwk");
    static const uint8_t x[] = {127, 205, 206, 39,  112, 246, 196, 93,  65, 131, 203, 238, 111, 219, 75,  123,
                                88,  7,   51,  53,  123, 233, 239, 19,  186, 207, 110, 60, 123, 209, 84,  69};
    const char *text = json_string_value(json_object_get(jwk, "x"));
    uint8_t out[32];
    char again[44];
    size_t len = 0;
    assert_int_equal(base64url_decode(span_text(text), out, sizeof(out), &len), 0);
    assert_int_equal(len, 32);
    assert_memory_equal(out, x, 32);
    base64url_encode(x, 32, again);
    assert_string_equal(again, text);
    json_decref(rfc);
}

static void assert_refused(const void *text, size_t n)
{
    uint8_t out[8];
    size_t len = 99;
    memset(out, 0xaa, sizeof(out));
    assert_int_equal(base64url_decode(span_of(text, n), out, sizeof(out), &len), -1);
    assert_int_equal(len, 99);
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(out[i], 0xaa);
}

static void test_padding_white_space_and_other_alphabets_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"Zg==", "Zm8=", "=", "Zm9v ", " Zm9v", "Zm\n9", "Zm9v\r\n",
                                      "+__-", "/__-", "Zm9,", "Zm.v", "\xc3\xa9oo"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i], strlen(bad[i]));
    assert_refused("Zm9\0", 4);
}

static void test_every_byte_outside_the_alphabet_is_refused(void **state)
{
    (void)state;
    size_t accepted = 0;
    for (int c = 0; c < 256; c++) {
        uint8_t text[4] = {'A', 'A', 'A', (uint8_t)c}, out[3];
        size_t len;
        accepted += base64url_decode(span_of(text, 4), out, sizeof(out), &len) == 0;
    }
    assert_int_equal(accepted, 64);
}

static void test_bits_that_carry_nothing_must_be_zero(void **state)
{
    (void)state;
    assert_refused("Zh", 2);
    assert_refused("Zv", 2);
    assert_refused("Zm9", 3);
    assert_refused("Zm-", 3);
}

static void test_a_length_that_no_bytes_have_is_refused(void **state)
{
    (void)state;
    assert_refused("A", 1);
    assert_refused("Zm9vA", 5);
}

static void test_what_does_not_fit_is_refused_and_nothing_is_written(void **state)
{
    (void)state;
    uint8_t out[4] = {1, 2, 3, 4};
    size_t len = 7;
    assert_int_equal(base64url_decode(span_text("Zm9vYg"), out, 3, &len), -1);
    assert_int_equal(len, 7);
    assert_memory_equal(out, ((const uint8_t[]){1, 2, 3, 4}), 4);
}

static void test_a_buffer_takes_exactly_the_text_and_a_full_one_says_so(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 8);
    base64url_put(&b, span_text("foobar"));
    assert_false(b.failed);
    assert_true(span_is(buffer_span(&b), "Zm9vYmFy"));
    base64url_put(&b, span_text(""));
    assert_false(b.failed);
    base64url_put(&b, span_text("f"));
    assert_true(b.failed);
    assert_true(span_is(buffer_span(&b), "Zm9vYmFy"));
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_examples_of_rfc_4648_encode_and_decode_without_padding),
        cmocka_unit_test(test_every_length_and_byte_survives_encoding_and_decoding),
        cmocka_unit_test(test_the_key_of_rfc_7515_a3_decodes_to_32_bytes_and_encodes_back),
        cmocka_unit_test(test_padding_white_space_and_other_alphabets_are_refused),
        cmocka_unit_test(test_every_byte_outside_the_alphabet_is_refused),
        cmocka_unit_test(test_bits_that_carry_nothing_must_be_zero),
        cmocka_unit_test(test_a_length_that_no_bytes_have_is_refused),
        cmocka_unit_test(test_what_does_not_fit_is_refused_and_nothing_is_written),
        cmocka_unit_test(test_a_buffer_takes_exactly_the_text_and_a_full_one_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
