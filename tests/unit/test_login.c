/* A login as data: what an answer makes of it, what its record keeps over a restart and a stepped clock, what is next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "login.h"

#define SECOND UINT64_C(1000000)
#define NOW (1000 * SECOND)
#define WALL INT64_C(1700000000)
#define JKT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

static const struct token_kind own = {.digest = {1}}, other = {.digest = {2}};

static struct granted answer_with(const char *refresh_token, const char *access_token, uint32_t lifetime)
{
    return (struct granted){.access_token = span_text(access_token), .token_type = span_text("DPoP"), .scope = span_text("a b"),
                            .jkt = JKT, .lifetime = lifetime, .asked = NOW, .refresh_token = span_text(refresh_token),
                            .subject = span_text("alice"), .raw = span_text("{\"x\":1}")};
}

static struct login logged_in(void)
{
    struct login l = {0};
    struct granted g = answer_with("r1", "a1", 100);
    assert_int_equal(login_take(&l, &g, &own, true), 0);
    return l;
}

/* As it is after a restart of the agent: `later` seconds passed, the wall clock moved `wall` seconds. */
static struct login after_restart(struct login *l, uint64_t at, int64_t wall)
{
    struct login back = {0};
    struct login_record record, read;
    struct buffer bytes;
    struct error err;
    login_record(l, NOW, WALL, &record);
    buffer_init(&bytes, 1 << 20);
    message_put(&bytes, &message_login_record, &record);
    assert_int_equal(message_take(buffer_span(&bytes), &message_login_record, &read, sizeof(read), &err), STATUS_OK);
    assert_int_equal(login_from_record(&back, &read, JKT, at, WALL + wall), 0);
    buffer_free(&bytes);
    login_clear(l);
    return back;
}

static bool is(const struct secret *s, const char *text)
{
    return s != NULL && span_is(secret_span(s), text);
}

/* --- answers --- */

static void test_an_answer_brings_both_tokens_and_the_refresh_token_is_fresh(void **state)
{
    struct login l = logged_in();
    (void)state;
    assert_true(is(l.refresh_token, "r1") && is(l.access_token, "a1"));
    assert_int_equal(l.refresh_state, REFRESH_FRESH);
    assert_string_equal(l.subject, "alice");
    assert_true(l.expires == NOW + 100 * SECOND && l.latest_expiry == l.expires);
    struct granted g = login_granted(&l, NOW + 40 * SECOND);
    assert_true(span_is(g.access_token, "a1") && span_is(g.token_type, "DPoP") && span_is(g.scope, "a b"));
    assert_true(span_is(g.raw, "{\"x\":1}"));
    assert_string_equal(g.jkt, JKT);
    assert_int_equal(g.lifetime, 60);
    assert_true(g.asked == NOW + 40 * SECOND);
    assert_null(g.refresh_token.data); /* it stays here */
    login_clear(&l);
}

static void test_without_a_new_refresh_token_the_old_one_goes_on_to_be_good(void **state)
{
    struct login l = logged_in();
    struct granted g = answer_with(NULL, "a2", 100);
    (void)state;
    l.refresh_state = REFRESH_RESENT;
    l.resends = 3;
    assert_int_equal(login_take(&l, &g, &own, true), 0);
    assert_true(is(l.refresh_token, "r1") && is(l.access_token, "a2"));
    assert_int_equal(l.refresh_state, REFRESH_FRESH);
    assert_int_equal(l.resends, 0);
    login_clear(&l);
}

static void test_an_answer_with_nothing_but_a_refresh_token_keeps_the_access_token(void **state)
{
    struct login l = logged_in();
    struct granted g = {.refresh_token = span_text("r2")};
    (void)state;
    l.refresh_state = REFRESH_SENT;
    assert_int_equal(login_take(&l, &g, &own, true), 0);
    assert_true(is(l.refresh_token, "r2") && is(l.access_token, "a1"));
    assert_int_equal(l.refresh_state, REFRESH_FRESH);
    assert_true(l.expires == NOW + 100 * SECOND);
    login_clear(&l);
}

