/* How a profile comes to a token: which request each grant makes of the profile and of what an application gave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "front_world.h"
#include "grants.h"
#include "logins.h"
#include "tokens.h"

#define ACCESS_TOKEN "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile client]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "[profile user]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-authentication = none\n"
    "grant = authorization_code\norigins = https://a\n"
    "[profile device]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-authentication = none\n"
    "grant = device_code\norigins = https://a\n"
    "[profile exchange]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "grant = token-exchange\nrequested-token-type = urn:wanted\n"
    "[profile exchange-file]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "grant = token-exchange\nsubject-token-file = /t\nsubject-token-type = urn:file\nactor-token-file = /a\nactor-token-type = urn:actor\n"
    "[profile exchange-profile]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "grant = token-exchange\nsubject-token-profile = client\n"
    "[profile bearer]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "grant = jwt-bearer\n"
    "[profile bearer-file]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "grant = jwt-bearer\nassertion-file = /t\n"
    "[profile bearer-signed]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "grant = jwt-bearer\nassertion-subject = robot\n";

/* --- what the grants see instead of the agent --- */

static unsigned int exchanges, login_fetches, token_gets;
static struct exchange_request request;
static struct login_fetch login_fetch;
static struct call form; /* the grant's own parameters */
static char form_text[8192], subject_profile[64];
static size_t form_length;
static enum status subject_fails;

void exchange_start(struct front *f, const struct exchange_request *r, exchange_done done, void *context)
{
    struct exchange_result more = {0};
    struct granted g = {.access_token = span_text("granted")};
    (void)f;
    exchanges++;
    request = *r;
    form_length = r->grant_form.len;
    copy_text(form_length < sizeof(form_text) ? r->grant_form : span_text("(long)"), form_text, sizeof(form_text));
    form.form = form_text;
    done(context, NULL, &g, &more);
}

void logins_fetch(struct front *f, const struct login_fetch *l, exchange_done done, void *context)
{
    struct exchange_result more = {0};
    struct granted g = {.access_token = span_text("of a login")};
    (void)f;
    login_fetches++;
    login_fetch = *l;
    done(context, NULL, &g, &more);
}

void tokens_get(struct tokens *tokens, const struct token_query *q, token_done done, void *context)
{
    struct secret *secret = secret_new(span_text("another token"));
    struct token token = {.access_token = secret};
    struct error err;
    (void)tokens;
    token_gets++;
    copy_text(span_text(q->profile->name), subject_profile, sizeof(subject_profile));
    assert_null(q->scope.data);
    assert_int_equal(q->resources->count, 0);
    if (subject_fails != STATUS_OK)
        (void)error_set(&err, subject_fails, NULL, "no subject token");
    done(context, subject_fails != STATUS_OK ? &err : NULL, subject_fails != STATUS_OK ? NULL : &token);
    secret_free(secret);
}

/* --- the caller --- */

static struct {
    unsigned int calls;
    struct error err;
    char token[32];
} result;

static void on_done(void *context, const struct error *err, const struct granted *g, const struct exchange_result *more)
{
    assert_ptr_equal(context, &result);
    assert_non_null(more);
    result.calls++;
    result.err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    if (err == NULL)
        copy_text(g->access_token, result.token, sizeof(result.token));
}

static char resource[] = "urn:r";
static char *resource_items[] = {resource};
static const struct strings resources = {.items = resource_items, .count = 1};
static const struct token_kind kind = {.digest = {7}};
static struct grant_inputs inputs;

static void get(const char *name)
{
    struct grant_request r = {.profile = profile(name), .kind = &kind, .own = true, .scope = span_text("a b"), .resources = &resources,
                              .inputs = &inputs, .min_valid = 9, .force = true, .deadline = now + SECOND};
    memset(&result, 0, sizeof(result));
    memset(&request, 0, sizeof(request));
    grants_fetch(&front, &r, on_done, &result);
    assert_int_equal(result.calls, 1);
}

static int open_world(void **state)
{
    (void)state;
    exchanges = login_fetches = token_gets = 0;
    subject_fails = STATUS_OK;
    return open_front(text);
}

static int close_world(void **state)
{
    (void)state;
    grant_inputs_free(&inputs);
    close_front();
    return 0;
}

/* --- grants --- */

static void test_client_credentials_are_one_plain_request(void **state)
{
    (void)state;
    get("client");
    assert_string_equal(request.grant_type, "client_credentials");
    assert_string_equal(request.stage, "token request");
    assert_string_equal(form_text, "");
    assert_true(span_is(request.scope, "a b") && request.resources == &resources && request.audiences);
    assert_false(request.precious || request.user || request.token_files || request.grant_assertion);
    assert_true(request.deadline == now + SECOND);
    assert_string_equal(result.token, "granted");
}

