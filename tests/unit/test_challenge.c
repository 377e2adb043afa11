/* WWW-Authenticate: what servers were seen to send, the corners of the grammar, and what is not to be believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "challenge.h"

static const struct challenge_result nothing;

static struct challenge_result read_one(const char *value)
{
    struct challenge_result r = {0};
    (void)challenge_read(span_text(value), &r);
    return r;
}

static void assert_verdict(const char *value, enum challenge_verdict expected)
{
    struct challenge_result r = {0};
    enum challenge_verdict verdict = challenge_read(span_text(value), &r);
    if (verdict != expected)
        fail_msg("%s: verdict %d, not %d", value, (int)verdict, (int)expected);
}

static void assert_nothing_known(struct span value)
{
    struct challenge_result r = {0};
    if (challenge_read(value, &r) != CHALLENGE_NOTHING)
        fail_msg("%.*s: something is known", (int)value.len, (const char *)value.data);
    assert_memory_equal(&r, &nothing, sizeof(r));
}

static void test_the_nonce_challenge_of_rfc_9449_is_one(void **state)
{
    (void)state;
    struct challenge_result r = read_one("DPoP error=\"use_dpop_nonce\", "
                                         "error_description=\"Resource server requires nonce in DPoP proof\"");
    assert_true(r.has_dpop);
    assert_true(r.use_dpop_nonce);
    assert_false(r.has_bearer);
    assert_string_equal(r.error, "use_dpop_nonce");
    assert_string_equal(r.description, "Resource server requires nonce in DPoP proof");
}

static void test_a_nonce_challenge_is_found_wherever_it_stands(void **state)
{
    (void)state;
    assert_verdict("DPoP algs=\"ES256 PS256\", error=\"use_dpop_nonce\"", CHALLENGE_NONCE);
    assert_verdict("DPoP error=use_dpop_nonce", CHALLENGE_NONCE);
    assert_verdict("dpop ERROR=\"use_dpop_nonce\"", CHALLENGE_NONCE);
    assert_verdict("Bearer, DPoP error=\"use_dpop_nonce\"", CHALLENGE_NONCE);
    assert_verdict("Bearer realm=\"a, b\", DPoP error=\"use_dpop_nonce\", Basic realm=\"c\"", CHALLENGE_NONCE);
    assert_verdict("Negotiate YWJj==, DPoP realm=\"x\",error=\"use_dpop_nonce\"", CHALLENGE_NONCE);
    assert_verdict("DPoP error = \"use_dpop_nonce\" ,algs\t=\tES256", CHALLENGE_NONCE);
    assert_verdict(" ,, ,\tDPoP   error=\"use_dpop_nonce\",, ,", CHALLENGE_NONCE);
    assert_verdict("DPoP , error=\"use_dpop_nonce\"", CHALLENGE_NONCE);
    assert_verdict("DPoP error=\"use\\_dpop\\_nonce\"", CHALLENGE_NONCE);
    assert_verdict("DPoP error=\"invalid_token\", DPoP error=\"use_dpop_nonce\"", CHALLENGE_NONCE);
}

static void test_the_words_of_a_nonce_challenge_elsewhere_are_not_one(void **state)
{
    (void)state;
    assert_verdict("Bearer error=\"use_dpop_nonce\"", CHALLENGE_OTHER);
    assert_verdict("DPoP realm=\"use_dpop_nonce\"", CHALLENGE_OTHER);
    assert_verdict("DPoP realm=\"error=\\\"use_dpop_nonce\\\"\"", CHALLENGE_OTHER);
    assert_verdict("DPoP realm=\"x, DPoP error=use_dpop_nonce\"", CHALLENGE_OTHER);
    assert_verdict("DPoP error_description=\"use_dpop_nonce\"", CHALLENGE_OTHER);
    assert_verdict("DPoP use_dpop_nonce", CHALLENGE_OTHER);
    assert_verdict("DPoP xerror=\"use_dpop_nonce\"", CHALLENGE_OTHER);
    assert_verdict("DPoP error=\"USE_DPOP_NONCE\"", CHALLENGE_OTHER);
    assert_verdict("DPoP error=\"use_dpop_nonce2\"", CHALLENGE_OTHER);
    assert_verdict("DPoP error=\" use_dpop_nonce\"", CHALLENGE_OTHER);
    assert_verdict("XDPoP error=\"use_dpop_nonce\"", CHALLENGE_NOTHING);
    assert_verdict("Basic error=\"use_dpop_nonce\"", CHALLENGE_NOTHING);
    assert_verdict("DPoP, Bearer error=\"use_dpop_nonce\"", CHALLENGE_OTHER);
    assert_verdict("Bearer error=\"use_dpop_nonce\", DPoP algs=\"ES256\"", CHALLENGE_OTHER);
    assert_verdict("DPoP algs=\"ES256\", Basic error=\"use_dpop_nonce\"", CHALLENGE_OTHER);
}

static void test_the_other_errors_count_under_either_scheme(void **state)
{
    (void)state;
    assert_verdict("DPoP error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN);
    assert_verdict("Bearer error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN);
    assert_verdict("Bearer error=\"invalid_token\", DPoP algs=\"ES256\"", CHALLENGE_INVALID_TOKEN);
    assert_verdict("DPoP error=\"invalid_dpop_proof\"", CHALLENGE_INVALID_PROOF);
    assert_verdict("Bearer error=\"invalid_dpop_proof\"", CHALLENGE_INVALID_PROOF);
    assert_verdict("Bearer error=\"insufficient_scope\", scope=\"a b\"", CHALLENGE_INSUFFICIENT_SCOPE);
    assert_verdict("DPoP error=\"invalid_request\"", CHALLENGE_OTHER);
    assert_verdict("DPoP", CHALLENGE_OTHER);
    assert_verdict("Bearer", CHALLENGE_OTHER);
    assert_verdict("Basic realm=\"x\", error=\"invalid_token\"", CHALLENGE_NOTHING);
    assert_verdict("", CHALLENGE_NOTHING);
    assert_verdict(" , ", CHALLENGE_NOTHING);
}

static void test_several_headers_fold_into_one_result(void **state)
{
    (void)state;
    struct challenge_result r = {0};
    assert_int_equal(challenge_read(span_text("Basic realm=\"x\""), &r), CHALLENGE_NOTHING);
    assert_int_equal(challenge_read(span_text("Bearer error=\"invalid_token\", error_description=\"from bearer\""), &r),
                     CHALLENGE_INVALID_TOKEN);
    assert_int_equal(challenge_read(span_text("DPoP error=\"use_dpop_nonce\", error_description=\"from dpop\""), &r),
                     CHALLENGE_NONCE);
    assert_int_equal(challenge_read(span_text("Bearer error=\"insufficient_scope\", scope=\"admin\""), &r),
                     CHALLENGE_NONCE);
    assert_int_equal(challenge_read(span_text("DPoP error=\"unfinished"), &r), CHALLENGE_NONCE);
    assert_true(r.has_dpop && r.has_bearer && r.use_dpop_nonce && r.invalid_token && r.insufficient_scope);
    assert_false(r.invalid_dpop_proof);
    assert_string_equal(r.error, "use_dpop_nonce");
    assert_string_equal(r.description, "from dpop");
    assert_string_equal(r.scope, "admin");
}

static void test_the_error_text_is_the_dpop_challenges_else_the_bearers(void **state)
{
    (void)state;
    struct challenge_result r = read_one("DPoP error=\"a\", error_description=\"of a\", "
                                         "Bearer error=\"b\", error_description=\"of b\"");
    assert_string_equal(r.error, "a");
    assert_string_equal(r.description, "of a");
    r = read_one("Bearer error=\"b\", error_description=\"of \\\"b\\\", really\", DPoP algs=ES256");
    assert_string_equal(r.error, "b");
    assert_string_equal(r.description, "of \"b\", really");
    r = read_one("Bearer error=\"b\", error_description=\"of b\", DPoP error=\"c\"");
    assert_string_equal(r.error, "c");
    assert_string_equal(r.description, "");
}

static void test_text_of_a_server_is_cut_and_has_no_control_characters(void **state)
{
    (void)state;
    char value[4000] = "DPoP error=\"";
    struct challenge_result r;
    memset(value + strlen(value), 'e', 600);
    strcat(value, "\", error_description=\"a\tb\x9b");
    memset(value + strlen(value), 'd', 2000);
    strcat(value, "\", scope=\"");
    memset(value + strlen(value), 's', 600);
    strcat(value, "\"");
    r = read_one(value);
    assert_true(r.has_dpop);
    assert_int_equal(strlen(r.error), sizeof(r.error) - 1);
    assert_int_equal(strlen(r.description), sizeof(r.description) - 1);
    assert_true(strncmp(r.description, "a?b?ddd", 7) == 0);
    assert_string_equal(r.scope, "");
}

static void test_an_escape_at_the_end_of_an_escaped_text_is_read_in_pairs(void **state)
{
    (void)state;
    struct challenge_result r = read_one("DPoP error=\"a\\\\\", error_description=\"\\\"\"");
    assert_string_equal(r.error, "a\\");
    assert_string_equal(r.description, "\"");
    assert_nothing_known(span_text("DPoP error=\"a\\\""));
}

static void test_token68_is_skipped_and_ends_its_challenge(void **state)
{
    (void)state;
    assert_verdict("DPoP YWJj", CHALLENGE_OTHER);
    assert_verdict("DPoP YW+/-._~j==", CHALLENGE_OTHER);
    assert_verdict("Negotiate error=, Bearer error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN);
    assert_verdict("Negotiate DPoP, Bearer error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN);
    assert_nothing_known(span_text("Bearer a=b="));
    assert_nothing_known(span_text("Bearer YWJj== x"));
}

static void test_a_malformed_value_says_nothing_at_all(void **state)
{
    (void)state;
    static const char *const bad[] = {"error=\"use_dpop_nonce\"",
                                      "=",
                                      "\"DPoP\"",
                                      "DPoP error=\"use_dpop_nonce",
                                      "DPoP error=\"use_dpop_nonce\\",
                                      "DPoP error=\"use_dpop_nonce\"x",
                                      "DPoP error=\"use_dpop_nonce\" realm=\"a\"",
                                      "DPoP error=\"use_dpop_nonce\", realm=",
                                      "DPoP error=\"use_dpop_nonce\", realm=,",
                                      "DPoP error=\"use_dpop_nonce\", realm=\"a\"\"b\"",
                                      "DPoP error=\"use_dpop_nonce\", {}",
                                      "DPoP error=\"use_dpop_nonce\", a@b",
                                      "DPoP error=\"use_dpop_nonce\"; realm=\"a\"",
                                      "DPoP error='use_dpop_nonce', x=\"",
                                      "DPoP error=\"use_dpop_nonce\", error=\"use_dpop_nonce\"",
                                      "DPoP error=\"invalid_token\", ERROR=\"use_dpop_nonce\"",
                                      "DPoP error=\"x\", error_description=\"a\", error_description=\"b\"",
                                      "DPoP error=\"x\", scope=\"a\", scope=\"b\"",
                                      "DPoP error=\"use_dpop_nonce\"\r\nX: y",
                                      "DPoP error=\"use_dpop_nonce\n\"",
                                      "DPoP error=\"use_dpop_nonce\\\n\"",
                                      "DPoP error=\"use_dpop_nonce\x7f\"",
                                      "DPoP: error=\"use_dpop_nonce\"",
                                      "DPoP=\"x\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_nothing_known(span_text(bad[i]));
    assert_nothing_known(span_of("DPoP error=\"use_dpop_nonce\0\"", 28));
    assert_nothing_known(span_of("DPoP\0 error=use_dpop_nonce", 26));
    assert_nothing_known(span_text(NULL));
}

static void test_a_value_of_more_than_8_kib_says_nothing(void **state)
{
    (void)state;
    static char value[CHALLENGE_MAX + 1];
    static const char start[] = "DPoP error=\"use_dpop_nonce\"";
    struct challenge_result r = {0};
    memset(value, ' ', sizeof(value));
    memcpy(value, start, sizeof(start) - 1);
    assert_nothing_known(span_of(value, CHALLENGE_MAX + 1));
    assert_int_equal(challenge_read(span_of(value, CHALLENGE_MAX), &r), CHALLENGE_NONCE);
}

/* Under the sanitizers: no prefix and no mutation reads outside the value. */
static void test_prefixes_and_random_mutations_never_crash(void **state)
{
    (void)state;
    static const char value[] = "Negotiate YWJj==, DPoP algs=\"ES256 \\\"x\\\"\", "
                                "error = use_dpop_nonce ,, Bearer scope=\"a\"";
    static const char pool[] = "\"\\=, \tDPoPerror\x80\x01";
    uint64_t seed = 7;
    for (int round = 0; round < 50000; round++) {
        struct challenge_result r = {0};
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t len = (size_t)(seed >> 40) % sizeof(value);
        char *copy = span_dup(span_of(value, len)); /* on the heap, so that a byte too many is seen */
        for (uint64_t changes = seed >> 60; len > 0 && changes > 0; changes--) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            copy[(seed >> 33) % len] = pool[(seed >> 50) % (sizeof(pool) - 1)];
        }
        char *exact = len > 0 ? memcpy(test_malloc(len), copy, len) : NULL;
        (void)challenge_read(span_of(exact, len), &r);
        test_free(exact);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_nonce_challenge_of_rfc_9449_is_one),
        cmocka_unit_test(test_a_nonce_challenge_is_found_wherever_it_stands),
        cmocka_unit_test(test_the_words_of_a_nonce_challenge_elsewhere_are_not_one),
        cmocka_unit_test(test_the_other_errors_count_under_either_scheme),
        cmocka_unit_test(test_several_headers_fold_into_one_result),
        cmocka_unit_test(test_the_error_text_is_the_dpop_challenges_else_the_bearers),
        cmocka_unit_test(test_text_of_a_server_is_cut_and_has_no_control_characters),
        cmocka_unit_test(test_an_escape_at_the_end_of_an_escaped_text_is_read_in_pairs),
        cmocka_unit_test(test_token68_is_skipped_and_ends_its_challenge),
        cmocka_unit_test(test_a_malformed_value_says_nothing_at_all),
        cmocka_unit_test(test_a_value_of_more_than_8_kib_says_nothing),
        cmocka_unit_test(test_prefixes_and_random_mutations_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
