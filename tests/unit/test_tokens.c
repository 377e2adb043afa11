/*
 * The token cache, with the fetches and the clock replaced by the test: single flight, deadlines, min_valid, refusals. Every
 * callback is counted: it comes exactly once. test_tokens_renewal.c and test_tokens_bounds.c have the rest.
 */
#include "tokens_world.h"

/* --- one exchange for all --- */

static void test_a_thousand_callers_for_one_token_cause_one_exchange(void **state)
{
    static struct caller callers[1000];
    struct token_query q = query("one", NULL);
    (void)state;
    for (size_t i = 0; i < 1000; i++)
        wait_as(&callers[i], &q);
    assert_int_equal(begun_count, 1);
    assert_true(tokens_waiting(front.tokens));
    assert_true(waits > 0);
    end_with_token(0, "t1", HOUR);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(callers[i].calls, 1);
        assert_int_equal(callers[i].status, STATUS_OK);
        assert_string_equal(callers[i].token, "t1");
        assert_true(callers[i].serial == callers[0].serial);
    }
    assert_false(tokens_waiting(front.tokens));
    assert_string_equal(ask("one", NULL).token, "t1");
    assert_int_equal(begun_count, 1);
    assert_int_equal(tokens_count(front.tokens), 1);
}

static void test_a_failure_is_told_to_all_who_wait_and_the_next_caller_tries_anew(void **state)
{
    struct caller callers[3];
    struct token_query q = query("one", NULL);
    (void)state;
    for (size_t i = 0; i < 3; i++)
        wait_as(&callers[i], &q);
    end_with_failure(0, STATUS_SERVER_REFUSED, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(callers[i].calls, 1);
        assert_int_equal(callers[i].status, STATUS_SERVER_REFUSED);
        assert_string_equal(callers[i].message, "the server said no");
    }
    wait_as(&callers[0], &q);
    assert_int_equal(begun_count, 2);
}

static void test_other_kinds_of_tokens_do_not_wait_for_each_other(void **state)
{
    struct caller own, other, two;
    struct token_query q_own = query("one", NULL), q_other = query("one", "c"), q_two = query("two", NULL);
    (void)state;
    wait_as(&own, &q_own);
    wait_as(&other, &q_other);
    wait_as(&two, &q_two);
    assert_int_equal(begun_count, 3);
    end_with_token(2, "t2", HOUR);
    assert_int_equal(two.calls, 1);
    assert_int_equal(own.calls + other.calls, 0);
    end_with_token(1, "tc", HOUR);
    end_with_token(0, "t", HOUR);
    assert_string_equal(own.token, "t");
    assert_string_equal(other.token, "tc");
    assert_true(own.serial != other.serial && other.serial != two.serial);
}

static void test_the_exchange_is_asked_for_what_the_caller_or_else_the_profile_says(void **state)
{
    struct caller c[3];
    struct span asked[] = {span_text("urn:x"), span_text("urn:y")};
    struct list resources = {.items = asked, .count = 2};
    struct token_query own = query("one", NULL), other = query("one", "z"), none = query("two", NULL);
    (void)state;
    other.resources = &resources;
    wait_as(&c[0], &own);
    wait_as(&c[1], &other);
    wait_as(&c[2], &none);
    assert_string_equal(begun[0].scope, "a b");
    assert_string_equal(begun[0].resources, "urn:own;");
    assert_true(begun[0].deadline == now + 7 * SECOND);
    assert_string_equal(begun[1].scope, "z");
    assert_string_equal(begun[1].resources, "urn:x;urn:y;");
    assert_string_equal(begun[2].scope, "(absent)");
    assert_string_equal(begun[2].resources, "");
    assert_true(begun[2].deadline == now + 30 * SECOND);
}

static void test_the_same_scope_in_another_order_is_the_same_token(void **state)
{
    (void)state;
    obtain("one", "x y", "t", HOUR);
    assert_string_equal(ask("one", "y x").token, "t");
    assert_int_equal(begun_count, 1);
}

static void test_a_token_that_comes_before_the_exchange_has_returned_is_served(void **state)
{
    (void)state;
    answer_at_once = HOUR;
    assert_string_equal(ask("one", NULL).token, "at-once");
    assert_false(tokens_waiting(front.tokens));
}

/* --- deadlines --- */

