/*
 * The authorization code grant of a login: where the user is sent, what may come back, and what is made of it. The real
 * exchange and requests are at work; the net process, keys, metadata and the login's keeper are the test's.
 */
#include "login_flow_world.h"

/* To the moment where the user's browser is awaited. */
static void begin_and_show(const char *name)
{
    begin_login(name, false);
    open_listener();
    assert_int_equal(flow.begun, 1);
    if (flow.begin_err.status != STATUS_OK)
        fail_msg("%s", flow.begin_err.message);
    await_end(now + 600 * SECOND);
}

static void assert_ended(enum status status, const char *message)
{
    assert_int_equal(flow.finished, 1);
    if (flow.err.status != status || strstr(flow.err.message, message) == NULL)
        fail_msg("%s: %s", status_name(flow.err.status), flow.err.message);
    assert_int_equal(flow.kept, 0);
}

static void answer_with_refresh_token(size_t i)
{
    (void)good_answer();
    with_text("refresh_token", "r1");
    give(i);
}

/* --- where the user is sent --- */

static void test_the_user_is_sent_to_the_authorization_endpoint_with_all_that_the_profile_says(void **state)
{
    char challenge_of[PKCE_SIZE];
    (void)state;
    begin_and_show("full");
    assert_int_equal(strncmp(flow.url, AUTHORIZE "?", strlen(AUTHORIZE) + 1), 0);
    assert_string_equal(flow.redirect_uri, REDIRECT);
    assert_string_equal(parameter("response_type"), "code");
    assert_string_equal(parameter("client_id"), "app");
    assert_string_equal(parameter("redirect_uri"), "http%3A%2F%2F127.0.0.1%3A4711%2Fcallback");
    assert_string_equal(parameter("scope"), "openid+offline_access+a");
    assert_string_equal(parameter("prompt"), "consent");
    assert_string_equal(parameter("code_challenge_method"), "S256");
    assert_string_equal(parameter("dpop_jkt"), JKT);
    assert_int_equal(strlen(parameter("state")), 43);
    assert_int_equal(strlen(parameter("nonce")), 43);
    assert_non_null(strstr(flow.url, "&resource=urn%3Ax&resource=urn%3Ay&"));
    assert_string_equal(parameter("audience"), "b");
    assert_non_null(strstr(flow.url, "&audience=c&"));
    assert_string_equal(parameter("authorization_details"), "%5B1%5D");
    assert_string_equal(parameter("acr_values"), "2");
    assert_string_equal(parameter("ui"), "x%26y");
    come_back_with("&iss=https%3A%2F%2Fas.example%2Ftenant");
    const struct call *c = &calls[last(INTERNAL_FETCH)];
    assert_string_equal(form_value(c, "grant_type"), "authorization_code");
    assert_string_equal(form_value(c, "code"), "c%2F1");
    assert_string_equal(form_value(c, "redirect_uri"), parameter("redirect_uri"));
    assert_non_null(strstr(c->form, "&resource=urn%3Ax&resource=urn%3Ay"));
    assert_int_equal(pkce_challenge(span_text(form_value(c, "code_verifier")), challenge_of), 0);
    assert_string_equal(parameter("code_challenge"), challenge_of);
    assert_null(strstr(flow.url, form_value(c, "code_verifier")));
}

static void test_a_plain_login_ends_with_what_was_granted_and_a_page_that_says_so(void **state)
{
    (void)state;
    begin_and_show("plain");
    assert_null(parameter("scope"));
    assert_null(parameter("nonce"));
    assert_null(parameter("prompt"));
    assert_int_equal(flow.expires_in, 100);
    assert_string_equal(calls[0].redirect_uri, "http://127.0.0.1/callback");
    come_back_with("");
    assert_int_equal(flow.finished, 0);
    size_t exchange = last(INTERNAL_FETCH);
    good_answer()->answer.subject = span_text("alice");
    with_text("refresh_token", "r1");
    with_text("scope", "a");
    give(exchange);
    assert_int_equal(flow.finished, 1);
    assert_int_equal(flow.err.status, STATUS_OK);
    assert_string_equal(flow.kept_token, "r1");
    assert_string_equal(flow.subject, "alice");
    assert_string_equal(flow.scope, "a");
    assert_string_equal(flow.jkt, JKT);
    assert_true(flow.refresh && flow.persisted);
    assert_true(page_says(true, "Profile plain is logged in"));
    flow.finished = 0;
    await_end(now + SECOND); /* it can be asked for once more */
    assert_int_equal(flow.finished, 1);
}

