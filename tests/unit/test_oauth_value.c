/* Scopes and resources: what RFC 6749 and RFC 8707 allow, and nothing else. */
#include "oauth_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void test_a_scope_is_words_without_quotes(void **state)
{
    (void)state;
    assert_true(oauth_scope_valid(span_text("read")));
    assert_true(oauth_scope_valid(span_text("read https://x.example/y!z")));
    assert_true(oauth_scope_valid(span_text(" write  read")));
    const char *wrong[] = {"\"a b\"", "a\\b", "a\tb", "\xc3\xa4", "a\x7f"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(oauth_scope_valid(span_text(wrong[i])));
}

static void test_a_resource_is_an_absolute_uri_without_a_fragment(void **state)
{
    (void)state;
    assert_true(oauth_resource_valid(span_text("https://api.example/x?y")));
    assert_true(oauth_resource_valid(span_text("urn:example:api")));
    const char *wrong[] = {"", "nope", ":x", "https://a/#f", "https://a/ b", "https://\xc3\xa4/"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(oauth_resource_valid(span_text(wrong[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_scope_is_words_without_quotes),
        cmocka_unit_test(test_a_resource_is_an_absolute_uri_without_a_fragment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