static void test_a_caller_whose_time_is_over_is_told_once_and_the_exchange_goes_on_for_the_others(void **state)
{
    struct caller early[3], late;
    struct token_query q_early = query("one", NULL), q_late = query("one", NULL);
    (void)state;
    q_early.deadline = now + SECOND;
    wait_as(&early[0], &q_early);
    wait_as(&late, &q_late);
    wait_as(&early[1], &q_early);
    wait_as(&early[2], &q_early);
    tokens_tick(front.tokens, now + SECOND - 1);
    assert_int_equal(early[0].calls, 0);
    now += SECOND;
    tokens_tick(front.tokens, now);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(early[i].calls, 1);
        assert_int_equal(early[i].status, STATUS_TIMEOUT);
    }
    assert_int_equal(late.calls, 0);
    end_with_token(0, "t", HOUR);
    assert_int_equal(late.calls, 1);
    assert_int_equal(early[0].calls + early[1].calls + early[2].calls, 3);
    assert_int_equal(begun_count, 1);
    assert_string_equal(ask("one", NULL).token, "t");
}

static void test_who_asks_while_the_exchange_outlives_its_callers_joins_it(void **state)
{
    struct caller first, second;
    struct token_query q = query("one", NULL);
    (void)state;
    q.deadline = now + SECOND;
    wait_as(&first, &q);
    now += 2 * SECOND;
    tokens_tick(front.tokens, now);
    assert_false(tokens_waiting(front.tokens));
    q.deadline = now + SECOND;
    wait_as(&second, &q);
    assert_int_equal(begun_count, 1);
    end_with_token(0, "t", HOUR);
    assert_int_equal(second.status, STATUS_OK);
}

static void test_a_callback_may_ask_again(void **state)
{
    struct caller first = {0}, second = {0}, third = {0};
    struct token_query q = query("one", NULL), other = query("one", "c");
    (void)state;
    first.again = &q;
    first.again_caller = &second;
    tokens_get(front.tokens, &q, on_token, &first);
    end_with_failure(0, STATUS_SERVER_UNREACHABLE, 0);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 0);
    assert_int_equal(begun_count, 2);
    second.again = &other;
    second.again_caller = &third;
    now = q.deadline;
    tokens_tick(front.tokens, now); /* second is told that its time is over, and asks for another kind */
    assert_int_equal(second.status, STATUS_TIMEOUT);
    assert_int_equal(begun_count, 3);
    end_with_token(2, "c", HOUR);
    assert_int_equal(third.calls, 1);
    end_with_token(1, "t", HOUR);
    assert_int_equal(first.calls + second.calls + third.calls, 3);
}

/* --- how long a token lives --- */

static void test_lifetimes_count_from_the_moment_before_the_request(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    uint64_t sent = now;
    (void)state;
    wait_as(&c, &q);
    now += 5 * SECOND;
    end_with_token(0, "t", 100);
    assert_true(c.expires == sent + 100 * SECOND);
    assert_in_range(c.expires_at - (int64_t)time(NULL), 94, 96);
    now = sent + 100 * SECOND - 1;
    assert_int_equal(ask("one", NULL).status, STATUS_OK);
    now = sent + 100 * SECOND;
    wait_as(&c, &q);
}

static void test_min_valid_is_honoured_by_a_new_token(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    (void)state;
    obtain("one", NULL, "old", 100);
    q.min_valid = 100;
    assert_string_equal(ask_query(&q).token, "old");
    now += SECOND;
    wait_as(&c, &q);
    assert_int_equal(begun_count, 2);
    assert_string_equal(ask("one", NULL).token, "old"); /* who asks for less is served meanwhile */
    end_with_token(1, "new", 200);
    assert_string_equal(c.token, "new");
    assert_string_equal(ask("one", NULL).token, "new");
}

static void test_min_valid_that_no_token_reaches_is_an_error_for_him_who_asked_for_it(void **state)
{
    struct caller greedy, modest;
    struct token_query q = query("one", NULL);
    (void)state;
    wait_as(&modest, &q);
    q.min_valid = 101;
    wait_as(&greedy, &q);
    end_with_token(0, "t", 100);
    assert_int_equal(modest.status, STATUS_OK);
    assert_int_equal(greedy.status, STATUS_TOKEN_TOO_SHORT);
    assert_non_null(strstr(greedy.message, "lives for 100 s, but 101 s were asked for"));
    q.min_valid = UINT32_MAX;
    wait_as(&greedy, &q);
    end_with_token(1, "t", 100);
    assert_int_equal(greedy.status, STATUS_TOKEN_TOO_SHORT);
}