static void test_two_logins_share_no_secret(void **state)
{
    char first[3][64];
    (void)state;
    begin_and_show("full");
    copy_text(span_text(parameter("state")), first[0], sizeof(first[0]));
    copy_text(span_text(parameter("nonce")), first[1], sizeof(first[1]));
    copy_text(span_text(parameter("code_challenge")), first[2], sizeof(first[2]));
    begin_and_show("full");
    assert_string_not_equal(parameter("state"), first[0]);
    assert_string_not_equal(parameter("nonce"), first[1]);
    assert_string_not_equal(parameter("code_challenge"), first[2]);
    assert_string_not_equal(parameter("state"), parameter("nonce"));
}

static void push_and_answer(uint16_t status, const char *request_uri)
{
    open_listener();
    (void)answer(status);
    if (request_uri != NULL)
        with_text("request_uri", request_uri);
    else
        with_error("invalid_request");
    give(last(INTERNAL_FETCH));
}

static void test_where_it_is_advertised_or_wanted_the_request_is_pushed_with_a_proof(void **state)
{
    static const char *const names[] = {"plain", "pushed"};
    (void)state;
    server.pushed_authorization_request_endpoint = (char *)(uintptr_t)"https://as.example/par";
    for (size_t i = 0; i < 2; i++) {
        begin_login(names[i], false);
        push_and_answer(201, "urn:request:1");
        const struct call *c = &calls[last(INTERNAL_FETCH)];
        assert_string_equal(c->url, "https://as.example/par");
        assert_string_equal(form_value(c, "dpop_jkt"), JKT);
        assert_string_equal(form_value(c, "client_id"), "app");
        assert_null(strstr(strstr(c->form, "client_id=app") + 1, "client_id=")); /* once */
        assert_non_null(form_value(c, "code_challenge"));
        assert_string_equal(member(claims_of(c->dpop), "htu"), "https://as.example/par");
        assert_true(c->authenticates);
        assert_string_equal(flow.url, AUTHORIZE "?client_id=app&request_uri=urn%3Arequest%3A1");
    }
    begin_and_show("never");
    assert_null(parameter("request_uri"));
}

static void test_a_pushed_request_that_is_refused_ends_the_login_at_once(void **state)
{
    (void)state;
    server.pushed_authorization_request_endpoint = (char *)(uintptr_t)"https://as.example/par";
    for (size_t i = 0; i < 3; i++) {
        begin_login("plain", false);
        push_and_answer(i == 0 ? 400 : i == 1 ? 201 : 503, i == 1 ? "" : NULL);
        assert_int_equal(flow.begun, 1);
        assert_int_equal(flow.begin_err.status,
                         i == 0 ? STATUS_SERVER_REFUSED : i == 1 ? STATUS_SERVER_MISBEHAVED : STATUS_SERVER_UNAVAILABLE);
        assert_string_equal(flow.begin_err.stage, "authorization");
        assert_true(page_says(false, "The login of profile plain has failed"));
    }
}

static void test_a_server_that_cannot_do_it_is_told_before_anybody_is_sent_there(void **state)
{
    char *plain_only[] = {(char[]){"plain"}};
    (void)state;
    begin_login("pushed", false);
    assert_non_null(strstr(flow.begin_err.message, "no pushed_authorization_request_endpoint"));
    server.code_challenge_methods = (struct strings){.items = plain_only, .count = 1};
    begin_login("plain", false);
    assert_non_null(strstr(flow.begin_err.message, "does not list S256"));
    server.code_challenge_methods.count = 0;
    server.require_pushed_authorization_requests = true;
    server.pushed_authorization_request_endpoint = (char *)(uintptr_t)"https://as.example/par";
    begin_login("never", false);
    assert_int_equal(flow.begin_err.status, STATUS_CONFIGURATION);
    server.authorization_endpoint = NULL;
    begin_login("plain", false);
    assert_non_null(strstr(flow.begin_err.message, "no authorization_endpoint"));
    assert_string_equal(flow.begin_err.stage, "discovery");
    begin_login("machine", false);
    assert_int_equal(flow.begin_err.status, STATUS_INVALID_ARGUMENT);
    server.authorization_endpoint = (char *)(uintptr_t)AUTHORIZE;
    key("k")->fails = STATUS_KEY_LOCKED;
    begin_login("plain", false);
    assert_int_equal(flow.begin_err.status, STATUS_KEY_LOCKED);
    assert_string_equal(flow.begin_err.stage, "key");
    metadata_fails = STATUS_SERVER_UNREACHABLE;
    begin_login("plain", false);
    assert_int_equal(flow.begin_err.status, STATUS_SERVER_UNREACHABLE);
    assert_int_equal(call_count, 0);
}

