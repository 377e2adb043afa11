/* How a login begins, is loaded, and ends: a new one replaces the old, a logout removes and revokes, persist = no
   writes nothing. */
#include "logins_world.h"

static struct fetched r, many[4];

static struct ended {
    unsigned int calls;
    struct error err;
    bool was_in, revoked;
    char note[256];
} ended;

static void on_ended(void *context, const struct error *err, bool was_in, bool revoked, const char *note)
{
    (void)context;
    ended.calls++;
    ended.err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    ended.was_in = was_in;
    ended.revoked = revoked;
    (void)snprintf(ended.note, sizeof(ended.note), "%s", note != NULL ? note : "");
}

static void log_out(const char *name)
{
    ended = (struct ended){0};
    logins_end(&front, profile(name), on_ended, NULL);
}

static const char *state_of(const char *name)
{
    return logins_state(front.logins, profile(name)).state;
}

/* --- a new login --- */

static void test_a_new_login_is_durable_before_it_is_told_and_serves_after_a_restart(void **state)
{
    (void)state;
    store.slow = true;
    log_in("user", "r1", "a1", 100);
    assert_int_equal(kept.calls, 0);
    assert_int_equal(tokens_forgotten, 1); /* those of a login before it */
    store_goes_on();
    assert_int_equal(kept.calls, 1);
    assert_true(kept.err.status == STATUS_OK && kept.persisted);
    assert_int_equal(on_disk().refresh_state, REFRESH_FRESH);
    assert_true(span_is(on_disk().subject, "alice") && span_is(on_disk().scope, "a b"));
    restart();
    fetch(&r, "user", NULL, false, 0);
    assert_token(&r, "a1");
    assert_string_equal(logins_state(front.logins, profile("user")).subject, "alice");
    assert_true(logins_state(front.logins, profile("user")).persisted);
    assert_int_equal(sent_count, 0);
    assert_false(logins_nonces(&front, profile("user")));
    fetch(&r, "user", NULL, true, 0);
    assert_false(sent[0].nonces);
    refreshed(0, "r2", "a2", 100); /* whose server asked for nonces */
    assert_true(logins_nonces(&front, profile("user")));
    restart();
    fetch(&r, "user", NULL, true, 0);
    assert_true(sent[1].nonces);
}

static void test_a_new_login_waits_for_the_refresh_of_the_old_one_and_replaces_it(void **state)
{
    (void)state;
    log_in("user", "r1", "a1", 100);
    fetch(&many[0], "user", NULL, true, 0);
    log_in("user", "n1", "b1", 100);
    fetch(&many[1], "user", NULL, false, 0);
    assert_int_equal(kept.calls, 0);
    refreshed(0, "r2", "a2", 100);
    assert_token(&many[0], "a2");
    assert_int_equal(kept.calls, 1);
    assert_token(&many[1], "b1");
    assert_true(span_is(on_disk().refresh_token, "n1"));
    assert_int_equal(tokens_forgotten, 2); /* and the old user's token is not served to the new one */
}

static void test_a_new_login_that_cannot_be_written_is_told_so_and_is_written_later(void **state)
{
    (void)state;
    store.fails = STATUS_STORE_FAILED;
    log_in("user", "r1", "a1", 100);
    assert_int_equal(kept.calls, 1);
    assert_int_equal(kept.err.status, STATUS_STORE_FAILED);
    assert_false(kept.persisted);
    store.fails = STATUS_OK;
    now += 2 * SECOND;
    logins_tick(front.logins, now);
    assert_true(span_is(on_disk().refresh_token, "r1"));
    assert_true(logins_state(front.logins, profile("user")).persisted);
}

