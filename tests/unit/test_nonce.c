/* The table of newest nonces: who shares one with whom (nobody), what replaces what, and what goes when it is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "nonce.h"

#define AS NONCE_AUTHORIZATION_SERVER
#define RS NONCE_RESOURCE_SERVER

static int new_table(void **state)
{
    *state = nonce_table_new(4);
    return *state != NULL ? 0 : -1;
}

static int free_table(void **state)
{
    nonce_table_free(*state);
    return 0;
}

static void put(struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt, const char *nonce)
{
    assert_int_equal(nonce_put(table, role, origin, jkt, span_text(nonce)), 0);
}

static void assert_has(struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt,
                       const char *nonce)
{
    const char *found = nonce_get(table, role, origin, jkt);
    assert_non_null(found);
    assert_string_equal(found, nonce);
}

static void test_an_empty_table_has_no_nonce(void **state)
{
    assert_null(nonce_get(*state, RS, "https://a", "k"));
    assert_int_equal(nonce_table_count(*state), 0);
}

static void test_the_newest_nonce_replaces_the_one_before_it(void **state)
{
    put(*state, RS, "https://a", "k", "one");
    put(*state, RS, "https://a", "k", "two");
    assert_has(*state, RS, "https://a", "k", "two");
    assert_int_equal(nonce_table_count(*state), 1);
}

static void test_roles_origins_and_keys_do_not_share_nonces(void **state)
{
    put(*state, RS, "https://a", "k", "resource");
    assert_null(nonce_get(*state, AS, "https://a", "k"));
    assert_null(nonce_get(*state, RS, "https://b", "k"));
    assert_null(nonce_get(*state, RS, "https://a:8443", "k"));
    assert_null(nonce_get(*state, RS, "https://a", "l"));
    assert_null(nonce_get(*state, RS, "https://", "ak"));
    put(*state, AS, "https://a", "k", "token");
    put(*state, RS, "https://", "ak", "other");
    assert_has(*state, RS, "https://a", "k", "resource");
    assert_has(*state, AS, "https://a", "k", "token");
    assert_has(*state, RS, "https://", "ak", "other");
}

static void test_a_full_table_forgets_what_was_not_used_for_longest(void **state)
{
    put(*state, RS, "https://a", "k", "a");
    put(*state, RS, "https://b", "k", "b");
    put(*state, RS, "https://c", "k", "c");
    put(*state, RS, "https://d", "k", "d");
    assert_has(*state, RS, "https://a", "k", "a"); /* asked for */
    put(*state, RS, "https://b", "k", "b2");       /* replaced */
    put(*state, RS, "https://e", "k", "e");
    assert_null(nonce_get(*state, RS, "https://c", "k"));
    put(*state, RS, "https://f", "k", "f");
    assert_null(nonce_get(*state, RS, "https://d", "k"));
    assert_has(*state, RS, "https://a", "k", "a");
    assert_has(*state, RS, "https://b", "k", "b2");
    assert_has(*state, RS, "https://e", "k", "e");
    assert_has(*state, RS, "https://f", "k", "f");
    assert_int_equal(nonce_table_count(*state), 4);
}

static void test_an_invalid_nonce_changes_nothing(void **state)
{
    static char long_nonce[NONCE_MAX + 1];
    memset(long_nonce, 'n', sizeof(long_nonce));
    put(*state, RS, "https://a", "k", "one");
    assert_int_equal(nonce_put(*state, RS, "https://a", "k", span_text("")), -1);
    assert_int_equal(nonce_put(*state, RS, "https://a", "k", span_text("a b")), -1);
    assert_int_equal(nonce_put(*state, RS, "https://a", "k", span_of(long_nonce, sizeof(long_nonce))), -1);
    assert_has(*state, RS, "https://a", "k", "one");
    assert_int_equal(nonce_put(*state, RS, "https://a", "k", span_of(long_nonce, NONCE_MAX)), 0);
    assert_int_equal(strlen(nonce_get(*state, RS, "https://a", "k")), NONCE_MAX);
}

static void test_a_nonce_may_be_put_from_the_table_itself(void **state)
{
    put(*state, RS, "https://a", "k", "one");
    put(*state, RS, "https://a", "k", nonce_get(*state, RS, "https://a", "k"));
    assert_has(*state, RS, "https://a", "k", "one");
}

static void test_the_characters_of_a_nonce_are_those_of_rfc_9449(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        uint8_t text[] = {'a', (uint8_t)c, 'b'};
        bool allowed = c == 0x21 || (c >= 0x23 && c <= 0x5b) || (c >= 0x5d && c <= 0x7e);
        assert_int_equal(nonce_valid(span_of(text, 3)), allowed);
    }
    assert_false(nonce_valid(span_text(NULL)));
}

static void test_a_table_of_thousands_keeps_the_newest_of_many_more(void **state)
{
    (void)state;
    struct nonce_table *table = nonce_table_new(2000);
    char origin[64], nonce[32];
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(origin, sizeof(origin), "https://host-%d.example", i);
        (void)snprintf(nonce, sizeof(nonce), "n%d", i);
        put(table, i % 2 == 0 ? AS : RS, origin, "k", nonce);
    }
    assert_int_equal(nonce_table_count(table), 2000);
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(origin, sizeof(origin), "https://host-%d.example", i);
        (void)snprintf(nonce, sizeof(nonce), "n%d", i);
        if (i < 8000)
            assert_null(nonce_get(table, i % 2 == 0 ? AS : RS, origin, "k"));
        else
            assert_has(table, i % 2 == 0 ? AS : RS, origin, "k", nonce);
    }
    nonce_table_free(table);
}

static void test_a_table_of_one_keeps_the_last(void **state)
{
    (void)state;
    struct nonce_table *table = nonce_table_new(1);
    put(table, RS, "https://a", "k", "a");
    put(table, RS, "https://b", "k", "b");
    assert_null(nonce_get(table, RS, "https://a", "k"));
    assert_has(table, RS, "https://b", "k", "b");
    nonce_table_free(table);
}

static void test_a_table_without_room_is_none_and_freeing_none_is_safe(void **state)
{
    (void)state;
    assert_null(nonce_table_new(0));
    nonce_table_free(NULL);
}

static void test_a_digest_is_the_first_8_bytes_of_sha_256(void **state)
{
    (void)state;
    uint8_t digest[NONCE_DIGEST_SIZE];
    assert_int_equal(nonce_digest(span_text("abc"), digest), 0);
    assert_memory_equal(digest, ((const uint8_t[]){0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea}), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_empty_table_has_no_nonce, new_table, free_table),
        cmocka_unit_test_setup_teardown(test_the_newest_nonce_replaces_the_one_before_it, new_table, free_table),
        cmocka_unit_test_setup_teardown(test_roles_origins_and_keys_do_not_share_nonces, new_table, free_table),
        cmocka_unit_test_setup_teardown(test_a_full_table_forgets_what_was_not_used_for_longest, new_table, free_table),
        cmocka_unit_test_setup_teardown(test_an_invalid_nonce_changes_nothing, new_table, free_table),
        cmocka_unit_test_setup_teardown(test_a_nonce_may_be_put_from_the_table_itself, new_table, free_table),
        cmocka_unit_test(test_the_characters_of_a_nonce_are_those_of_rfc_9449),
        cmocka_unit_test(test_a_table_of_thousands_keeps_the_newest_of_many_more),
        cmocka_unit_test(test_a_table_of_one_keeps_the_last),
        cmocka_unit_test(test_a_table_without_room_is_none_and_freeing_none_is_safe),
        cmocka_unit_test(test_a_digest_is_the_first_8_bytes_of_sha_256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