/* --- what comes back --- */

static void test_a_redirect_that_is_not_the_answer_to_our_request_ends_it_without_a_code_being_sent(void **state)
{
    static const struct {
        const char *query, *message;
        bool ours; /* with our state */
    } rows[] = {{"code=x&state=wrong", "its state is not ours", false},
                {"code=x", "has no state", false},
                {"error=access_denied&state=wrong", "its state is not ours", false},
                {"code=x&iss=https%3A%2F%2Fother.example", "from another issuer", true},
                {"code=x", "has no iss", true},
                {"code=x&code=y&iss=https%3A%2F%2Fas.example%2Ftenant", "comes twice", true},
                {"iss=https%3A%2F%2Fas.example%2Ftenant", "neither a code nor an error", true}};
    (void)state;
    server.authorization_response_iss_parameter_supported = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char query[512];
        begin_and_show("plain");
        (void)snprintf(query, sizeof(query), "%s%s%s", rows[i].query, rows[i].ours ? "&state=" : "",
                       rows[i].ours ? parameter("state") : "");
        come_back(query);
        assert_ended(STATUS_SERVER_MISBEHAVED, rows[i].message);
        assert_string_equal(flow.err.stage, "redirect");
        assert_true(page_says(false, "has failed"));
    }
    for (size_t i = 0; i < call_count; i++)
        assert_int_not_equal(calls[i].operation, INTERNAL_FETCH);
}

static void test_an_error_redirect_is_told_with_what_the_server_says(void **state)
{
    char query[256];
    (void)state;
    begin_and_show("plain");
    (void)snprintf(query, sizeof(query), "error=access_denied&error_description=not+today&state=%s", parameter("state"));
    come_back(query);
    assert_ended(STATUS_SERVER_REFUSED, "access_denied");
    assert_string_equal(flow.err.oauth_error, "access_denied");
    assert_true(page_says(false, "not today"));
}

