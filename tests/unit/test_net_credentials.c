/* Client secrets in requests: form-encoded first, for both ways (RFC 6749 section 2.3.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "credentials.h"

static void assert_basic(const char *id, const char *secret, const char *expected)
{
    struct buffer b;
    buffer_init(&b, 65536);
    credentials_put_basic(&b, span_text(id), span_text(secret));
    assert_false(b.failed);
    assert_true(span_is(buffer_span(&b), expected));
    buffer_free(&b);
}

static void test_the_example_of_rfc_6749_gives_its_header(void **state)
{
    (void)state;
    assert_basic("s6BhdRkqt3", "gX1fBat3bV", "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
}

static void test_id_and_secret_are_form_encoded_before_base64(void **state)
{
    (void)state;
    assert_basic("a:b", "c d", "Basic YSUzQWI6Yytk");                         /* a%3Ab:c+d */
    assert_basic("a", "~%&=+\xc3\xa9", "Basic YTolN0UlMjUlMjYlM0QlMkIlQzMlQTk="); /* a:%7E%25%26%3D%2B%C3%A9 */
    assert_basic("", "", "Basic Og==");
}

static void test_a_form_gets_id_and_secret_behind_its_fields(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 1024);
    credentials_put_post(&b, span_text("app"), span_text("s&c"));
    assert_true(span_is(buffer_span(&b), "client_id=app&client_secret=s%26c"));
    buffer_clear(&b);
    buffer_put_text(&b, "grant_type=client_credentials");
    credentials_put_post(&b, span_text("a b"), span_text("*-._"));
    assert_true(span_is(buffer_span(&b), "grant_type=client_credentials&client_id=a+b&client_secret=*-._"));
    buffer_free(&b);
}

static void test_a_buffer_that_is_too_small_says_so(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 16);
    credentials_put_basic(&b, span_text("s6BhdRkqt3"), span_text("gX1fBat3bV"));
    assert_true(b.failed);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_of_rfc_6749_gives_its_header),
        cmocka_unit_test(test_id_and_secret_are_form_encoded_before_base64),
        cmocka_unit_test(test_a_form_gets_id_and_secret_behind_its_fields),
        cmocka_unit_test(test_a_buffer_that_is_too_small_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