static void test_where_nothing_can_be_sealed_a_login_lives_in_memory_and_says_why(void **state)
{
    (void)state;
    store.fails = STATUS_KEY_UNFIT;
    store.unsealable = true;
    log_in("user", "r1", "a1", 100);
    assert_int_equal(kept.calls, 1);
    assert_int_equal(kept.err.status, STATUS_OK);
    assert_false(kept.persisted);
    assert_string_equal(kept.note, "the store says no");
    assert_string_equal(logins_state(front.logins, profile("user")).reason, "the store says no");
    now += 200 * SECOND;
    fetch(&r, "user", NULL, false, 0);
    refreshed(0, "r2", "a2", 100);
    assert_token(&r, "a2");
    assert_int_equal(store.saves, 1);
    assert_false(logins_waiting(front.logins));
    store.fails = STATUS_OK; /* another token, say: the next login tries again */
    log_in("user", "n1", "b1", 100);
    assert_true(kept.persisted);
}

static void test_persist_no_writes_and_loads_nothing(void **state)
{
    (void)state;
    log_in("memory", "r1", "a1", 100);
    assert_int_equal(kept.calls, 1);
    assert_false(kept.persisted);
    assert_string_equal(kept.note, "persist = no");
    fetch(&r, "memory", NULL, true, 0);
    refreshed(0, "r2", "a2", 100);
    assert_token(&r, "a2");
    fetch(&r, "memory", NULL, true, 0);
    refresh_failed(1, STATUS_TIMEOUT, true);
    assert_string_equal(state_of("memory"), "in doubt"); /* in memory too */
    now += 200 * SECOND;
    fetch(&r, "memory", NULL, false, 0);
    refresh_refused(2, 400, STATUS_SERVER_REFUSED, "invalid_grant");
    assert_no_token(&r, STATUS_LOGIN_REQUIRED, "");
    log_in("memory", "r1", "a1", 100);
    server.revocation_endpoint = NULL;
    log_out("memory");
    assert_true(ended.was_in);
    assert_int_equal(store.loads + store.saves, 0);
    assert_int_equal(store.removals, 4); /* of what a profile that was set to persist = yes once may have left: at each
                                            login and end */
    assert_string_equal(logins_state(front.logins, profile("memory")).reason, "persist = no: in memory only");
}

/* --- loading --- */

static void test_what_is_on_disk_is_loaded_once_by_the_first_who_asks_or_when_the_key_is_ready(void **state)
{
    (void)state;
    log_in("user", "r1", "a1", 100);
    restart();
    assert_string_equal(state_of("user"), "loading");
    store.slow = true;
    for (size_t i = 0; i < 4; i++)
        fetch(&many[i], "user", NULL, false, 0);
    logins_key_ready(front.logins, "k");
    assert_int_equal(store.loads, 1);
    store_goes_on();
    for (size_t i = 0; i < 4; i++)
        assert_token(&many[i], "a1");
    restart();
    logins_key_ready(front.logins, "other"); /* the key of "second" and "confidential" */
    assert_int_equal(store.loads, 3);
    assert_string_equal(state_of("user"), "loading");
    logins_key_ready(front.logins, "k");
    assert_string_equal(state_of("user"), "logged in");
    assert_int_equal(store.loads, 4);
}

static void test_without_a_record_a_user_has_to_log_in(void **state)
{
    (void)state;
    fetch(&r, "user", NULL, false, 0);
    assert_no_token(&r, STATUS_LOGIN_REQUIRED, "profile \"user\": a user has to log in");
    assert_string_equal(state_of("user"), "login required");
    assert_int_equal(store.loads, 1);
    assert_int_equal(sent_count, 0);
}

static void test_a_load_that_fails_is_told_to_all_and_the_next_one_loads_again(void **state)
{
    (void)state;
    log_in("user", "r1", "a1", 100);
    restart();
    store.slow = true;
    store.fails = STATUS_KEY_LOCKED;
    for (size_t i = 0; i < 3; i++)
        fetch(&many[i], "user", NULL, false, 0);
    store_goes_on();
    for (size_t i = 0; i < 3; i++)
        assert_no_token(&many[i], STATUS_KEY_LOCKED, "the store says no");
    store.slow = false;
    store.fails = STATUS_OK;
    fetch(&r, "user", NULL, false, 0);
    assert_token(&r, "a1");
    assert_int_equal(store.loads, 2);
    assert_null(logins_state(front.logins, profile("user")).reason); /* the failure is history */
}

