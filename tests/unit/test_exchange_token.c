/* The answer of a token endpoint made into a token or an error: its type, its key, its lifetime, its id_token. */
#include "exchange_world.h"

static void answer_token(const char *type)
{
    (void)answer(200);
    with_text("access_token", "abc.def");
    if (type != NULL)
        with_text("token_type", type);
}

/* --- type and key --- */

static void test_the_type_is_judged_by_the_profiles_policy_without_regard_to_case(void **state)
{
    static const struct {
        const char *profile, *type, *taken; /* NULL: discarded */
    } rows[] = {{"basic", "DPoP", "DPoP"},           {"basic", "dpop", "DPoP"},
                {"basic", "DPOP", "DPoP"},           {"basic", "Bearer", NULL},
                {"basic", "bearer", NULL},           {"basic", "DPoP2", NULL},
                {"basic", "DPo", NULL},              {"basic", "", NULL},
                {"basic", "N_A", NULL},              {"refresh-only", "dPoP", "DPoP"},
                {"refresh-only", "bEARER", "Bearer"}, {"refresh-only", "N_A", NULL},
                {"optional", "DPoP", "DPoP"},        {"optional", "Bearer", "Bearer"},
                {"optional", "MAC", NULL},           {"optional", "", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        now += SECOND;
        start(rows[i].profile);
        answer_token(rows[i].type);
        give(call_count - 1);
        if (rows[i].taken != NULL) {
            assert_granted();
            assert_string_equal(result.type, rows[i].taken);
        } else {
            assert_failed(STATUS_TOKEN_NOT_DPOP, "instead of DPoP; it was discarded");
            assert_false(result.granted);
            assert_string_equal(result.err.stage, "token request");
        }
    }
}

static void test_a_missing_type_is_an_error_under_every_policy(void **state)
{
    static const char *const profiles[] = {"basic", "refresh-only", "optional"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        start(profiles[i]);
        answer_token(NULL);
        give(i);
        assert_failed(STATUS_SERVER_MISBEHAVED, "no token_type");
    }
}

static void test_a_token_that_is_bound_to_another_key_is_discarded(void **state)
{
    static const char *const others[] = {("1" JKT), "", OTHER_JKT};
    (void)state;
    start("basic");
    good_answer()->answer.cnf_jkt = span_text(JKT);
    next.answer.jwt = true;
    give(0);
    assert_granted();
    for (size_t i = 0; i < 3; i++) {
        start("basic");
        good_answer()->answer.cnf_jkt = span_text(others[i]);
        next.answer.jwt = true;
        with_text("refresh_token", "r2");
        give(1 + i);
        assert_failed(STATUS_TOKEN_OTHER_KEY, "another key");
        assert_string_equal(result.token, "(absent)");
        assert_string_equal(result.refresh, "r2");
    }
}

/* --- the token itself --- */

static void test_an_answer_without_a_usable_token_is_an_error(void **state)
{
    char *longest = malloc(LIMIT_ACCESS_TOKEN + 2);
    (void)state;
    assert_non_null(longest);
    memset(longest, 't', LIMIT_ACCESS_TOKEN + 1);
    longest[LIMIT_ACCESS_TOKEN + 1] = '\0';
    const char *const texts[] = {NULL, "", "b\xc3\xa4", "line\r\nX: y", "with blank", longest};
    for (size_t i = 0; i < 8; i++) {
        now += SECOND;
        start("basic");
        (void)answer(200);
        if (i < 6 && texts[i] != NULL)
            with_text("access_token", texts[i]);
        else if (i >= 6)
            with_member("access_token", i == 6 ? JSON_KIND_INTEGER : JSON_KIND_OTHER, i == 6 ? NULL : "{}", 7);
        with_text("token_type", "DPoP");
        give(i);
        assert_failed(STATUS_SERVER_MISBEHAVED, "no usable access_token");
        assert_false(result.granted);
        assert_false(result.more.in_doubt);
    }
    free(longest);
}

static void test_a_refresh_token_that_came_with_an_unusable_answer_is_handed_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        start("basic");
        (void)answer(200);
        if (i != 0)
            with_text("access_token", "abc.def");
        if (i != 1)
            with_text("token_type", i == 2 ? "Bearer" : "DPoP");
        if (i >= 3)
            with_member("expires_in", JSON_KIND_INTEGER, NULL, i == 3 ? -1 : i == 4 ? 0 : 60);
        if (i == 5)
            with_text("scope", "line\n");
        with_text("refresh_token", "r2");
        give(i);
        assert_int_equal(result.calls, 1);
        assert_int_not_equal(result.err.status, STATUS_OK);
        assert_true(result.granted);
        assert_string_equal(result.refresh, "r2");
        assert_string_equal(result.token, "(absent)");
    }
}

