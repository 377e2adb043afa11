/* What becomes of tokens when their key goes: they are taken out of the cache, the new key's come in, and what was
   under way meanwhile is asked for again. */
#include "held_token.h"
#include "tokens_world.h"

/* The name "k" means another key from now on. */
static void rotate(const char *jkt)
{
    copy_text(span_text(jkt), key("k")->public.jkt, sizeof(key("k")->public.jkt));
}

static void test_tokens_of_a_profile_and_key_are_taken_out(void **state)
{
    (void)state;
    obtain("one", NULL, "own", HOUR);
    obtain("one", "x", "more", HOUR);
    obtain("two", NULL, "foreign", HOUR);
    assert_null(tokens_take(front.tokens, profile("one"), OTHER_JKT));
    struct taken_token *taken = tokens_take(front.tokens, profile("one"), JKT);
    assert_non_null(taken);
    assert_non_null(taken->next);
    assert_null(taken->next->next);
    for (const struct taken_token *t = taken; t != NULL; t = t->next) {
        assert_ptr_equal(t->profile, profile("one"));
        assert_string_equal(t->token.jkt, JKT);
        assert_true(span_is(secret_span(t->token.access_token), "own") ||
                    span_is(secret_span(t->token.access_token), "more"));
    }
    taken_tokens_free(taken);
    assert_null(tokens_take(front.tokens, profile("one"), NULL));
    assert_string_equal(ask("two", NULL).token, "foreign");
    assert_int_equal(tokens_count(front.tokens), 1);
    taken_tokens_free(tokens_take(front.tokens, profile("two"), NULL)); /* whatever key */
    assert_int_equal(tokens_count(front.tokens), 0);
}

static void test_one_that_has_ended_is_not_worth_a_revocation(void **state)
{
    (void)state;
    obtain("one", NULL, "own", 10);
    now += 11 * SECOND;
    assert_null(tokens_take(front.tokens, profile("one"), JKT));
    assert_int_equal(tokens_count(front.tokens), 0);
}

static struct held_token held(const char *token, const char *jkt)
{
    struct held_token t = {0};
    struct granted g = {
        .access_token = span_text(token), .token_type = span_text("DPoP"), .jkt = jkt, .lifetime = HOUR, .asked = now};
    assert_int_equal(held_token_take(&t, &g, now), 0);
    return t;
}

static void test_a_token_of_the_proof_serves_at_once_and_is_renewed_like_any_other(void **state)
{
    struct held_token new = held("new", OTHER_JKT), first = held("first", OTHER_JKT);
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "old", HOUR);
    rotate(OTHER_JKT);
    granted_jkt = OTHER_JKT;
    taken_tokens_free(tokens_take(front.tokens, profile("one"), JKT));
    tokens_put(front.tokens, profile("one"), &new);
    tokens_put(front.tokens, profile("two"), &first); /* nobody has asked for it before */
    assert_null(new.access_token);
    assert_string_equal(ask("one", NULL).token, "new");
    assert_string_equal(ask("two", NULL).token, "first");
    assert_int_equal(begun_count, 1);
    (void)fire_timer_until(sent + HOUR * SECOND);
    assert_int_equal(begun_count, 3);
}

static void test_who_waits_for_an_exchange_with_the_old_key_gets_a_token_of_the_new_one(void **state)
{
    struct caller c;
    struct token_query q = query("one", "x");
    (void)state;
    wait_as(&c, &q);
    rotate(OTHER_JKT);
    end_with_token(0, "old", HOUR);
    assert_int_equal(c.calls, 0);
    assert_int_equal(begun_count, 2);
    assert_string_equal(begun[1].scope, "x");
    granted_jkt = OTHER_JKT;
    end_with_token(1, "new", HOUR);
    assert_int_equal(c.calls, 1);
    assert_string_equal(c.token, "new");
    struct taken_token *strays = tokens_take(front.tokens, profile("one"), JKT); /* that nobody ever had */
    assert_true(span_is(secret_span(strays->token.access_token), "old"));
    assert_null(strays->next);
    taken_tokens_free(strays);
}

static void test_where_the_proof_has_brought_one_who_waits_gets_that(void **state)
{
    struct held_token new = held("new", OTHER_JKT);
    struct caller c;
    struct token_query q = query("one", NULL);
    (void)state;
    wait_as(&c, &q);
    rotate(OTHER_JKT);
    tokens_put(front.tokens, profile("one"), &new);
    assert_int_equal(c.calls, 0);
    struct exchange_result result = {0};
    struct granted g = {
        .access_token = span_text("old"), .token_type = span_text("DPoP"), .jkt = JKT, .lifetime = HOUR, .asked = now};
    granted_jkt = OTHER_JKT; /* what callers get */
    begun[0].done(begun[0].context, NULL, &g, &result);
    begun[0].done = NULL;
    assert_int_equal(c.calls, 1);
    assert_string_equal(c.token, "new");
    assert_int_equal(begun_count, 1);
}

static void test_a_logins_token_goes_with_its_login_and_not_with_its_key(void **state)
{
    struct caller c;
    struct token_query q = query("user", NULL);
    (void)state;
    wait_as(&c, &q);
    rotate(OTHER_JKT);
    end_with_token(0, "old", HOUR);
    assert_int_equal(c.calls, 1);
    assert_string_equal(c.token, "old");
    assert_int_equal(begun_count, 1);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        TEST(test_tokens_of_a_profile_and_key_are_taken_out),
        TEST(test_one_that_has_ended_is_not_worth_a_revocation),
        TEST(test_a_token_of_the_proof_serves_at_once_and_is_renewed_like_any_other),
        TEST(test_who_waits_for_an_exchange_with_the_old_key_gets_a_token_of_the_new_one),
        TEST(test_where_the_proof_has_brought_one_who_waits_gets_that),
        TEST(test_a_logins_token_goes_with_its_login_and_not_with_its_key),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