static void test_a_record_that_cannot_be_opened_needs_a_user_who_is_told_why(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        restart();
        store.fails = i == 0 ? STATUS_LOGIN_REQUIRED : STATUS_KEY_UNFIT;
        store.unsealable = i == 1;
        fetch(&r, "user", NULL, false, 0);
        assert_no_token(&r, STATUS_LOGIN_REQUIRED, "a user has to log in: the store says no");
    }
}

static void test_a_new_login_does_not_fall_with_the_load_of_the_old_one(void **state)
{
    (void)state;
    store.slow = true;
    fetch(&many[0], "user", NULL, false, 0);
    log_in("user", "n1", "b1", 100);
    fetch(&many[1], "user", NULL, false, 0);
    store.fails = STATUS_TIMEOUT;
    store_goes_on();
    assert_int_equal(kept.calls, 0);
    store.fails = STATUS_OK;
    store_goes_on();
    assert_int_equal(kept.calls, 1);
    assert_true(kept.persisted);
    assert_token(&many[0], "b1"); /* it comes first, and has a token for those who waited before it */
    assert_token(&many[1], "b1");
}

/* --- the end --- */

static void test_a_logout_removes_the_record_and_then_revokes_the_refresh_token(void **state)
{
    (void)state;
    server.revocation_endpoint = (char *)(uintptr_t)"https://as.example/revoke";
    log_in("user", "r1", "a1", 100);
    tokens_forgotten = 0;
    store.slow = true;
    log_out("user");
    assert_int_equal(tokens_forgotten, 1); /* at once, */
    struct granted peeked;
    struct token_kind kind;
    static const struct list none;
    token_kind_of(profile("user"), span_text(NULL), &none, &kind);
    assert_false(logins_peek(&front, profile("user"), &kind, &peeked));
    assert_int_equal(call_count, 0); /* and nothing is asked of the server before the record is gone */
    fetch(&r, "user", NULL, false, 0); /* waits, and comes too late */
    store_goes_on();
    assert_false(store.there);
    assert_int_equal(ended.calls, 0);
    assert_string_equal(calls[0].url, "https://as.example/revoke");
    assert_string_equal(calls[0].form, "token=r1&token_type_hint=refresh_token&x=y&client_id=app");
    assert_null(calls[0].dpop);
    assert_int_equal(r.calls, 0);
    (void)answer(200);
    give(0);
    assert_int_equal(ended.calls, 1);
    assert_true(ended.err.status == STATUS_OK && ended.was_in && ended.revoked);
    assert_string_equal(ended.note, "");
    assert_no_token(&r, STATUS_LOGIN_REQUIRED, "");
}

static void test_a_logout_runs_although_the_record_cannot_be_loaded(void **state)
{
    (void)state;
    log_in("user", "r1", "a1", 100);
    restart();
    store.slow = true;
    fetch(&many[0], "user", NULL, false, 0);
    log_out("user");
    fetch(&many[1], "user", NULL, false, 0);
    store.fails = STATUS_KEY_LOCKED;
    store_goes_on();
    assert_int_equal(ended.calls, 0);
    store.fails = STATUS_OK;
    store_goes_on();
    assert_int_equal(ended.calls, 1);
    assert_int_equal(ended.err.status, STATUS_OK);
    assert_true(!ended.was_in && !ended.revoked); /* nobody knows what was in it */
    assert_false(store.there);
    assert_no_token(&many[0], STATUS_LOGIN_REQUIRED, "");
    assert_no_token(&many[1], STATUS_LOGIN_REQUIRED, "");
    assert_int_equal(store.loads, 1);
}

