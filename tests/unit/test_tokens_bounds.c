/* The token cache's limits: how many kinds it keeps, how many may wait and exchange for one profile, what it forgets. */
#include "tokens_world.h"

/* --- bounds --- */

static void test_of_more_kinds_than_are_kept_the_one_that_was_not_asked_for_for_longest_goes(void **state)
{
    struct caller c, at_work;
    char scope[16];
    struct token_query q, q_work = query("two", "work");
    (void)state;
    wait_as(&at_work, &q_work); /* the oldest, but at an exchange */
    for (size_t i = 0; i < 4095; i++) {
        now += 1;
        (void)snprintf(scope, sizeof(scope), "s%zu", i);
        obtain("one", scope, "t", 24 * HOUR);
    }
    now += 1;
    assert_int_equal(ask("one", "s0").status, STATUS_OK); /* used again: s1 is now the oldest */
    obtain("one", "one-more", "t", 24 * HOUR);
    assert_int_equal(tokens_count(front.tokens), 4095);
    size_t before = begun_count;
    assert_int_equal(ask("one", "s0").status, STATUS_OK);
    assert_int_equal(ask("one", "s2").status, STATUS_OK);
    assert_int_equal(begun_count, before);
    q = query("one", "s1");
    wait_as(&c, &q);
    assert_int_equal(begun_count, before + 1);
    end_with_token(0, "work", HOUR);
    assert_int_equal(at_work.calls, 1);
}

static void test_a_callback_that_asks_for_more_kinds_than_are_kept_cannot_take_its_own_entry_away(void **state)
{
    struct caller first = {0}, second = {0};
    char scope[16];
    struct token_query q = query("one", "first"), more = query("one", "more");
    (void)state;
    first.again = &more;
    first.again_caller = &second;
    tokens_get(front.tokens, &q, on_token, &first);
    for (size_t i = 0; i < 4095; i++) {
        now += 1;
        (void)snprintf(scope, sizeof(scope), "s%zu", i);
        obtain("one", scope, "t", 24 * HOUR);
    }
    end_with_token(0, "t", 24 * HOUR);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 0);
    assert_string_equal(ask("one", "first").token, "t");
}

static void test_a_server_that_hangs_takes_exchanges_and_places_from_its_own_profile_only(void **state)
{
    static struct caller callers[5000];
    struct caller c;
    struct token_query q;
    char scope[16];
    size_t waiting = 0, busy = 0;
    (void)state;
    obtain("one", "cached", "cached", 24 * HOUR);
    for (size_t i = 0; i < 5000; i++) {
        (void)snprintf(scope, sizeof(scope), "s%zu", i % 40);
        q = query("one", scope);
        callers[i] = (struct caller){0};
        tokens_get(front.tokens, &q, on_token, &callers[i]);
        busy += callers[i].calls == 1 && callers[i].status == STATUS_BUSY;
        waiting += callers[i].calls == 0;
    }
    assert_int_equal(busy + waiting, 5000);
    assert_int_equal(begun_count, 1 + 32);
    assert_int_equal(waiting, 4000); /* 32 of 40 kinds, 125 each */
    q = query("one", "s0");
    for (size_t i = 0; i < 96; i++)
        wait_as(&callers[4000 + i], &q);
    assert_int_equal(ask("one", "s0").status, STATUS_BUSY); /* 4096 wait */
    assert_string_equal(ask("one", "cached").token, "cached");
    q = query("two", NULL);
    wait_as(&c, &q);
    end_with_token(begun_count - 1, "two", HOUR);
    assert_string_equal(c.token, "two");
    now += 60 * SECOND;
    tokens_tick(front.tokens, now);
    assert_false(tokens_waiting(front.tokens));
}

static void test_the_cache_can_be_freed_while_exchanges_are_at_work(void **state)
{
    static struct caller callers[3];
    struct token_query q = query("one", NULL);
    (void)state;
    for (size_t i = 0; i < 3; i++)
        wait_as(&callers[i], &q);
    tokens_free(front.tokens);
    front.tokens = NULL;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(callers[i].calls, 0);
}

static void test_the_state_tells_what_the_profiles_own_token_does(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    (void)state;
    assert_string_equal(tokens_state(front.tokens, q.profile).state, "no token");
    assert_null(tokens_state(front.tokens, q.profile).reason);
    obtain("one", "other", "other", HOUR);
    assert_string_equal(tokens_state(front.tokens, q.profile).state, "no token");
    wait_as(&c, &q);
    assert_string_equal(tokens_state(front.tokens, q.profile).state, "fetching");
    end_with_failure(begun_count - 1, STATUS_SERVER_REFUSED, 0);
    assert_string_equal(tokens_state(front.tokens, q.profile).state, "failed");
    assert_string_equal(tokens_state(front.tokens, q.profile).reason, "the server said no");
    obtain("one", NULL, "t", 100);
    now += 30 * SECOND + 1;
    struct token_state s = tokens_state(front.tokens, q.profile);
    assert_string_equal(s.state, "token");
    assert_null(s.reason);
    assert_int_equal(s.expires_in, 69);
    assert_int_equal(tokens_count(front.tokens), 2);
}


/* --- what is forgotten --- */

static void test_the_tokens_of_one_profile_are_forgotten_when_its_login_is_over(void **state)
{
    struct caller c;
    struct token_query q = query("one", "x");
    (void)state;
    obtain("one", NULL, "own", HOUR);
    obtain("one", "x", "x", HOUR);
    obtain("two", NULL, "two", HOUR);
    tokens_forget(front.tokens, profile("one"));
    assert_int_equal(tokens_count(front.tokens), 1);
    assert_string_equal(tokens_state(front.tokens, profile("one")).state, "no token");
    assert_string_equal(ask("two", NULL).token, "two");
    wait_as(&c, &q);
    tokens_forget(front.tokens, profile("one")); /* with somebody waiting */
    end_with_token(begun_count - 1, "new", HOUR);
    assert_string_equal(c.token, "new");
    (void)fire_timer_until(now + 2 * HOUR * SECOND);
    assert_string_equal(begun[begun_count - 1].profile, "two"); /* the only one that was used */
    assert_int_equal(begun_count, 5);
}

static void test_a_peek_fetches_nothing(void **state)
{
    struct token t;
    struct token_query q = query("one", NULL);
    (void)state;
    assert_false(tokens_peek(front.tokens, &q, &t));
    obtain("one", NULL, "t", HOUR);
    assert_true(tokens_peek(front.tokens, &q, &t));
    assert_true(span_is(secret_span(t.access_token), "t"));
    now += HOUR * SECOND;
    assert_false(tokens_peek(front.tokens, &q, &t));
    assert_int_equal(begun_count, 1);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        TEST(test_of_more_kinds_than_are_kept_the_one_that_was_not_asked_for_for_longest_goes),
        TEST(test_a_callback_that_asks_for_more_kinds_than_are_kept_cannot_take_its_own_entry_away),
        TEST(test_a_server_that_hangs_takes_exchanges_and_places_from_its_own_profile_only),
        TEST(test_the_cache_can_be_freed_while_exchanges_are_at_work),
        TEST(test_the_state_tells_what_the_profiles_own_token_does),
        TEST(test_the_tokens_of_one_profile_are_forgotten_when_its_login_is_over),
        TEST(test_a_peek_fetches_nothing),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