static void test_the_grants_with_a_user_go_to_his_login(void **state)
{
    static const char *const names[] = {"user", "device"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        get(names[i]);
        assert_int_equal(login_fetches, i + 1);
        assert_ptr_equal(login_fetch.profile, profile(names[i]));
        assert_true(login_fetch.own && login_fetch.force && login_fetch.kind == &kind && login_fetch.resources == &resources);
        assert_int_equal(login_fetch.min_valid, 9);
        assert_string_equal(result.token, "of a login");
    }
    assert_int_equal(exchanges, 0);
}

static void test_a_given_subject_token_is_exchanged_and_counts_before_the_profiles(void **state)
{
    (void)state;
    inputs.subject_token = secret_new(span_text("s+1"));
    get("exchange");
    assert_string_equal(request.grant_type, "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_string_equal(form_text, "subject_token=s%2B1&subject_token_type=" ACCESS_TOKEN "&requested_token_type=urn%3Awanted");
    assert_false(request.token_files);
    inputs.subject_token_type = span_dup(span_text("urn:given"));
    get("exchange-file");
    assert_string_equal(form_value(&form, "subject_token"), "s%2B1");
    assert_string_equal(form_value(&form, "subject_token_type"), "urn%3Agiven");
    assert_string_equal(form_value(&form, "actor_token_type"), "urn%3Aactor"); /* whose token is the file's */
    assert_true(request.token_files);
    inputs.actor_token = secret_new(span_text("actor"));
    inputs.actor_token_type = span_dup(span_text("urn:given-actor"));
    get("exchange-file");
    assert_string_equal(form_value(&form, "actor_token"), "actor");
    assert_string_equal(form_value(&form, "actor_token_type"), "urn%3Agiven-actor");
    assert_false(request.token_files);
    get("exchange-profile");
    assert_int_equal(token_gets, 0);
}

static void test_the_subject_token_of_a_file_is_added_by_the_net_process(void **state)
{
    (void)state;
    get("exchange-file");
    assert_null(form_value(&form, "subject_token"));
    assert_string_equal(form_value(&form, "subject_token_type"), "urn%3Afile");
    assert_true(request.token_files);
}

static void test_the_subject_token_may_be_another_profiles_access_token(void **state)
{
    (void)state;
    get("exchange-profile");
    assert_string_equal(subject_profile, "client");
    assert_string_equal(form_value(&form, "subject_token"), "another+token");
    assert_string_equal(form_value(&form, "subject_token_type"), ACCESS_TOKEN);
    subject_fails = STATUS_KEY_LOCKED;
    get("exchange-profile");
    assert_int_equal(result.err.status, STATUS_KEY_LOCKED);
    assert_int_equal(exchanges, 1);
}

static void test_an_exchange_without_a_subject_token_or_a_bearer_without_an_assertion_says_what_to_give(void **state)
{
    (void)state;
    get("exchange");
    assert_int_equal(result.err.status, STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(result.err.next, "--subject-token-file"));
    get("bearer");
    assert_int_equal(result.err.status, STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(result.err.next, "--assertion-file"));
    assert_int_equal(exchanges, 0);
}

static void test_an_assertion_is_given_a_files_or_our_own(void **state)
{
    (void)state;
    get("bearer-file");
    assert_string_equal(request.grant_type, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_string_equal(form_text, "");
    assert_true(request.token_files && request.precious && !request.grant_assertion);
    get("bearer-signed");
    assert_true(request.grant_assertion && !request.token_files && !request.precious);
    inputs.assertion = secret_new(span_text("e.y.J"));
    static const char *const names[] = {"bearer", "bearer-file", "bearer-signed"};
    for (size_t i = 0; i < 3; i++) {
        get(names[i]);
        assert_string_equal(form_text, "assertion=e.y.J");
        assert_true(request.precious && !request.token_files && !request.grant_assertion);
    }
}

static void test_the_longest_tokens_fit(void **state)
{
    static char longest[LIMIT_ASSERTION];
    (void)state;
    memset(longest, '+', sizeof(longest)); /* three bytes each when encoded */
    inputs.subject_token = secret_new(span_of(longest, sizeof(longest)));
    inputs.actor_token = secret_new(span_of(longest, sizeof(longest)));
    get("exchange");
    assert_in_range(form_length, 6 * sizeof(longest), 6 * sizeof(longest) + 400);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_client_credentials_are_one_plain_request),
        TEST(test_the_grants_with_a_user_go_to_his_login),
        TEST(test_a_given_subject_token_is_exchanged_and_counts_before_the_profiles),
        TEST(test_the_subject_token_of_a_file_is_added_by_the_net_process),
        TEST(test_the_subject_token_may_be_another_profiles_access_token),
        TEST(test_an_exchange_without_a_subject_token_or_a_bearer_without_an_assertion_says_what_to_give),
        TEST(test_an_assertion_is_given_a_files_or_our_own),
        TEST(test_the_longest_tokens_fit),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