static void test_a_token_of_another_kind_is_not_kept_but_its_end_is_known(void **state)
{
    struct login l = logged_in();
    struct granted g = answer_with("r2", "a2", 500);
    (void)state;
    assert_int_equal(login_take(&l, &g, &other, false), 0);
    assert_true(is(l.refresh_token, "r2") && is(l.access_token, "a1"));
    assert_true(l.expires == NOW + 100 * SECOND && l.latest_expiry == NOW + 500 * SECOND);
    assert_false(login_serves(&l, &other, 0, NOW));
    g = answer_with("r3", "a3", 10);
    assert_int_equal(login_take(&l, &g, &own, true), 0);
    assert_true(l.expires == NOW + 10 * SECOND && l.latest_expiry == NOW + 500 * SECOND); /* the latest of all */
    login_clear(&l);
}

static void test_the_subject_is_the_one_of_the_login_whatever_later_tokens_say(void **state)
{
    struct login l = logged_in();
    struct granted g = answer_with("r2", "a2", 100);
    (void)state;
    g.subject = span_text("pairwise-7"); /* of an access token for another API */
    assert_int_equal(login_take(&l, &g, &own, true), 0);
    assert_string_equal(l.subject, "alice");
    login_clear(&l);
}

/* --- what may serve --- */

static void test_the_kept_token_serves_its_own_kind_while_it_has_five_seconds_left(void **state)
{
    struct login l = logged_in(), empty = {0};
    (void)state;
    assert_true(login_serves(&l, &own, 0, NOW));
    assert_false(login_serves(&l, &other, 0, NOW));
    assert_true(login_serves(&l, &own, 0, NOW + 95 * SECOND));
    assert_false(login_serves(&l, &own, 0, NOW + 95 * SECOND + 1));
    assert_false(login_serves(&l, &own, 0, NOW + 200 * SECOND));
    assert_true(login_serves(&l, &own, 60, NOW + 40 * SECOND));
    assert_false(login_serves(&l, &own, 60, NOW + 40 * SECOND + 1));
    assert_false(login_serves(&l, &own, UINT32_MAX, NOW));
    assert_false(login_serves(&empty, &own, 0, NOW));
    assert_int_equal(login_granted(&l, NOW + 100 * SECOND).lifetime, 0);
    assert_int_equal(login_granted(&l, NOW + 200 * SECOND).lifetime, 0); /* it ended while it was written */
    login_clear(&l);
}

/* --- what is next --- */

static void test_what_is_next_follows_from_the_state_and_the_access_tokens_end(void **state)
{
    static const struct {
        enum refresh_state state;
        bool access_left;
        enum login_next next;
    } rows[] = {{REFRESH_FRESH, true, LOGIN_NEXT_SEND},  {REFRESH_FRESH, false, LOGIN_NEXT_SEND},
                {REFRESH_SENT, true, LOGIN_NEXT_WAIT},   {REFRESH_SENT, false, LOGIN_NEXT_SEND},
                {REFRESH_RESENT, true, LOGIN_NEXT_USER}, {REFRESH_RESENT, false, LOGIN_NEXT_USER}};
    struct login l = logged_in(), empty = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        l.refresh_state = rows[i].state;
        assert_int_equal(login_next(&l, rows[i].access_left ? l.latest_expiry - 1 : l.latest_expiry), rows[i].next);
    }
    assert_int_equal(login_next(&empty, NOW), LOGIN_NEXT_USER);
    l.refresh_state = REFRESH_FRESH;
    l.held = true;
    assert_int_equal(login_next(&l, l.latest_expiry - 1), LOGIN_NEXT_WAIT);
    assert_int_equal(login_next(&l, l.latest_expiry), LOGIN_NEXT_SEND);
    struct granted g = answer_with("r2", "a2", 100);
    assert_int_equal(login_take(&l, &g, &own, true), 0);
    assert_int_equal(login_next(&l, NOW), LOGIN_NEXT_SEND); /* an answer came */
    login_clear(&l);
}

