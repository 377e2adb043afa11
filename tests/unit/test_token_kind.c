/* The token cache's key: what makes two requests the same, and everything that makes them different. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "token_kind.h"

static char text_issuer[] = "https://as.example", text_endpoint[] = "https://as.example/token", text_client[] = "app",
            text_key[] = "work", text_scope[] = "a b";
static char *resources[] = {(char[]){"https://api.example"}, (char[]){"urn:x"}};
static char *form[] = {(char[]){"audience=x"}, (char[]){"y=z"}};

static struct profile_config profile(void)
{
    return (struct profile_config){.name = NULL,
                                   .key = text_key,
                                   .issuer = text_issuer,
                                   .token_endpoint = text_endpoint,
                                   .client_id = text_client,
                                   .client_authentication = CLIENT_SECRET_BASIC,
                                   .scope = text_scope,
                                   .resources = {.items = resources, .count = 1},
                                   .form = {.items = form, .count = 1}};
}

static struct token_kind kind_with(const struct profile_config *p, const char *scope, const char *const *asked, size_t count)
{
    struct token_kind kind;
    struct span items[4];
    for (size_t i = 0; i < count; i++)
        items[i] = span_text(asked[i]);
    struct list list = {.items = items, .count = count};
    token_kind_of(p, span_text(scope), &list, &kind);
    return kind;
}

static struct token_kind kind(const struct profile_config *p, const char *scope)
{
    return kind_with(p, scope, NULL, 0);
}

static bool same(struct token_kind a, struct token_kind b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static void test_the_profiles_own_scope_and_resources_stand_in_for_absent_ones(void **state)
{
    struct profile_config p = profile();
    const char *own[] = {"https://api.example"};
    (void)state;
    assert_true(same(kind(&p, NULL), kind(&p, "a b")));
    assert_true(same(kind(&p, NULL), kind_with(&p, NULL, own, 1)));
}

static void test_scope_is_a_set_order_repetition_and_blanks_do_not_count(void **state)
{
    struct profile_config p = profile();
    (void)state;
    assert_true(same(kind(&p, "a b c"), kind(&p, "c a b")));
    assert_true(same(kind(&p, "a b"), kind(&p, "b a b a")));
    assert_true(same(kind(&p, "a b"), kind(&p, "  a   b ")));
    assert_false(same(kind(&p, "a b"), kind(&p, "a")));
    assert_false(same(kind(&p, "a b"), kind(&p, "ab")));
    assert_false(same(kind(&p, "a b"), kind(&p, "a B")));
    assert_false(same(kind(&p, "a"), kind(&p, "")));
}

static void test_an_empty_scope_is_the_same_as_none_in_the_profile(void **state)
{
    struct profile_config p = profile();
    p.scope = NULL;
    (void)state;
    assert_true(same(kind(&p, NULL), kind(&p, "")));
}

static void test_two_profiles_that_ask_for_the_same_share_a_token(void **state)
{
    struct profile_config a = profile(), b = profile();
    (void)state;
    a.name = (char[]){"one"};
    b.name = (char[]){"two"};
    b.timeout = 5;
    assert_true(same(kind(&a, NULL), kind(&b, NULL)));
}

static void test_each_field_that_the_server_sees_makes_a_difference(void **state)
{
    struct profile_config base = profile();
    struct token_kind own = kind(&base, NULL);
    (void)state;
    static char issuer[] = "https://as.example/", endpoint[] = "https://as.example/token2", client[] = "App", key[] = "spare",
                scope[] = "a b c";
    struct profile_config others[12];
    for (size_t i = 0; i < 12; i++)
        others[i] = profile();
    others[0].issuer = issuer;
    others[1].issuer = NULL;
    others[2].token_endpoint = endpoint;
    others[3].token_endpoint = NULL;
    others[4].client_id = client;
    others[5].client_authentication = CLIENT_SECRET_POST;
    others[6].client_key = text_key;
    others[7].key = key;
    others[8].scope = scope;
    others[9].resources.count = 2;
    others[10].resources.count = 0;
    others[11].form.count = 2;
    for (size_t i = 0; i < 12; i++)
        assert_false(same(own, kind(&others[i], NULL)));
}

static void test_what_else_the_request_is_made_of_makes_a_difference_too(void **state)
{
    struct profile_config base = profile(), others[17];
    struct token_kind own = kind(&base, NULL), kinds[17];
    (void)state;
    for (size_t i = 0; i < 17; i++)
        others[i] = profile();
    char *more[] = {text_client};
    others[0].audiences = (struct strings){.items = more, .count = 1};
    others[1].authorization_details = text_client;
    others[2].subject_token_profile = text_client;
    others[3].subject_token_file = text_client;
    others[4].subject_token_type = text_client;
    others[5].actor_token_file = text_client;
    others[6].actor_token_type = text_client;
    others[7].requested_token_type = text_client;
    others[8].assertion_file = text_client;
    others[9].assertion_key = text_client;
    others[10].assertion_issuer = text_client;
    others[11].assertion_subject = text_client;
    others[12].assertion_audience = text_client;
    others[13].dpop = DPOP_OPTIONAL;
    others[14].dpop = DPOP_REFRESH_ONLY;
    others[15].grant = GRANT_TOKEN_EXCHANGE;
    others[16].grant = GRANT_JWT_BEARER;
    for (size_t i = 0; i < 17; i++) {
        kinds[i] = kind(&others[i], NULL);
        assert_false(same(own, kinds[i]));
        for (size_t k = 0; k < i; k++)
            assert_false(same(kinds[k], kinds[i]));
    }
}

static void test_the_tokens_of_a_login_are_shared_by_no_other_profile(void **state)
{
    static const enum grant grants[] = {GRANT_AUTHORIZATION_CODE, GRANT_DEVICE_CODE};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct profile_config a = profile(), b = profile();
        a.name = (char[]){"alice"};
        b.name = (char[]){"bob"};
        a.grant = b.grant = grants[i];
        assert_false(same(kind(&a, NULL), kind(&b, NULL)));
        assert_true(same(kind(&a, NULL), kind(&a, "b a")));
    }
}

static void test_what_an_application_gives_makes_another_kind_by_its_place(void **state)
{
    static const char *const given[][2] = {{"x", NULL}, {NULL, "x"}, {"x", "x"}, {"xx", NULL}, {"", NULL}, {NULL, NULL}};
    struct profile_config p = profile();
    struct token_kind kinds[6];
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        kinds[i] = kind(&p, NULL);
        token_kind_add(&kinds[i], span_text(given[i][0]));
        token_kind_add(&kinds[i], span_text(given[i][1]));
        assert_false(same(kinds[i], kind(&p, NULL)));
        for (size_t k = 0; k < i; k++)
            assert_false(same(kinds[k], kinds[i]));
    }
}

static void test_resources_and_form_fields_keep_their_order(void **state)
{
    struct profile_config p = profile();
    const char *forwards[] = {"urn:a", "urn:b"}, *backwards[] = {"urn:b", "urn:a"};
    (void)state;
    assert_false(same(kind_with(&p, NULL, forwards, 2), kind_with(&p, NULL, backwards, 2)));
}

static void test_lists_that_join_to_the_same_text_differ(void **state)
{
    struct profile_config p = profile();
    const char *one[] = {"urn:ab", "c"}, *two[] = {"urn:a", "bc"}, *three[] = {"urn:abc"};
    (void)state;
    assert_false(same(kind_with(&p, NULL, one, 2), kind_with(&p, NULL, two, 2)));
    assert_false(same(kind_with(&p, NULL, one, 2), kind_with(&p, NULL, three, 1)));
    struct profile_config q = profile();
    p.issuer = (char[]){"https://a"};
    p.token_endpoint = (char[]){"https://bc"};
    q.issuer = (char[]){"https://ahttps://b"};
    q.token_endpoint = (char[]){"c"};
    assert_false(same(kind(&p, NULL), kind(&q, NULL)));
}

static void test_a_text_does_not_move_from_one_field_to_the_next(void **state)
{
    struct profile_config p = profile(), q = profile();
    char *moved[] = {(char[]){"https://api.example"}};
    (void)state;
    p.form.count = 0;
    q.form = (struct strings){.items = moved, .count = 1};
    q.resources.count = 0;
    assert_false(same(kind(&p, NULL), kind(&q, NULL)));
    p = profile();
    q = profile();
    p.scope = (char[]){"https://api.example"};
    p.resources.count = 0;
    q.scope = NULL;
    assert_false(same(kind(&p, NULL), kind(&q, NULL)));
    p = profile();
    q = profile();
    p.token_endpoint = NULL;
    q.issuer = NULL;
    q.token_endpoint = text_issuer;
    assert_false(same(kind(&p, NULL), kind(&q, NULL)));
}

static void test_scopes_of_more_words_than_are_sorted_still_differ(void **state)
{
    struct profile_config p = profile();
    char *many = malloc(4096);
    size_t len = 0;
    (void)state;
    assert_non_null(many);
    for (size_t i = 0; i < 600; i++) {
        many[len++] = (char)('a' + i % 26);
        many[len++] = (char)('a' + i / 26);
        many[len++] = ' ';
    }
    many[len] = '\0';
    struct token_kind first = kind(&p, many);
    assert_true(same(first, kind(&p, many)));
    many[len - 2] = 'Z';
    assert_false(same(first, kind(&p, many)));
    many[len - 4] = '\0';
    assert_false(same(first, kind(&p, many)));
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_profiles_own_scope_and_resources_stand_in_for_absent_ones),
        cmocka_unit_test(test_scope_is_a_set_order_repetition_and_blanks_do_not_count),
        cmocka_unit_test(test_an_empty_scope_is_the_same_as_none_in_the_profile),
        cmocka_unit_test(test_two_profiles_that_ask_for_the_same_share_a_token),
        cmocka_unit_test(test_each_field_that_the_server_sees_makes_a_difference),
        cmocka_unit_test(test_what_else_the_request_is_made_of_makes_a_difference_too),
        cmocka_unit_test(test_the_tokens_of_a_login_are_shared_by_no_other_profile),
        cmocka_unit_test(test_what_an_application_gives_makes_another_kind_by_its_place),
        cmocka_unit_test(test_resources_and_form_fields_keep_their_order),
        cmocka_unit_test(test_lists_that_join_to_the_same_text_differ),
        cmocka_unit_test(test_a_text_does_not_move_from_one_field_to_the_next),
        cmocka_unit_test(test_scopes_of_more_words_than_are_sorted_still_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