static void test_a_refresh_token_is_handed_on_with_the_token_and_never_in_raw(void **state)
{
    (void)state;
    start("basic");
    (void)good_answer();
    with_text("refresh_token", "r2");
    with_text("tenant", "t");
    with_member("level", JSON_KIND_INTEGER, NULL, 3);
    give(0);
    assert_granted();
    assert_string_equal(result.refresh, "r2");
    assert_non_null(strstr(result.raw, "\"tenant\":\"t\""));
    assert_non_null(strstr(result.raw, "\"level\":3"));
    assert_null(strstr(result.raw, "r2"));
    assert_null(strstr(result.raw, "abc.def"));
    start("basic");
    (void)good_answer();
    with_text("refresh_token", ""); /* is none */
    give(1);
    assert_granted();
    assert_string_equal(result.refresh, "(absent)");
}

static void test_the_granted_scope_is_handed_on(void **state)
{
    (void)state;
    start("basic");
    (void)good_answer();
    with_text("scope", "a");
    give(0);
    assert_granted();
    assert_string_equal(result.scope, "a");
    start("basic");
    (void)good_answer();
    with_text("scope", "a\n");
    give(1);
    assert_failed(STATUS_SERVER_MISBEHAVED, "scope");
}

/* --- the lifetime --- */

static void test_the_lifetime_is_expires_in_or_the_jwts_or_five_minutes_and_at_most_a_day(void **state)
{
    static const struct {
        int kind; /* 0: no expires_in */
        int64_t expires_in;
        const char *text;
        uint32_t jwt, expected; /* 0: an error */
    } rows[] = {{JSON_KIND_INTEGER, 60, NULL, 0, 60},        {JSON_KIND_INTEGER, 60, NULL, 999, 60},
                {0, 0, NULL, 0, 300},                        {0, 0, NULL, 120, 120},
                {JSON_KIND_NULL, 0, NULL, 0, 300},           {JSON_KIND_NULL, 0, NULL, 120, 120},
                {JSON_KIND_INTEGER, 86400, NULL, 0, 86400},  {JSON_KIND_INTEGER, 86401, NULL, 0, 86400},
                {JSON_KIND_INTEGER, INT64_MAX, NULL, 0, 86400}, {0, 0, NULL, UINT32_MAX, 86400},
                {JSON_KIND_TEXT, 0, "3600", 0, 3600},        {JSON_KIND_TEXT, 0, "0060", 0, 60},
                {JSON_KIND_TEXT, 0, "999999999", 0, 86400},  {JSON_KIND_TEXT, 0, "9999999999", 0, 0},
                {JSON_KIND_TEXT, 0, "", 0, 0},               {JSON_KIND_TEXT, 0, "-1", 0, 0},
                {JSON_KIND_TEXT, 0, "0", 0, 0},              {JSON_KIND_TEXT, 0, "60s", 0, 0},
                {JSON_KIND_TEXT, 0, " 60", 0, 0},            {JSON_KIND_OTHER, 0, "3600.5", 0, 0},
                {JSON_KIND_INTEGER, 0, NULL, 0, 0},          {JSON_KIND_INTEGER, 0, NULL, 60, 0},
                {JSON_KIND_INTEGER, -1, NULL, 0, 0},         {JSON_KIND_INTEGER, INT64_MIN, NULL, 0, 0},
                {JSON_KIND_TRUE, 0, NULL, 0, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        now += SECOND;
        start("basic");
        answer_token("DPoP");
        if (rows[i].kind != 0)
            with_member("expires_in", (enum json_kind)rows[i].kind, rows[i].text, rows[i].expires_in);
        next.answer.lifetime = rows[i].jwt;
        give(i);
        if (rows[i].expected == 0) {
            assert_failed(STATUS_SERVER_MISBEHAVED, "expires_in");
        } else {
            assert_granted();
            assert_int_equal(result.lifetime, rows[i].expected);
        }
    }
}

/* --- the id_token --- */

static const struct span our_audience = {(const uint8_t *)"app 1", 5};
static struct id_token_message id_token;
static struct buffer id_token_bytes;

static void with_id_token(void)
{
    buffer_clear(&id_token_bytes);
    message_put(&id_token_bytes, &message_id_token_message, &id_token);
    next.answer.id_token = buffer_span(&id_token_bytes);
}

static void good_id_token(void)
{
    id_token = (struct id_token_message){.iss = span_text("https://as.example/tenant"), .sub = span_text("alice"),
                                         .nonce = span_text("n-0"), .aud = {.items = &our_audience, .count = 1},
                                         .exp = (uint64_t)time(NULL) + 60, .iat = (uint64_t)time(NULL)};
}

/* An answer with that id_token to a user's request. */
static void start_user(bool user, const char *nonce, const char *subject)
{
    struct exchange_request r = request_of("basic");
    now += SECOND;
    r.user = user;
    r.id_token_nonce = span_text(nonce);
    r.subject = span_text(subject);
    start_with(&r);
    (void)good_answer();
    with_id_token();
    give(call_count - 1);
}

static void test_an_id_token_that_comes_with_a_users_token_is_checked(void **state)
{
    static const char *const wrong[] = {"iss", "aud", "exp", "nonce", "another user"};
    static const struct span other = {(const uint8_t *)"other", 5};
    (void)state;
    good_id_token();
    start_user(true, "n-0", NULL);
    assert_granted();
    assert_string_equal(result.subject, "alice");
    start_user(true, "n-0", "alice");
    assert_granted();
    for (size_t i = 0; i < 5; i++) {
        good_id_token();
        if (i == 0)
            id_token.iss = span_text("https://as.example");
        else if (i == 1)
            id_token.aud.items = &other;
        else if (i == 2)
            id_token.exp = (uint64_t)time(NULL) - 3600;
        else if (i == 3)
            id_token.nonce = span_text("n-1");
        else
            id_token.sub = span_text("mallory");
        start_user(true, "n-0", "alice");
        assert_failed(STATUS_SERVER_MISBEHAVED, wrong[i]);
        assert_string_equal(result.err.stage, "token request");
        start_user(false, "n-0", "alice"); /* nobody is logged in by it */
        assert_granted();
    }
}

static void test_an_id_token_that_cannot_be_read_is_an_error_for_a_user_only(void **state)
{
    struct exchange_request r = request_of("basic");
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        r.user = i < 2;
        start_with(&r);
        (void)good_answer();
        if (i == 0)
            next.answer.id_token = span_of("\0", 1);
        else
            next.answer.id_token_unreadable = true;
        give(i);
        if (i < 2)
            assert_failed(STATUS_SERVER_MISBEHAVED, "id_token that cannot be read");
        else
            assert_granted();
    }
}

