/* Header lines as libcurl gives them: the final block's values, and the limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "headers.h"

#define NOW 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */

static struct headers h;

/* Adds the lines of a text, each with its line end. */
static int add(const char *lines)
{
    while (*lines != '\0') {
        size_t n = strcspn(lines, "\n") + 1;
        if (headers_add(&h, span_of(lines, n)) != 0)
            return -1;
        lines += n;
    }
    return 0;
}

static void begin(const char *lines)
{
    headers_free(&h);
    assert_int_equal(add(lines), 0);
}

static void assert_value(const struct headers_value *value, const char *expected)
{
    struct span s = headers_span(&h, value);
    assert_true(expected == NULL ? s.data == NULL : s.data != NULL && span_is(s, expected));
}

static void test_every_nonce_of_the_answer_comes_out_trimmed_whatever_the_name_s_case(void **state)
{
    (void)state;
    begin("HTTP/1.1 200 OK\r\nDPoP-Nonce: \t one \t\r\ndpop-nonce:two\r\nDPOP-NONCE:\r\nX-DPoP-Nonce: no\r\n"
          "DPoP-Nonces: no\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-TYPE: text/html\r\n\r\n");
    assert_int_equal(h.nonce_count, 3);
    assert_value(&h.nonces[0], "one");
    assert_value(&h.nonces[1], "two");
    assert_value(&h.nonces[2], "");
    assert_value(&h.date, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_value(&h.content_type, "text/html");
    assert_value(&h.retry_after, NULL);
}

static void test_blocks_of_1xx_answers_and_trailers_do_not_count(void **state)
{
    (void)state;
    begin("HTTP/1.1 100 Continue\r\nDPoP-Nonce: a\r\nDate: no\r\n\r\nHTTP/1.1 103 Early Hints\r\nDPoP-Nonce: b\r\n\r\n"
          "HTTP/1.1 200 OK\r\nDPoP-Nonce: c\r\n\r\nDPoP-Nonce: d\r\nHTTP/1.1 200 OK\r\nDPoP-Nonce: e\r\n\r\n");
    assert_int_equal(h.nonce_count, 1);
    assert_value(&h.nonces[0], "c");
    assert_value(&h.date, NULL);
}

static void test_a_header_that_looks_like_a_status_line_begins_no_block(void **state)
{
    (void)state;
    begin("HTTP/1.1 200 OK\r\nDPoP-Nonce: a\r\nHTTP/1.1: x\r\n\r\n");
    assert_int_equal(h.nonce_count, 1);
}

static void test_a_folded_line_continues_its_value(void **state)
{
    (void)state;
    begin("HTTP/1.1 200 OK\r\nDPoP-Nonce: a\r\n\t b\r\nX: y\r\n z\r\nDPoP-Nonce: c\r\n\r\n");
    assert_int_equal(h.nonce_count, 2);
    assert_value(&h.nonces[0], "a b");
    assert_value(&h.nonces[1], "c");
}

static void test_lines_that_are_no_headers_are_skipped(void **state)
{
    (void)state;
    begin("HTTP/1.1 200 OK\r\nDPoP-Nonce\r\n: empty\r\nDate : space\r\nDate: good\r\nDate: second\r\n\r\n");
    assert_int_equal(h.nonce_count, 0);
    assert_value(&h.date, "good");
}

static void test_a_hundred_lines_or_64_kib_are_the_limit_over_all_blocks(void **state)
{
    (void)state;
    char line[32768];
    begin("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n");
    for (int i = 3; i < HEADERS_LINES_MAX; i++)
        assert_int_equal(add("DPoP-Nonce: x\r\n"), 0);
    assert_int_equal(add("\r\n"), -1);
    memset(line, 'x', sizeof(line));
    memcpy(line, "DPoP-Nonce: ", 12);
    headers_free(&h);
    assert_int_equal(headers_add(&h, span_of("HTTP/1.1 200 OK", 15)), 0);
    assert_int_equal(headers_add(&h, span_of(line, sizeof(line))), 0);
    assert_int_equal(headers_span(&h, &h.nonces[0]).len, LIMIT_HEADER_VALUE); /* still over what the front allows */
    assert_int_equal(headers_add(&h, span_of(line, sizeof(line) - 15)), 0);
    assert_int_equal(headers_add(&h, span_of(line, 1)), -1);
}

static uint32_t retry_after(const char *value)
{
    struct buffer line;
    headers_free(&h);
    buffer_init(&line, 1024);
    buffer_put_text(&line, "Retry-After: ");
    buffer_put_text(&line, value);
    buffer_put_text(&line, "\r\n");
    assert_int_equal(add("HTTP/1.1 503 No\r\n"), 0);
    assert_int_equal(headers_add(&h, buffer_span(&line)), 0);
    buffer_free(&line);
    return headers_retry_after(&h, NOW);
}

static void test_retry_after_is_read_as_seconds_or_as_a_date_and_bounded_to_a_day(void **state)
{
    (void)state;
    assert_int_equal(retry_after("120"), 120);
    assert_int_equal(retry_after("0"), 0);
    assert_int_equal(retry_after("86401"), 86400);
    assert_int_equal(retry_after("99999999999999999999"), 86400);
    assert_int_equal(retry_after("Sun, 06 Nov 1994 08:50:37 GMT"), 60);
    assert_int_equal(retry_after("Sunday, 06-Nov-94 08:50:37 GMT"), 60);
    assert_int_equal(retry_after("Sun, 06 Nov 1994 08:49:36 GMT"), 0);
    assert_int_equal(retry_after("Sun, 06 Nov 2094 08:49:37 GMT"), 86400);
    assert_int_equal(retry_after("-5"), 0);
    assert_int_equal(retry_after("soon"), 0);
    assert_int_equal(retry_after(""), 0);
    begin("HTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(headers_retry_after(&h, NOW), 0);
}

static int release(void **state)
{
    (void)state;
    headers_free(&h);
    return 0;
}

static int prepare(void **state)
{
    (void)state;
    headers_init(&h);
    return 0;
}

static void hide_canary(void)
{
    struct masking masking;
    masking_init(&masking);
    masking_add(&masking, span_text("CANARY\"SECRET"));
    headers_mask(&h, &masking);
    masking_free(&masking);
}

static void test_secrets_are_taken_out_of_challenges_and_nothing_else_is_touched(void **state)
{
    (void)state;
    begin("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: DPoP error=\"invalid_token\", algs=\"ES256\"\r\n"
          "WWW-Authenticate: DPoP error_description=\"no CANARY\\\"SECRET here\",\r\n again=\"CANARY%22SECRET\"\r\n"
          "Date: today\r\nWWW-Authenticate: Basic realm=\"\x80\"\r\n\r\n");
    hide_canary();
    assert_int_equal(h.challenge_count, 3);
    assert_value(&h.challenges[0], "DPoP error=\"invalid_token\", algs=\"ES256\"");
    assert_value(&h.challenges[1], "DPoP error_description=\"no (masked) here\", again=\"(masked)\"");
    assert_value(&h.challenges[2], "Basic realm=\"\x80\"");
    assert_value(&h.date, "today");
}

static void test_a_secret_where_a_long_challenge_is_cut_leaves_no_half(void **state)
{
    (void)state;
    static const char head[] = "WWW-Authenticate: ", secret[] = "CANARY\"SECRET\r\n";
    char line[sizeof(head) + LIMIT_HEADER_VALUE + sizeof(secret)];
    memcpy(line, head, strlen(head));
    memset(line + strlen(head), 'a', LIMIT_HEADER_VALUE - 7);
    memcpy(line + strlen(head) + LIMIT_HEADER_VALUE - 7, secret, sizeof(secret));
    begin("HTTP/1.1 401 Unauthorized\r\n");
    assert_int_equal(add(line), 0);
    hide_canary();
    assert_value(&h.challenges[0], "(masked, 16390 bytes)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_nonce_of_the_answer_comes_out_trimmed_whatever_the_name_s_case),
        cmocka_unit_test(test_blocks_of_1xx_answers_and_trailers_do_not_count),
        cmocka_unit_test(test_a_header_that_looks_like_a_status_line_begins_no_block),
        cmocka_unit_test(test_a_folded_line_continues_its_value),
        cmocka_unit_test(test_lines_that_are_no_headers_are_skipped),
        cmocka_unit_test(test_a_hundred_lines_or_64_kib_are_the_limit_over_all_blocks),
        cmocka_unit_test(test_secrets_are_taken_out_of_challenges_and_nothing_else_is_touched),
        cmocka_unit_test(test_a_secret_where_a_long_challenge_is_cut_leaves_no_half),
        cmocka_unit_test(test_retry_after_is_read_as_seconds_or_as_a_date_and_bounded_to_a_day),
    };
    return cmocka_run_group_tests(tests, prepare, release);
}