static void test_a_login_after_a_logout_that_still_waits_is_the_one_that_stays(void **state)
{
    (void)state;
    server.revocation_endpoint = NULL;
    log_in("user", "r1", "a1", 100);
    fetch(&many[0], "user", NULL, true, 0);
    fetch(&many[1], "user", NULL, true, 0); /* the two changes come before it, in their own order */
    log_out("user");
    log_in("user", "n1", "b1", 100);
    assert_int_equal(ended.calls + kept.calls, 0);
    refreshed(0, "r2", "a2", 100);
    assert_token(&many[0], "a2");
    assert_int_equal(ended.calls, 1);
    assert_true(ended.was_in);
    assert_int_equal(kept.calls, 1);
    assert_true(span_is(on_disk().refresh_token, "n1"));
    assert_string_equal(sent[1].refresh_token, "n1");
    refreshed(1, "n2", "b2", 100);
    assert_token(&many[1], "b2");
}

static struct fetched failing;

static void end_in_return(void *context, const struct error *err, const struct granted *g,
                          const struct exchange_result *more)
{
    struct fetched *f = context;
    (void)g;
    (void)more;
    f->calls++;
    f->err = *err;
    log_out("user");
}

static void test_who_logs_out_in_return_for_a_load_that_failed_is_served(void **state)
{
    static const struct list none;
    const struct profile_config *p = profile("user");
    struct token_kind kind;
    (void)state;
    token_kind_of(p, span_text(NULL), &none, &kind);
    struct login_fetch f = {.profile = p, .kind = &kind, .own = true, .resources = &p->resources,
                            .deadline = now + SECOND};
    failing = (struct fetched){0};
    store.slow = true;
    logins_fetch(&front, &f, end_in_return, &failing);
    store.fails = STATUS_KEY_LOCKED;
    store_goes_on();
    assert_int_equal(failing.calls, 1);
    assert_int_equal(failing.err.status, STATUS_KEY_LOCKED);
    store.fails = STATUS_OK;
    store_goes_on();
    assert_int_equal(ended.calls, 1);
    assert_int_equal(ended.err.status, STATUS_OK);
    assert_false(store_is_at_work());
}

static void test_a_logout_that_cannot_revoke_removes_all_the_same_and_says_why(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        size_t first = call_count;
        server.revocation_endpoint = i > 0 ? (char *)(uintptr_t)"https://as.example/revoke" : NULL;
        metadata_fails = i == 3 ? STATUS_SERVER_UNREACHABLE : STATUS_OK;
        log_in("user", "r1", "a1", 100);
        log_out("user");
        if (i == 1) {
            (void)answer(400);
            with_error("unsupported_token_type");
            give(first);
        } else if (i == 2) {
            give_failure(first, STATUS_SERVER_UNREACHABLE, true);
        }
        assert_int_equal(ended.calls, 1);
        assert_int_equal(ended.err.status, STATUS_OK);
        assert_true(ended.was_in && !ended.revoked);
        assert_string_not_equal(ended.note, "");
        assert_false(store.there);
    }
}

static void test_without_a_refresh_token_the_access_token_is_revoked(void **state)
{
    (void)state;
    server.revocation_endpoint = (char *)(uintptr_t)"https://as.example/revoke";
    log_in("user", NULL, "a1", 100);
    log_out("user");
    assert_string_equal(calls[0].form, "token=a1&token_type_hint=access_token&x=y&client_id=app");
}

static void test_a_logout_of_nobody_is_no_error(void **state)
{
    (void)state;
    log_out("user");
    assert_int_equal(ended.calls, 1);
    assert_true(ended.err.status == STATUS_OK && !ended.was_in && !ended.revoked);
    assert_int_equal(call_count, 0);
    assert_int_equal(store.removals, 1);
}

static void test_a_record_that_cannot_be_removed_is_an_error(void **state)
{
    (void)state;
    log_in("user", "r1", "a1", 100);
    server.revocation_endpoint = NULL;
    store.fails = STATUS_STORE_FAILED;
    log_out("user");
    assert_int_equal(ended.err.status, STATUS_STORE_FAILED);
}