static void test_the_subject_is_the_id_tokens_or_else_the_access_tokens(void **state)
{
    struct exchange_request r = request_of("basic");
    (void)state;
    r.user = true;
    start_with(&r);
    good_answer()->answer.subject = span_text("access-alice");
    give(0);
    assert_granted();
    assert_string_equal(result.subject, "access-alice");
    good_id_token();
    start_with(&r);
    good_answer()->answer.subject = span_text("access-alice");
    id_token.nonce = span_text(NULL);
    with_id_token();
    give(1);
    assert_granted();
    assert_string_equal(result.subject, "alice");
}

static int open_token_world(void **state)
{
    buffer_init(&id_token_bytes, 4096);
    return open_world(state);
}

static int close_token_world(void **state)
{
    buffer_free(&id_token_bytes);
    return close_world(state);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_token_world, close_token_world)
    const struct CMUnitTest tests[] = {
        TEST(test_the_type_is_judged_by_the_profiles_policy_without_regard_to_case),
        TEST(test_a_missing_type_is_an_error_under_every_policy),
        TEST(test_a_token_that_is_bound_to_another_key_is_discarded),
        TEST(test_an_answer_without_a_usable_token_is_an_error),
        TEST(test_a_refresh_token_that_came_with_an_unusable_answer_is_handed_on),
        TEST(test_a_refresh_token_is_handed_on_with_the_token_and_never_in_raw),
        TEST(test_the_granted_scope_is_handed_on),
        TEST(test_the_lifetime_is_expires_in_or_the_jwts_or_five_minutes_and_at_most_a_day),
        TEST(test_an_id_token_that_comes_with_a_users_token_is_checked),
        TEST(test_an_id_token_that_cannot_be_read_is_an_error_for_a_user_only),
        TEST(test_the_subject_is_the_id_tokens_or_else_the_access_tokens),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