static void test_in_doubt_waits_for_the_end_of_every_access_token_not_only_its_own(void **state)
{
    struct login l = logged_in();
    struct granted g = answer_with("r2", "a2", 500);
    (void)state;
    assert_int_equal(login_take(&l, &g, &other, false), 0);
    l.refresh_state = REFRESH_SENT;
    assert_int_equal(login_next(&l, NOW + 499 * SECOND), LOGIN_NEXT_WAIT);
    assert_int_equal(login_next(&l, NOW + 500 * SECOND), LOGIN_NEXT_SEND);
    login_clear(&l);
}

/* --- the record --- */

static void test_everything_comes_back_from_the_record(void **state)
{
    struct login l = logged_in();
    (void)state;
    l.nonces = true;
    l.refresh_state = REFRESH_SENT;
    l.resends = 2;
    l.scope = span_dup(span_text("a b offline_access"));
    l = after_restart(&l, 5 * SECOND, 30); /* another boot: its clock began anew */
    assert_true(is(l.refresh_token, "r1") && is(l.access_token, "a1") && l.nonces);
    assert_int_equal(l.refresh_state, REFRESH_SENT);
    assert_int_equal(l.resends, 2);
    assert_string_equal(l.scope, "a b offline_access");
    assert_string_equal(l.subject, "alice");
    assert_string_equal(l.jkt, JKT);
    assert_true(l.expires == (5 + 70) * SECOND && l.latest_expiry == l.expires);
    assert_true(login_serves(&l, &own, 0, 5 * SECOND));
    struct granted g = login_granted(&l, 5 * SECOND);
    assert_true(span_is(g.scope, "a b") && span_is(g.raw, "{\"x\":1}") && span_is(g.token_type, "DPoP"));
    assert_int_equal(g.lifetime, 70);
    login_clear(&l);
}

static void test_a_login_without_a_refresh_token_or_an_access_token_comes_back_as_it_was(void **state)
{
    struct login l = {0};
    struct granted no_refresh = {.access_token = span_text("a1"), .token_type = span_text("Bearer"), .lifetime = 50, .asked = NOW};
    struct granted no_access = {.refresh_token = span_text("r1")};
    (void)state;
    assert_int_equal(login_take(&l, &no_refresh, &own, true), 0);
    l = after_restart(&l, NOW, 0);
    assert_null(l.refresh_token);
    assert_null(l.subject);
    assert_null(l.access_scope);
    assert_true(login_serves(&l, &own, 0, NOW));
    assert_int_equal(login_next(&l, NOW), LOGIN_NEXT_USER);
    login_clear(&l);
    assert_int_equal(login_take(&l, &no_access, &own, true), 0);
    l = after_restart(&l, NOW, 0);
    assert_true(is(l.refresh_token, "r1"));
    assert_null(l.access_token);
    assert_false(login_serves(&l, &own, 0, NOW));
    assert_int_equal(login_next(&l, NOW), LOGIN_NEXT_SEND);
    login_clear(&l);
}

static void test_a_stepped_wall_clock_revives_nothing_and_lengthens_nothing(void **state)
{
    static const struct {
        int64_t step;
        uint64_t left; /* of the 100 s */
    } rows[] = {{0, 100}, {1, 99}, {99, 1}, {100, 0}, {101, 0}, {1000000, 0}, {-1, 100}, {-100, 100}, {-WALL, 100}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct login l = logged_in();
        l = after_restart(&l, NOW, rows[i].step);
        assert_true((l.expires > NOW ? l.expires - NOW : 0) == rows[i].left * SECOND);
        assert_true((l.latest_expiry > NOW ? l.latest_expiry - NOW : 0) == rows[i].left * SECOND);
        login_clear(&l);
    }
}

