/* The records of refused PINs: the model, its text, and everything that makes a text unusable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pins.h"

#define ID "/usr/lib/softhsm/libsofthsm2.so\ndpop-agent 100% \xc3\xa9"
#define SALT_LINE "salt 000102030405060708090a0b0c0d0e0f\n"
#define HEX64(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define HEAD "dpop-agent pins 1\n"

static const uint8_t salt[PIN_SALT_SIZE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static struct pins pins;
static struct error err;

static const uint8_t *verifier(unsigned int n)
{
    static uint8_t v[PIN_VERIFIER_SIZE];
    memset(v, 0, sizeof(v));
    v[0] = (uint8_t)n;
    v[31] = (uint8_t)(n >> 8);
    return v;
}

static struct pins_token *one_token(void)
{
    struct pins_token *t;
    pins_free(&pins);
    assert_int_equal(pins_add(&pins, span_text(ID), salt, &t, &err), STATUS_OK);
    return t;
}

static void test_a_verdict_moves_the_verifier_where_it_belongs(void **state)
{
    (void)state;
    struct pins_token *t = one_token();
    assert_true(pins_record(t, verifier(1), PIN_TRYING));
    assert_false(pins_record(t, verifier(1), PIN_TRYING));
    assert_int_equal(t->trying.count, 1);
    assert_true(pins_record(t, verifier(1), PIN_REFUSED));
    assert_int_equal(t->trying.count, 0);
    assert_int_equal(t->refused.count, 1);
    assert_false(pins_record(t, verifier(1), PIN_REFUSED));
    assert_true(pins_record(t, verifier(1), PIN_TRYING));
    assert_true(pins_record(t, verifier(1), PIN_ACCEPTED));
    assert_int_equal(t->trying.count, 0);
    assert_int_equal(t->refused.count, 0);
    assert_false(pins_record(t, verifier(1), PIN_ACCEPTED));
    assert_true(pins_record(t, verifier(2), PIN_REFUSED));
    assert_true(pins_record(t, verifier(2), PIN_TRYING));
    assert_true(pins_record(t, verifier(2), PIN_UNKNOWN));
    assert_int_equal(t->trying.count, 0);
    assert_int_equal(t->refused.count, 1);
    assert_false(pins_record(t, verifier(2), PIN_UNKNOWN));
}

static void test_a_token_that_is_in_doubt_gets_one_more_try_where_it_had_accepted_a_pin(void **state)
{
    (void)state;
    struct pins_token *t = one_token();
    assert_true(pins_accepted(t, verifier(8)) && pins_accepted(t, verifier(9)));
    assert_true(pins_record(t, verifier(1), PIN_TRYING));
    assert_true(pins_record(t, verifier(1), PIN_DOUBTED));
    assert_int_equal(t->accepted.count + t->trying.count, 0);
    assert_true(pins_record(t, verifier(1), PIN_TRYING));
    assert_false(pins_record(t, verifier(1), PIN_DOUBTED));
    assert_int_equal(t->trying.count, 1);
}

static void test_the_last_four_sources_of_accepted_pins_are_kept(void **state)
{
    (void)state;
    struct pins_token *t = one_token();
    struct buffer b;
    for (unsigned int i = 0; i < PINS_ACCEPTED_MAX + 2; i++)
        assert_true(pins_accepted(t, verifier(i)));
    assert_false(pins_accepted(t, verifier(PINS_ACCEPTED_MAX)));
    assert_int_equal(t->accepted.count, PINS_ACCEPTED_MAX);
    assert_memory_equal(t->accepted.items[0], verifier(2), PIN_SOURCE_SIZE);
    buffer_init(&b, PINS_TEXT_MAX);
    pins_write(&pins, &b);
    pins_free(&pins);
    assert_int_equal(pins_read(buffer_span(&b), "pins", &pins, &err), STATUS_OK);
    t = pins_find(&pins, span_text(ID));
    assert_int_equal(t->accepted.count, PINS_ACCEPTED_MAX);
    assert_memory_equal(t->accepted.items[3], verifier(PINS_ACCEPTED_MAX + 1), PIN_SOURCE_SIZE);
    assert_int_equal(t->refused.count + t->trying.count, 0);
    buffer_free(&b);
}

static void test_the_oldest_of_64_verifiers_makes_room(void **state)
{
    (void)state;
    struct pins_token *t = one_token();
    for (unsigned int i = 0; i < PINS_VERIFIERS_MAX + 2; i++)
        assert_true(pins_record(t, verifier(i), PIN_REFUSED));
    assert_int_equal(t->refused.count, PINS_VERIFIERS_MAX);
    assert_memory_equal(t->refused.items[0], verifier(2), PIN_VERIFIER_SIZE);
    assert_memory_equal(t->refused.items[PINS_VERIFIERS_MAX - 1], verifier(PINS_VERIFIERS_MAX + 1), PIN_VERIFIER_SIZE);
}

static void test_a_token_more_than_256_is_refused_and_none_dropped(void **state)
{
    (void)state;
    struct pins_token *t;
    char id[32];
    pins_free(&pins);
    for (int i = 0; i < PINS_TOKENS_MAX; i++) {
        (void)snprintf(id, sizeof(id), "token %d", i);
        assert_int_equal(pins_add(&pins, span_text(id), salt, &t, &err), STATUS_OK);
    }
    assert_int_equal(pins_add(&pins, span_text("one more"), salt, &t, &err), STATUS_STORE_FAILED);
    assert_int_equal(pins.count, PINS_TOKENS_MAX);
    assert_non_null(pins_find(&pins, span_text("token 0")));
}

static void write_text(struct buffer *b)
{
    buffer_init(b, PINS_TEXT_MAX);
    pins_write(&pins, b);
    assert_false(b->failed);
}

static void test_what_is_written_is_read_back_the_same(void **state)
{
    (void)state;
    struct pins_token *t = one_token();
    struct buffer first, second;
    for (unsigned int i = 0; i < 300; i++)
        (void)pins_record(t, verifier(i), i % 3 == 0 ? PIN_TRYING : PIN_REFUSED);
    assert_int_equal(pins_add(&pins, span_of("\0\xff\n%", 4), salt, &t, &err), STATUS_OK);
    assert_int_equal(pins_add(&pins, span_text(""), salt, &t, &err), STATUS_OK);
    write_text(&first);
    pins_free(&pins);
    assert_int_equal(pins_read(buffer_span(&first), "pins", &pins, &err), STATUS_OK);
    assert_int_equal(pins.count, 3);
    t = pins_find(&pins, span_text(ID));
    assert_non_null(t);
    assert_memory_equal(t->salt, salt, sizeof(salt));
    assert_int_equal(t->refused.count, PINS_VERIFIERS_MAX);
    assert_int_equal(t->trying.count, PINS_VERIFIERS_MAX);
    write_text(&second);
    assert_true(span_equal(buffer_span(&first), buffer_span(&second)));
    buffer_free(&first);
    buffer_free(&second);
}

static void test_a_person_can_read_the_text(void **state)
{
    (void)state;
    struct pins_token *t = one_token();
    struct buffer b;
    (void)pins_record(t, verifier(255), PIN_REFUSED);
    write_text(&b);
    buffer_put(&b, "", 1);
    const char *text = (const char *)buffer_span(&b).data;
    assert_non_null(strstr(text, "\ntoken /usr/lib/softhsm/libsofthsm2.so%0adpop-agent 100%25 %c3%a9\n"
                                 SALT_LINE "refused ff00"));
    buffer_free(&b);
}

static void test_the_largest_model_fits_the_limit(void **state)
{
    (void)state;
    struct pins_token *t;
    struct buffer b;
    uint8_t *id = malloc(LIMIT_URL);
    assert_non_null(id);
    memset(id, 1, LIMIT_URL);
    pins_free(&pins);
    for (int i = 0; i < PINS_TOKENS_MAX; i++) {
        id[0] = (uint8_t)i;
        assert_int_equal(pins_add(&pins, span_of(id, LIMIT_URL), salt, &t, &err), STATUS_OK);
        for (unsigned int j = 0; j < PINS_VERIFIERS_MAX; j++) {
            (void)pins_record(t, verifier(j), PIN_REFUSED);
            (void)pins_record(t, verifier(j), PIN_TRYING);
            (void)pins_accepted(t, verifier(j));
        }
    }
    write_text(&b);
    assert_true(b.len < PINS_TEXT_MAX);
    pins_free(&pins);
    assert_int_equal(pins_read(buffer_span(&b), "pins", &pins, &err), STATUS_OK);
    assert_int_equal(pins.count, PINS_TOKENS_MAX);
    buffer_free(&b);
    free(id);
}

static enum status read_with_checksum(const char *text)
{
    uint8_t sum[32];
    char hex[65];
    struct buffer b;
    buffer_init(&b, PINS_TEXT_MAX);
    buffer_put_text(&b, text);
    (void)crypto_generichash(sum, sizeof(sum), (const uint8_t *)text, strlen(text), NULL, 0);
    (void)sodium_bin2hex(hex, sizeof(hex), sum, sizeof(sum));
    buffer_put_text(&b, "checksum ");
    buffer_put_text(&b, hex);
    buffer_put_text(&b, "\n");
    pins_free(&pins);
    enum status status = pins_read(buffer_span(&b), "/state/pins", &pins, &err);
    buffer_free(&b);
    return status;
}

static void test_a_text_that_breaks_a_rule_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"", ":1:"},
        {"dpop-agent pins 2\n", ":1:"},
        {"# comment\n" HEAD, ":1:"},
        {HEAD "\n", ":2:"},
        {HEAD "unknown x\n", ":2:"},
        {HEAD SALT_LINE, ":2:"},
        {HEAD "token a\n", ":3:"},
        {HEAD "token a\ntoken b\n" SALT_LINE, ":3:"},
        {HEAD "token a\n" SALT_LINE SALT_LINE, ":4:"},
        {HEAD "token a\n" SALT_LINE "token a\n" SALT_LINE, ":4:"},
        {HEAD "token a%4\n" SALT_LINE, ":2:"},
        {HEAD "token a%41\n" SALT_LINE, ":2:"},
        {HEAD "token a%0A\n" SALT_LINE, ":2:"},
        {HEAD "token \xc3\xa9\n" SALT_LINE, ":2:"},
        {HEAD "token a\nsalt 00\n", ":3:"},
        {HEAD "token a\nrefused " HEX64("00") "\n" SALT_LINE, ":3:"},
        {HEAD "token a\n" SALT_LINE "refused " HEX64("0g") "\n", ":4:"},
        {HEAD "token a\n" SALT_LINE "refused " HEX64("AA") "\n", ":4:"},
        {HEAD "token a\n" SALT_LINE "refused " HEX64("00") "0\n", ":4:"},
        {HEAD "token a\n" SALT_LINE "refused " HEX64("00") "\nrefused " HEX64("00") "\n", ":5:"},
        {HEAD "token a\n" SALT_LINE "accepted " HEX64("00") "\naccepted " HEX64("01") "\naccepted " HEX64("02")
              "\naccepted " HEX64("03") "\naccepted " HEX64("04") "\n", ":8:"},
        {HEAD "token a\n" SALT_LINE "refused" HEX64("00") "\n", ":4:"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(read_with_checksum(cases[i].text), STATUS_STORE_FAILED);
        assert_memory_equal(err.message, "/state/pins:", 12);
        assert_non_null(strstr(err.message, cases[i].line));
        assert_int_not_equal(strlen(err.next), 0);
        assert_int_equal(pins.count, 0);
    }
    assert_int_equal(read_with_checksum(HEAD "# note\ntoken a\n" SALT_LINE "trying " HEX64("00") "\n"), STATUS_OK);
    assert_int_equal(read_with_checksum(HEAD), STATUS_OK);
}

static void test_every_truncation_and_every_changed_byte_is_noticed(void **state)
{
    (void)state;
    struct pins_token *t = one_token();
    struct pins read = {0};
    struct buffer b;
    (void)pins_record(t, verifier(1), PIN_REFUSED);
    (void)pins_record(t, verifier(2), PIN_TRYING);
    write_text(&b);
    uint8_t *text = b.data + b.start;
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(pins_read(span_of(text, n), "pins", &read, &err), STATUS_STORE_FAILED);
    for (size_t i = 0; i < b.len; i++) {
        text[i] ^= 1;
        assert_int_equal(pins_read(buffer_span(&b), "pins", &read, &err), STATUS_STORE_FAILED);
        text[i] ^= 1;
    }
    buffer_put_text(&b, "\n");
    assert_int_equal(pins_read(buffer_span(&b), "pins", &read, &err), STATUS_STORE_FAILED);
    buffer_free(&b);
}

static int release(void **state)
{
    (void)state;
    pins_free(&pins);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_verdict_moves_the_verifier_where_it_belongs),
        cmocka_unit_test(test_a_token_that_is_in_doubt_gets_one_more_try_where_it_had_accepted_a_pin),
        cmocka_unit_test(test_the_last_four_sources_of_accepted_pins_are_kept),
        cmocka_unit_test(test_the_oldest_of_64_verifiers_makes_room),
        cmocka_unit_test(test_a_token_more_than_256_is_refused_and_none_dropped),
        cmocka_unit_test(test_what_is_written_is_read_back_the_same),
        cmocka_unit_test(test_a_person_can_read_the_text),
        cmocka_unit_test(test_the_largest_model_fits_the_limit),
        cmocka_unit_test(test_a_text_that_breaks_a_rule_is_refused_with_its_line),
        cmocka_unit_test(test_every_truncation_and_every_changed_byte_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, release);
}
