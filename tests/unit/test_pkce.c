/* PKCE against the example of RFC 7636 appendix B. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "pkce.h"

static void test_random_bytes_and_challenge_are_those_of_rfc_7636_appendix_b(void **state)
{
    (void)state;
    static const uint8_t random[PKCE_RANDOM_SIZE] = {116, 24,  223, 180, 151, 153, 224, 37,  79,  250, 96,
                                                     125, 216, 173, 187, 186, 22,  212, 37,  77,  105, 214,
                                                     191, 240, 91,  88,  5,   88,  83,  132, 141, 121};
    char verifier[PKCE_SIZE], challenge[PKCE_SIZE];
    json_t *rfc = json_load_file(TEST_VECTORS "/rfc.json", JSON_REJECT_DUPLICATES, NULL);
    const char *expected_verifier = NULL, *expected_challenge = NULL;
    assert_int_equal(json_unpack(rfc, "{s:{s:s,s:s}}", "rfc7636_b", "code_verifier", &expected_verifier,
                                 "code_challenge_S256", &expected_challenge),
                     0);
    pkce_verifier(random, verifier);
    assert_string_equal(verifier, expected_verifier);
    assert_int_equal(pkce_challenge(span_text(verifier), challenge), 0);
    assert_string_equal(challenge, expected_challenge);
    json_decref(rfc);
}

static void test_a_verifier_is_43_to_128_unreserved_characters(void **state)
{
    (void)state;
    char challenge[PKCE_SIZE] = "as it was", text[130];
    memset(text, 'v', sizeof(text));
    assert_int_equal(pkce_challenge(span_of(text, 42), challenge), -1);
    assert_int_equal(pkce_challenge(span_of(text, 129), challenge), -1);
    assert_int_equal(pkce_challenge(span_text(NULL), challenge), -1);
    for (int c = 0; c < 256; c++) {
        text[20] = (char)c;
        bool allowed = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
        if (!allowed)
            assert_int_equal(pkce_challenge(span_of(text, 43), challenge), -1);
    }
    assert_string_equal(challenge, "as it was");
    text[20] = '~';
    assert_int_equal(pkce_challenge(span_of(text, 43), challenge), 0);
    assert_int_equal(pkce_challenge(span_of(text, 128), challenge), 0);
    assert_int_equal(strlen(challenge), PKCE_SIZE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bytes_and_challenge_are_those_of_rfc_7636_appendix_b),
        cmocka_unit_test(test_a_verifier_is_43_to_128_unreserved_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