static void test_a_clock_that_was_stepped_back_once_and_forth_later_lets_a_token_live_no_longer(void **state)
{
    struct login l = logged_in(), back = {0};
    struct login_record record;
    (void)state;
    l = after_restart(&l, NOW, -5000); /* written again with the wrong clock, read with the right one */
    login_record(&l, NOW + 10 * SECOND, WALL - 4990, &record);
    assert_int_equal(login_from_record(&back, &record, JKT, NOW, WALL + 10), 0);
    assert_true(back.expires <= NOW);
    assert_false(login_serves(&back, &own, 0, NOW));
    login_clear(&back);
    login_clear(&l);
}

static void test_what_has_ended_before_the_record_was_written_stays_ended(void **state)
{
    struct login l = logged_in(), back = {0};
    struct login_record record;
    (void)state;
    login_record(&l, NOW + 100 * SECOND, WALL, &record);
    assert_int_equal(record.access_expires, 0);
    assert_int_equal(login_from_record(&back, &record, JKT, NOW, WALL - 1000), 0);
    assert_int_equal(back.expires, 0);
    assert_int_equal(back.latest_expiry, 0);
    login_clear(&back);
    login_clear(&l);
}

static void test_an_agent_that_was_killed_at_the_second_send_is_in_doubt_once_more(void **state)
{
    struct login l = logged_in();
    (void)state;
    l.refresh_state = REFRESH_RESENT;
    l.resends = 1;
    l = after_restart(&l, NOW, 0);
    assert_int_equal(l.refresh_state, REFRESH_SENT);
    assert_int_equal(l.resends, 1);
    assert_int_equal(login_next(&l, NOW), LOGIN_NEXT_WAIT);
    l.refresh_state = REFRESH_RESENT;
    l.resends = 16; /* but not for ever */
    l = after_restart(&l, NOW, 0);
    assert_int_equal(l.refresh_state, REFRESH_RESENT);
    assert_int_equal(login_next(&l, NOW), LOGIN_NEXT_USER);
    login_clear(&l);
}

static void test_a_record_replaces_what_was_there(void **state)
{
    struct login l = logged_in();
    struct login_record record = {.refresh_state = REFRESH_FRESH, .refresh_token = span_text("other"), .written = (uint64_t)WALL};
    (void)state;
    assert_int_equal(login_from_record(&l, &record, JKT, NOW, WALL), 0);
    assert_true(is(l.refresh_token, "other"));
    assert_null(l.access_token);
    assert_null(l.subject);
    login_clear(&l);
    login_clear(&l); /* twice is once */
    assert_null(l.refresh_token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_brings_both_tokens_and_the_refresh_token_is_fresh),
        cmocka_unit_test(test_without_a_new_refresh_token_the_old_one_goes_on_to_be_good),
        cmocka_unit_test(test_an_answer_with_nothing_but_a_refresh_token_keeps_the_access_token),
        cmocka_unit_test(test_a_token_of_another_kind_is_not_kept_but_its_end_is_known),
        cmocka_unit_test(test_the_subject_is_the_one_of_the_login_whatever_later_tokens_say),
        cmocka_unit_test(test_the_kept_token_serves_its_own_kind_while_it_has_five_seconds_left),
        cmocka_unit_test(test_what_is_next_follows_from_the_state_and_the_access_tokens_end),
        cmocka_unit_test(test_in_doubt_waits_for_the_end_of_every_access_token_not_only_its_own),
        cmocka_unit_test(test_everything_comes_back_from_the_record),
        cmocka_unit_test(test_a_login_without_a_refresh_token_or_an_access_token_comes_back_as_it_was),
        cmocka_unit_test(test_a_stepped_wall_clock_revives_nothing_and_lengthens_nothing),
        cmocka_unit_test(test_a_clock_that_was_stepped_back_once_and_forth_later_lets_a_token_live_no_longer),
        cmocka_unit_test(test_what_has_ended_before_the_record_was_written_stays_ended),
        cmocka_unit_test(test_an_agent_that_was_killed_at_the_second_send_is_in_doubt_once_more),
        cmocka_unit_test(test_a_record_replaces_what_was_there),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
