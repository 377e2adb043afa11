/*
 * The token cache, with the exchange and the clock replaced by the test: single flight, deadlines, min_valid, early
 * refresh, refusals, and its bounds. Every callback is counted: it comes exactly once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exchange.h"
#include "tokens.h"

#define SECOND UINT64_C(1000000)
#define HOUR 3600U
#define JKT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
#define EXCHANGES_KEPT 8192

static const char text[] = "[key k]\nuri = pkcs11:object=k\n"
                           "[profile one]\nkey = k\nissuer = https://as.example\nclient-id = one\nclient-secret-file = /s\n"
                           "scope = a b\nresource = urn:own\norigins = https://api.example\ntimeout = 7\n"
                           "[profile two]\nkey = k\nissuer = https://as.example\nclient-id = two\nclient-secret-file = /s\n"
                           "origins = https://api.example\n";

/* --- what the cache sees instead of the agent --- */

static struct front front;
static uint64_t now;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return now;
}

static unsigned int waits;

void front_wait(struct front *f)
{
    (void)f;
    waits++;
}

/* One exchange that the cache began and the test ends. */
static struct begun {
    char scope[64], resources[64];
    uint64_t deadline;
    exchange_done done;
    void *context;
} begun[EXCHANGES_KEPT];
static size_t begun_count, ended_count;
static uint32_t answer_at_once; /* lifetime of a token that comes before exchange_start returns; 0: none */

static void end_with_token(size_t i, const char *token, uint32_t lifetime)
{
    struct granted g = {.access_token = span_text(token), .scope = span_text(NULL), .jkt = JKT, .lifetime = lifetime};
    exchange_done done = begun[i].done;
    assert_non_null(done);
    begun[i].done = NULL;
    ended_count++;
    done(begun[i].context, NULL, &g);
}

static void end_with_failure(size_t i, enum status status)
{
    struct error err;
    exchange_done done = begun[i].done;
    assert_non_null(done);
    begun[i].done = NULL;
    ended_count++;
    (void)error_set(&err, status, "try", "the server said no");
    done(begun[i].context, &err, NULL);
}

void exchange_start(struct front *f, const struct exchange_request *r, exchange_done done, void *context)
{
    struct begun *b = &begun[begun_count];
    assert_ptr_equal(f, &front);
    assert_true(begun_count < EXCHANGES_KEPT);
    begun_count++;
    *b = (struct begun){.deadline = r->deadline, .done = done, .context = context};
    (void)snprintf(b->scope, sizeof(b->scope), "%.*s", (int)r->scope.len, r->scope.data != NULL ? (const char *)r->scope.data : "");
    for (size_t i = 0; i < r->resources->count; i++)
        (void)snprintf(b->resources + strlen(b->resources), sizeof(b->resources) - strlen(b->resources), "%s;",
                       r->resources->items[i]);
    if (answer_at_once > 0)
        end_with_token(begun_count - 1, "at-once", answer_at_once);
}

/* --- the callers --- */

struct caller {
    unsigned int calls;
    enum status status;
    char token[32], message[256];
    uint64_t serial, expires;
    int64_t expires_at;
    const struct token_query *again; /* asks again from within its callback */
    struct caller *again_caller;
};

static void on_token(void *context, const struct error *err, const struct token *token)
{
    struct caller *c = context;
    c->calls++;
    c->status = err != NULL ? err->status : STATUS_OK;
    if (err != NULL) {
        (void)snprintf(c->message, sizeof(c->message), "%.255s", err->message);
    } else {
        assert_int_equal(span_copy(secret_span(token->access_token), c->token, sizeof(c->token)), 0);
        assert_string_equal(token->jkt, JKT);
        c->serial = token->serial;
        c->expires = token->expires;
        c->expires_at = token->expires_at;
    }
    if (c->again != NULL)
        tokens_get(front.tokens, c->again, on_token, c->again_caller);
}

static const struct list no_resources;

static struct token_query query(const char *profile, const char *scope)
{
    return (struct token_query){.profile = config_profile(front.config, span_text(profile)),
                                .scope = span_text(scope),
                                .resources = &no_resources,
                                .deadline = now + 30 * SECOND};
}

static struct caller ask_query(const struct token_query *q)
{
    struct caller c = {0};
    tokens_get(front.tokens, q, on_token, &c);
    assert_int_equal(c.calls, 1); /* for questions that are answered at once: else its address would be lost */
    return c;
}

static struct caller ask(const char *profile, const char *scope)
{
    struct token_query q = query(profile, scope);
    return ask_query(&q);
}

static void wait_as(struct caller *c, const struct token_query *q)
{
    *c = (struct caller){0};
    tokens_get(front.tokens, q, on_token, c);
    assert_int_equal(c->calls, 0);
}

/* Fills the cache with a token of that scope. */
static void obtain(const char *profile, const char *scope, const char *token, uint32_t lifetime)
{
    struct caller c;
    struct token_query q = query(profile, scope);
    wait_as(&c, &q);
    end_with_token(begun_count - 1, token, lifetime);
    assert_int_equal(c.calls, 1);
}

static int open_cache(void **state)
{
    struct config *config;
    struct error err;
    (void)state;
    now = 1000 * SECOND;
    waits = 0;
    begun_count = ended_count = 0;
    answer_at_once = 0;
    front = (struct front){0};
    if (config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &config, &err) != STATUS_OK)
        return -1;
    front.config = config;
    return tokens_open(&front);
}