static void test_a_token_that_expired_on_its_way_is_served_to_nobody(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    (void)state;
    for (uint32_t lifetime = 0; lifetime <= 3; lifetime += 3) {
        wait_as(&c, &q);
        now += 4 * SECOND;
        end_with_token(begun_count - 1, "t", lifetime);
        assert_int_equal(c.status, STATUS_TOKEN_TOO_SHORT);
        assert_non_null(strstr(c.message, "lives for 0 s"));
        assert_string_equal(tokens_state(front.tokens, q.profile).state, "no token");
    }
}

/* --- force and refusals --- */

static void test_force_brings_a_new_token_and_its_failure_keeps_the_old_one(void **state)
{
    struct caller c, other;
    struct token_query q = query("one", NULL);
    (void)state;
    obtain("one", NULL, "old", HOUR);
    q.force = true;
    wait_as(&c, &q);
    wait_as(&other, &q); /* joins */
    assert_int_equal(begun_count, 2);
    end_with_failure(1, STATUS_SERVER_UNAVAILABLE, 0);
    assert_int_equal(c.status, STATUS_SERVER_UNAVAILABLE);
    assert_int_equal(other.calls, 1);
    assert_string_equal(ask("one", NULL).token, "old");
    wait_as(&c, &q);
    end_with_token(2, "new", HOUR);
    assert_string_equal(c.token, "new");
    assert_string_equal(ask("one", NULL).token, "new");
}

static void test_200_refusals_of_one_token_cause_one_exchange(void **state)
{
    static struct caller callers[200];
    struct token_query q = query("one", NULL);
    (void)state;
    obtain("one", NULL, "old", HOUR);
    uint64_t serial = ask("one", NULL).serial;
    for (size_t i = 0; i < 200; i++) {
        tokens_refuse(front.tokens, serial);
        wait_as(&callers[i], &q);
    }
    assert_int_equal(begun_count, 2);
    end_with_token(1, "new", HOUR);
    for (size_t i = 0; i < 200; i++)
        assert_string_equal(callers[i].token, "new");
    tokens_refuse(front.tokens, serial); /* a late refusal of the old one says nothing about the new one */
    assert_string_equal(ask("one", NULL).token, "new");
}

static void test_a_refused_token_is_never_served_again(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    (void)state;
    obtain("one", NULL, "old", HOUR);
    tokens_refuse(front.tokens, ask("one", NULL).serial);
    assert_string_equal(tokens_state(front.tokens, q.profile).state, "no token");
    wait_as(&c, &q);
    end_with_failure(1, STATUS_SERVER_UNREACHABLE, 0);
    assert_int_equal(c.status, STATUS_SERVER_UNREACHABLE);
    wait_as(&c, &q);
    assert_int_equal(begun_count, 3);
}

static void test_a_refusal_touches_no_other_token(void **state)
{
    (void)state;
    obtain("one", "x", "x", HOUR);
    obtain("one", "y", "y", HOUR);
    tokens_refuse(front.tokens, ask("one", "x").serial);
    tokens_refuse(front.tokens, 0);
    tokens_refuse(front.tokens, UINT64_MAX);
    assert_string_equal(ask("one", "y").token, "y");
}

/* --- what an application gives --- */

static void test_a_login_hears_until_when_its_tokens_that_were_not_refused_live(void **state)
{
    (void)state;
    obtain("one", NULL, "t1", HOUR);
    tokens_refuse(front.tokens, ask("one", NULL).serial);
    assert_true(refused_until == UINT64_MAX); /* nobody has logged in for that one */
    obtain("user", NULL, "u1", 600);
    obtain("user", "x", "u2", 300);
    uint64_t begun_at = now;
    tokens_refuse(front.tokens, ask("user", NULL).serial);
    assert_true(refused_until > begun_at && refused_until <= begun_at + 300 * SECOND);
    tokens_refuse(front.tokens, ask("user", "x").serial);
    assert_true(refused_until == 0); /* none of them works */
}