static void test_a_redirect_can_be_pasted_and_only_the_first_one_counts(void **state)
{
    char url[512];
    struct error err;
    (void)state;
    begin_and_show("plain");
    assert_int_equal(login_flow_redirect(&front, handle(), span_text("https://evil.example/?code=1"), &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(login_flow_redirect(&front, handle(), span_text(REDIRECT), &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(login_flow_redirect(&front, handle(), span_text(REDIRECT "2?code=1"), &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(login_flow_redirect(&front, span_text("no handle"), span_text(REDIRECT "?"), &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(flow.finished, 0);
    (void)snprintf(url, sizeof(url), REDIRECT "?code=pasted&state=%s", parameter("state"));
    assert_int_equal(login_flow_redirect(&front, handle(), span_text(url), &err), STATUS_OK);
    assert_string_equal(form_value(&calls[last(INTERNAL_FETCH)], "code"), "pasted");
    size_t count = call_count;
    assert_int_equal(login_flow_redirect(&front, handle(), span_text(url), &err), STATUS_INVALID_ARGUMENT);
    come_back_with(""); /* the browser came after all */
    assert_int_equal(call_count, count);
    answer_with_refresh_token(last(INTERNAL_FETCH));
    assert_int_equal(flow.finished, 1);
    assert_int_equal(flow.kept, 1);
}

static void test_a_code_whose_answer_was_lost_is_not_sent_again(void **state)
{
    (void)state;
    begin_and_show("plain");
    come_back_with("");
    give_failure(last(INTERNAL_FETCH), STATUS_TIMEOUT, true);
    assert_ended(STATUS_TIMEOUT, "the net process says no");
    assert_string_equal(flow.err.next, "log in again: the code may have been used, and is not sent twice");
    size_t count = call_count;
    tick(SECOND);
    tick(60 * SECOND);
    assert_int_equal(call_count, count);
}

static void test_a_code_waits_for_a_fresh_nonce_where_the_server_asks_for_nonces(void **state)
{
    (void)state;
    server.pushed_authorization_request_endpoint = (char *)(uintptr_t)"https://as.example/par";
    begin_login("plain", false);
    open_listener();
    challenge(last(INTERNAL_FETCH), "n-1");
    (void)answer(201);
    with_text("request_uri", "urn:1");
    give(last(INTERNAL_FETCH));
    await_end(now + 600 * SECOND);
    now += 30 * SECOND; /* the user takes his time */
    char query[256];
    const char *request_state = form_value(&calls[last(INTERNAL_FETCH)], "state");
    (void)snprintf(query, sizeof(query), "code=precious&state=%s", request_state);
    come_back(query);
    assert_null(form_value(&calls[last(INTERNAL_FETCH)], "code")); /* a probe */
    (void)answer(400);
    with_error("invalid_grant");
    with_nonce("n-2");
    give(last(INTERNAL_FETCH));
    assert_string_equal(form_value(&calls[last(INTERNAL_FETCH)], "code"), "precious");
    answer_with_refresh_token(last(INTERNAL_FETCH));
    assert_int_equal(flow.kept, 1);
    assert_true(flow.kept_nonces); /* so that the first refresh after a restart has one too */
}

static void test_a_server_that_asked_for_nonces_at_the_last_login_gets_a_probe_before_the_code(void **state)
{
    (void)state;
    known_to_ask = true;
    begin_and_show("plain");
    come_back_with("");
    assert_null(form_value(&calls[last(INTERNAL_FETCH)], "code"));
    challenge(last(INTERNAL_FETCH), "n-1");
    assert_string_equal(form_value(&calls[last(INTERNAL_FETCH)], "code"), "c%2F1");
}

static void test_an_id_token_with_another_nonce_ends_the_login(void **state)
{
    struct span audience = span_text("app");
    struct id_token_message m = {.iss = span_text("https://as.example/tenant"), .sub = span_text("alice"),
                                 .nonce = span_text("another"), .aud = {.items = &audience, .count = 1},
                                 .exp = UINT64_C(4000000000), .iat = 1700000000};
    struct buffer bytes;
    (void)state;
    begin_and_show("full");
    come_back_with("");
    buffer_init(&bytes, 4096);
    message_put(&bytes, &message_id_token_message, &m);
    good_answer()->answer.id_token = buffer_span(&bytes);
    give(last(INTERNAL_FETCH));
    assert_ended(STATUS_SERVER_MISBEHAVED, "nonce");
    begin_and_show("full");
    come_back_with("");
    m.nonce = span_text(parameter("nonce"));
    buffer_clear(&bytes);
    message_put(&bytes, &message_id_token_message, &m);
    good_answer()->answer.id_token = buffer_span(&bytes);
    give(last(INTERNAL_FETCH));
    assert_int_equal(flow.kept, 1);
    assert_string_equal(flow.subject, "alice");
    buffer_free(&bytes);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_flows, close_flows)
    const struct CMUnitTest tests[] = {
        TEST(test_the_user_is_sent_to_the_authorization_endpoint_with_all_that_the_profile_says),
        TEST(test_a_plain_login_ends_with_what_was_granted_and_a_page_that_says_so),
        TEST(test_two_logins_share_no_secret),
        TEST(test_where_it_is_advertised_or_wanted_the_request_is_pushed_with_a_proof),
        TEST(test_a_pushed_request_that_is_refused_ends_the_login_at_once),
        TEST(test_a_server_that_cannot_do_it_is_told_before_anybody_is_sent_there),
        TEST(test_a_redirect_that_is_not_the_answer_to_our_request_ends_it_without_a_code_being_sent),
        TEST(test_an_error_redirect_is_told_with_what_the_server_says),
        TEST(test_a_redirect_can_be_pasted_and_only_the_first_one_counts),
        TEST(test_a_code_whose_answer_was_lost_is_not_sent_again),
        TEST(test_a_code_waits_for_a_fresh_nonce_where_the_server_asks_for_nonces),
        TEST(test_a_server_that_asked_for_nonces_at_the_last_login_gets_a_probe_before_the_code),
        TEST(test_an_id_token_with_another_nonce_ends_the_login),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