static int close_cache(void **state)
{
    (void)state;
    tokens_free(front.tokens);
    config_free((struct config *)(uintptr_t)front.config);
    return 0;
}

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
    end_with_failure(0, STATUS_SERVER_REFUSED);
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
    assert_string_equal(begun[2].scope, "");
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
    end_with_failure(0, STATUS_SERVER_UNREACHABLE);
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

/* --- the successor --- */

static void test_a_successor_is_fetched_once_behind_a_valid_token(void **state)
{
    static struct caller callers[100];
    uint64_t sent = now;
    struct token_query q;
    (void)state;
    obtain("one", NULL, "old", 1000);
    now = sent + 799 * SECOND;
    assert_string_equal(ask("one", NULL).token, "old");
    assert_int_equal(begun_count, 1);
    now = sent + 900 * SECOND;
    q = query("one", NULL);
    for (size_t i = 0; i < 100; i++) {
        callers[i] = ask_query(&q);
        assert_string_equal(callers[i].token, "old");
    }
    assert_int_equal(begun_count, 2);
    end_with_token(1, "new", 1000);
    struct caller c = ask("one", NULL);
    assert_string_equal(c.token, "new");
    assert_true(c.serial != callers[0].serial);
    assert_int_equal(begun_count, 2);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(callers[i].calls, 1);
}

static void test_a_long_lived_token_is_renewed_in_its_last_five_minutes(void **state)
{
    uint64_t sent = now;
    (void)state;
    obtain("one", NULL, "t", 24 * HOUR);
    now = sent + (24 * HOUR - 301) * SECOND;
    (void)ask("one", NULL);
    assert_int_equal(begun_count, 1);
    now = sent + (24 * HOUR - 150) * SECOND;
    (void)ask("one", NULL);
    assert_int_equal(begun_count, 2);
}

static void test_tokens_that_were_obtained_together_are_not_renewed_together(void **state)
{
    uint64_t sent = now;
    size_t most = 0;
    char scope[16];
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        (void)snprintf(scope, sizeof(scope), "s%zu", i);
        obtain("one", scope, "t", 1000);
    }
    for (uint64_t second = 800; second <= 900; second++) {
        size_t before = begun_count;
        now = sent + second * SECOND;
        for (size_t i = 0; i < 100; i++) {
            size_t started = begun_count;
            (void)snprintf(scope, sizeof(scope), "s%zu", i);
            (void)ask("one", scope);
            if (begun_count > started)
                end_with_token(started, "t", HOUR);
        }
        if (begun_count - before > most)
            most = begun_count - before;
    }
    assert_int_equal(begun_count, 200);
    assert_in_range(most, 1, 20); /* of 100 in 100 seconds; 20 in one is as good as impossible */
}

static void test_a_failed_early_refresh_keeps_the_token_and_is_tried_again_after_ten_seconds(void **state)
{
    uint64_t sent = now;
    struct caller c;
    struct token_query q;
    (void)state;
    obtain("one", NULL, "old", 1000);
    now = sent + 900 * SECOND;
    (void)ask("one", NULL);
    end_with_failure(1, STATUS_SERVER_UNREACHABLE);
    assert_string_equal(ask("one", NULL).token, "old");
    now += 9 * SECOND;
    assert_string_equal(ask("one", NULL).token, "old");
    assert_int_equal(begun_count, 2);
    now += SECOND;
    assert_string_equal(ask("one", NULL).token, "old");
    assert_int_equal(begun_count, 3);
    struct token_state s = tokens_state(front.tokens, config_profile(front.config, span_text("one")));
    assert_string_equal(s.state, "token");
    assert_string_equal(s.reason, "the server said no");
    end_with_failure(2, STATUS_SERVER_UNREACHABLE);
    now = sent + 1000 * SECOND;
    q = query("one", NULL);
    wait_as(&c, &q); /* it has expired: now there is nothing to serve meanwhile */
    end_with_failure(3, STATUS_SERVER_UNREACHABLE);
    assert_int_equal(c.status, STATUS_SERVER_UNREACHABLE);
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
    end_with_failure(1, STATUS_SERVER_UNAVAILABLE);
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
    end_with_failure(1, STATUS_SERVER_UNREACHABLE);
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
    end_with_failure(begun_count - 1, STATUS_SERVER_REFUSED);
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
        TEST(test_a_successor_is_fetched_once_behind_a_valid_token),
        TEST(test_a_long_lived_token_is_renewed_in_its_last_five_minutes),
        TEST(test_tokens_that_were_obtained_together_are_not_renewed_together),
        TEST(test_a_failed_early_refresh_keeps_the_token_and_is_tried_again_after_ten_seconds),
        TEST(test_force_brings_a_new_token_and_its_failure_keeps_the_old_one),
        TEST(test_200_refusals_of_one_token_cause_one_exchange),
        TEST(test_a_refused_token_is_never_served_again),
        TEST(test_a_refusal_touches_no_other_token),
        TEST(test_of_more_kinds_than_are_kept_the_one_that_was_not_asked_for_for_longest_goes),
        TEST(test_a_callback_that_asks_for_more_kinds_than_are_kept_cannot_take_its_own_entry_away),
        TEST(test_a_server_that_hangs_takes_exchanges_and_places_from_its_own_profile_only),
        TEST(test_the_cache_can_be_freed_while_exchanges_are_at_work),
        TEST(test_the_state_tells_what_the_profiles_own_token_does),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