static void test_a_given_token_makes_a_kind_of_its_own_and_goes_with_the_request(void **state)
{
    struct caller c[4];
    struct token_query q = query("exchange", NULL), other, typed;
    (void)state;
    q.subject_token = span_text("subject-1");
    q.actor_token = span_text("actor");
    wait_as(&c[0], &q);
    assert_string_equal(begun[0].subject_token, "subject-1");
    assert_string_equal(begun[0].actor_token, "actor");
    assert_string_equal(begun[0].assertion, "(absent)");
    assert_false(begun[0].own);
    end_with_token(0, "t1", HOUR);
    assert_string_equal(ask_query(&q).token, "t1");
    other = q;
    other.subject_token = span_text("subject-2");
    wait_as(&c[1], &other);
    typed = q;
    typed.subject_token_type = span_text("urn:x");
    wait_as(&c[2], &typed);
    assert_string_equal(begun[2].subject_token_type, "urn:x");
    other = query("exchange", NULL); /* and nothing given is another kind still */
    wait_as(&c[3], &other);
    assert_true(begun[3].own);
    assert_string_equal(begun[3].subject_token, "(absent)");
    assert_int_equal(begun_count, 4);
    assert_string_equal(tokens_state(front.tokens, profile("exchange")).state, "fetching");
    end_with_token(1, "t2", HOUR);
    end_with_token(2, "t3", HOUR);
    end_with_token(3, "t4", HOUR);
    assert_string_equal(ask_query(&q).token, "t1");
}

static void test_the_type_and_the_other_members_of_the_answer_come_with_the_token(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    (void)state;
    wait_as(&c, &q);
    end_with_type(0, "t", "Bearer");
    assert_string_equal(c.type, "Bearer");
    assert_string_equal(c.raw, "{\"x\":1}");
    q.force = true;
    wait_as(&c, &q);
    end_with_type(1, "t", "DPoP");
    assert_string_equal(ask("one", NULL).type, "DPoP");
}

static void test_who_has_a_token_and_asks_nevertheless_forces_a_new_one(void **state)
{
    struct caller c;
    struct token_query q = query("one", NULL);
    (void)state;
    q.min_valid = 5;
    wait_as(&c, &q);
    assert_true(begun[0].own && !begun[0].force);
    assert_int_equal(begun[0].min_valid, 5);
    end_with_token(0, "old", HOUR);
    tokens_refuse(front.tokens, c.serial);
    wait_as(&c, &q);
    assert_true(begun[1].force); /* else a login would give the refused one again */
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_cache, close_cache)
    const struct CMUnitTest tests[] = {
        TEST(test_a_thousand_callers_for_one_token_cause_one_exchange),
        TEST(test_a_failure_is_told_to_all_who_wait_and_the_next_caller_tries_anew),
        TEST(test_other_kinds_of_tokens_do_not_wait_for_each_other),
        TEST(test_the_exchange_is_asked_for_what_the_caller_or_else_the_profile_says),
        TEST(test_the_same_scope_in_another_order_is_the_same_token),
        TEST(test_a_token_that_comes_before_the_exchange_has_returned_is_served),
        TEST(test_a_caller_whose_time_is_over_is_told_once_and_the_exchange_goes_on_for_the_others),
        TEST(test_who_asks_while_the_exchange_outlives_its_callers_joins_it),
        TEST(test_a_callback_may_ask_again),
        TEST(test_lifetimes_count_from_the_moment_before_the_request),
        TEST(test_min_valid_is_honoured_by_a_new_token),
        TEST(test_min_valid_that_no_token_reaches_is_an_error_for_him_who_asked_for_it),
        TEST(test_a_token_that_expired_on_its_way_is_served_to_nobody),
        TEST(test_force_brings_a_new_token_and_its_failure_keeps_the_old_one),
        TEST(test_200_refusals_of_one_token_cause_one_exchange),
        TEST(test_a_refused_token_is_never_served_again),
        TEST(test_a_refusal_touches_no_other_token),
        TEST(test_a_login_hears_until_when_its_tokens_that_were_not_refused_live),
        TEST(test_a_given_token_makes_a_kind_of_its_own_and_goes_with_the_request),
        TEST(test_the_type_and_the_other_members_of_the_answer_come_with_the_token),
        TEST(test_who_has_a_token_and_asks_nevertheless_forces_a_new_one),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