static void test_a_logout_waits_for_the_refresh_under_way_and_revokes_what_came(void **state)
{
    (void)state;
    server.revocation_endpoint = (char *)(uintptr_t)"https://as.example/revoke";
    log_in("user", "r1", "a1", 100);
    fetch(&r, "user", NULL, true, 0);
    log_out("user");
    assert_int_equal(call_count, 0);
    refreshed(0, "r2", "a2", 100);
    assert_string_equal(form_value(&calls[0], "token"), "r2");
}

/* --- another key --- */

static void test_with_another_key_the_login_stays_without_its_access_token_and_is_written_anew(void **state)
{
    (void)state;
    log_in("confidential", "r1", "a1", 100);
    assert_false(logins_bound(&front, profile("confidential")));
    unsigned int saves = store.saves;
    logins_rekey(&front, profile("confidential"));
    assert_string_equal(stray, "a1");
    assert_int_equal(store.saves, saves + 1);
    assert_null(on_disk().access_token.data);
    assert_true(span_is(on_disk().refresh_token, "r1"));
    restart();
    fetch(&r, "confidential", NULL, false, 0);
    assert_string_equal(sent[0].refresh_token, "r1");
    refreshed(0, "r2", "a2", 100);
    assert_token(&r, "a2");
}

static void test_a_login_is_bound_to_its_key_without_client_authentication_or_refresh_token(void **state)
{
    (void)state;
    log_in("user", "r1", "a1", 100);
    assert_true(logins_bound(&front, profile("user")));
    log_in("confidential", NULL, "a1", 100);
    assert_true(logins_bound(&front, profile("confidential")));
}

static void test_why_a_login_ended_is_told_to_who_asks_for_a_token(void **state)
{
    (void)state;
    server.revocation_endpoint = NULL;
    log_in("user", "r1", "a1", 100);
    logins_end_because(&front, profile("user"), "its key was rotated", on_ended, NULL);
    assert_string_equal(logins_state(front.logins, profile("user")).reason, "its key was rotated");
    fetch(&r, "user", NULL, false, 0);
    assert_no_token(&r, STATUS_LOGIN_REQUIRED, "its key was rotated");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_logins, close_logins)
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_login_is_durable_before_it_is_told_and_serves_after_a_restart),
        TEST(test_a_new_login_waits_for_the_refresh_of_the_old_one_and_replaces_it),
        TEST(test_a_new_login_that_cannot_be_written_is_told_so_and_is_written_later),
        TEST(test_where_nothing_can_be_sealed_a_login_lives_in_memory_and_says_why),
        TEST(test_persist_no_writes_and_loads_nothing),
        TEST(test_what_is_on_disk_is_loaded_once_by_the_first_who_asks_or_when_the_key_is_ready),
        TEST(test_without_a_record_a_user_has_to_log_in),
        TEST(test_a_load_that_fails_is_told_to_all_and_the_next_one_loads_again),
        TEST(test_a_record_that_cannot_be_opened_needs_a_user_who_is_told_why),
        TEST(test_a_new_login_does_not_fall_with_the_load_of_the_old_one),
        TEST(test_a_logout_removes_the_record_and_then_revokes_the_refresh_token),
        TEST(test_a_logout_runs_although_the_record_cannot_be_loaded),
        TEST(test_a_login_after_a_logout_that_still_waits_is_the_one_that_stays),
        TEST(test_who_logs_out_in_return_for_a_load_that_failed_is_served),
        TEST(test_a_logout_that_cannot_revoke_removes_all_the_same_and_says_why),
        TEST(test_without_a_refresh_token_the_access_token_is_revoked),
        TEST(test_a_logout_of_nobody_is_no_error),
        TEST(test_a_record_that_cannot_be_removed_is_an_error),
        TEST(test_a_logout_waits_for_the_refresh_under_way_and_revokes_what_came),
        TEST(test_with_another_key_the_login_stays_without_its_access_token_and_is_written_anew),
        TEST(test_a_login_is_bound_to_its_key_without_client_authentication_or_refresh_token),
        TEST(test_why_a_login_ended_is_told_to_who_asks_for_a_token),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
