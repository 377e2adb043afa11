/* Dynamic registrations: what is asked for, read by another parser, and what is made of each answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "registration.h"

#define JKT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

static struct list_builder members;
static struct fetch_answer answer;

static int open_world(void **state)
{
    (void)state;
    list_builder_init(&members, 1 << 20);
    answer = (struct fetch_answer){.http_status = 201};
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    list_builder_free(&members);
    return 0;
}

static void with(const char *name, const char *value)
{
    struct json_member m = {.name = span_text(name), .kind = JSON_KIND_TEXT, .text = span_text(value)};
    list_builder_add(&members, &message_json_member, &m);
}

static struct strings *list(const char *first, const char *second)
{
    static char *items[4][2];
    static struct strings lists[4];
    static unsigned int turn;
    unsigned int i = turn++ % 4;
    items[i][0] = (char *)(uintptr_t)first;
    items[i][1] = (char *)(uintptr_t)second;
    lists[i] = (struct strings){.items = items[i], .count = second != NULL ? 2 : 1};
    return &lists[i];
}

static struct server_metadata server_with(const struct strings *methods)
{
    struct server_metadata s = {.issuer = (char *)(uintptr_t) "https://as.example", .discovered = true};
    if (methods != NULL)
        s.token_endpoint_auth_methods = *methods;
    return s;
}

static enum status plan(const char *authentication, const char *grant, const struct server_metadata *server, struct registration *out,
                        const char *message)
{
    struct error err = {.message = ""};
    enum status status = registration_plan(span_text(authentication), span_text(grant), server, out, &err);
    if (message != NULL && strstr(err.message, message) == NULL)
        fail_msg("%s", err.message);
    return status;
}

static void test_the_strongest_authentication_that_the_server_lists_is_chosen(void **state)
{
    struct registration r;
    struct server_metadata s = server_with(list("client_secret_basic", "private_key_jwt"));
    (void)state;
    assert_int_equal(plan(NULL, NULL, &s, &r, NULL), STATUS_OK);
    assert_int_equal(r.authentication, PRIVATE_KEY_JWT);
    assert_int_equal(r.grant, GRANT_AUTHORIZATION_CODE);
    assert_false(r.authentication_asked);
    assert_true(r.refresh_tokens);
    s.token_endpoint_auth_signing_alg_values = *list("RS256", NULL);
    assert_int_equal(plan(NULL, NULL, &s, &r, NULL), STATUS_OK);
    assert_int_equal(r.authentication, CLIENT_SECRET_BASIC);
    s = server_with(NULL); /* RFC 8414 section 2 */
    assert_int_equal(plan(NULL, NULL, &s, &r, NULL), STATUS_OK);
    assert_int_equal(r.authentication, CLIENT_SECRET_BASIC);
    s = server_with(list("none", "tls_client_auth"));
    assert_int_equal(plan(NULL, NULL, &s, &r, NULL), STATUS_OK);
    assert_int_equal(r.authentication, CLIENT_NONE);
    assert_int_equal(plan(NULL, "client_credentials", &s, &r, "no client authentication that can be registered"), STATUS_SERVER_MISBEHAVED);
}

static void test_what_cannot_be_registered_is_refused_before_the_server_is_asked(void **state)
{
    struct registration r;
    struct server_metadata s = server_with(list("client_secret_basic", "none"));
    (void)state;
    assert_int_equal(plan("client_secret_jwt", NULL, &s, &r, "no client authentication \"client_secret_jwt\""), STATUS_INVALID_ARGUMENT);
    assert_int_equal(plan(NULL, "implicit", &s, &r, "no grant \"implicit\""), STATUS_INVALID_ARGUMENT);
    assert_int_equal(plan("none", "client_credentials", &s, &r, "other than none"), STATUS_INVALID_ARGUMENT);
    assert_int_equal(plan("private_key_jwt", NULL, &s, &r, "does not list private_key_jwt"), STATUS_SERVER_MISBEHAVED);
    assert_int_equal(plan("tls_client_auth", NULL, &s, &r, "the server has to know the certificate first"), STATUS_INVALID_ARGUMENT);
    assert_int_equal(plan("self_signed_tls_client_auth", NULL, &s, &r, "the certificate first"), STATUS_INVALID_ARGUMENT);
    s.grant_types = *list("authorization_code", "refresh_token");
    assert_int_equal(plan(NULL, "device_code", &s, &r, "does not list urn:ietf:params:oauth:grant-type:device_code"), STATUS_SERVER_MISBEHAVED);
    assert_int_equal(plan(NULL, "authorization_code", &s, &r, NULL), STATUS_OK);
}

static json_t *asked(const struct registration *r)
{
    struct jwk key = {.x = {1}, .y = {2}};
    json_error_t error;
    struct buffer json;
    buffer_init(&json, LIMIT_NESTED);
    registration_put(r, &key, JKT, &json);
    assert_false(json.failed);
    json_t *root = json_loadb((const char *)buffer_span(&json).data, buffer_span(&json).len, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(root);
    buffer_free(&json);
    return root;
}

static const char *text_of(json_t *root, const char *name)
{
    return json_string_value(json_object_get(root, name));
}

static void test_a_native_app_asks_for_a_loopback_redirect_and_gives_its_public_key(void **state)
{
    struct registration r = {.authentication = PRIVATE_KEY_JWT, .grant = GRANT_AUTHORIZATION_CODE, .refresh_tokens = true,
                             .client_name = "An \"app\"", .scope = "a b"};
    json_t *root = asked(&r);
    (void)state;
    assert_string_equal(text_of(root, "client_name"), "An \"app\"");
    assert_string_equal(text_of(root, "scope"), "a b");
    assert_string_equal(text_of(root, "token_endpoint_auth_method"), "private_key_jwt");
    assert_string_equal(text_of(root, "application_type"), "native");
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "redirect_uris"), 0)), "http://127.0.0.1/callback");
    assert_int_equal(json_array_size(json_object_get(root, "grant_types")), 2);
    assert_true(json_is_true(json_object_get(root, "dpop_bound_access_tokens")));
    json_t *key = json_array_get(json_object_get(json_object_get(root, "jwks"), "keys"), 0);
    assert_string_equal(text_of(key, "kid"), JKT);
    assert_string_equal(text_of(key, "kty"), "EC");
    assert_null(json_object_get(key, "d"));
    json_decref(root);
}

static void test_a_service_asks_for_no_redirect(void **state)
{
    struct registration r = {.authentication = CLIENT_SECRET_BASIC, .grant = GRANT_CLIENT_CREDENTIALS};
    json_t *root = asked(&r);
    (void)state;
    assert_int_equal(json_array_size(json_object_get(root, "redirect_uris")), 0);
    assert_int_equal(json_array_size(json_object_get(root, "response_types")), 0);
    assert_null(json_object_get(root, "jwks"));
    assert_null(json_object_get(root, "application_type"));
    assert_null(json_object_get(root, "client_name"));
    json_decref(root);
}

static enum status read_answer(const struct registration *r, struct registered *out, struct error *err)
{
    answer.members = list_builder_list(&members);
    return registration_read(r, &answer, out, err);
}

static void test_what_the_server_returns_counts(void **state)
{
    struct registration r = {.authentication = PRIVATE_KEY_JWT, .grant = GRANT_AUTHORIZATION_CODE, .scope = "a  b c"};
    struct registered got;
    struct error err;
    struct buffer scope;
    (void)state;
    with("client_id", "id 1");
    with("client_secret", "s3cret");
    with("token_endpoint_auth_method", "client_secret_post");
    with("scope", "c d a");
    with("registration_client_uri", "https://as/reg/1");
    with("registration_access_token", "rat");
    assert_int_equal(read_answer(&r, &got, &err), STATUS_OK);
    assert_true(span_is(got.client_id, "id 1"));
    assert_true(span_is(got.client_secret, "s3cret"));
    assert_int_equal(got.authentication, CLIENT_SECRET_POST);
    assert_true(span_is(got.registration_token, "rat"));
    buffer_init(&scope, 100);
    registration_put_scope(&r, &answer, &scope);
    assert_true(span_is(buffer_span(&scope), "a c"));
    buffer_free(&scope);
}

static void test_a_secret_that_the_authentication_does_not_use_is_not_kept(void **state)
{
    struct registration r = {.authentication = PRIVATE_KEY_JWT, .grant = GRANT_AUTHORIZATION_CODE};
    struct registered got;
    struct error err;
    (void)state;
    with("client_id", "id");
    with("client_secret", "s3cret");
    assert_int_equal(read_answer(&r, &got, &err), STATUS_OK);
    assert_null(got.client_secret.data);
}

static void assert_refused(const struct registration *r, enum status status, const char *message)
{
    struct registered got = {.client_id = span_text("untouched")};
    struct error err;
    assert_int_equal(read_answer(r, &got, &err), status);
    if (strstr(err.message, message) == NULL)
        fail_msg("%s", err.message);
    assert_true(span_is(got.client_id, "untouched"));
    list_builder_free(&members);
    list_builder_init(&members, 1 << 20);
}

static void test_answers_that_are_no_registration_are_refused(void **state)
{
    struct registration asked_for = {.authentication = PRIVATE_KEY_JWT, .authentication_asked = true, .grant = GRANT_AUTHORIZATION_CODE};
    struct registration secret = {.authentication = CLIENT_SECRET_BASIC, .grant = GRANT_CLIENT_CREDENTIALS};
    struct span none[] = {span_text("implicit")};
    struct json_member grants = {.name = span_text("grant_types"), .kind = JSON_KIND_TEXTS, .texts = {.items = none, .count = 1}};
    (void)state;
    assert_refused(&asked_for, STATUS_SERVER_MISBEHAVED, "no usable client_id");
    with("client_id", " id");
    assert_refused(&asked_for, STATUS_SERVER_MISBEHAVED, "no usable client_id");
    with("client_id", "a\nb");
    assert_refused(&asked_for, STATUS_SERVER_MISBEHAVED, "no usable client_id");
    with("client_id", "id");
    with("token_endpoint_auth_method", "client_secret_basic");
    assert_refused(&asked_for, STATUS_SERVER_MISBEHAVED, "weaker than private_key_jwt");
    with("client_id", "id");
    with("token_endpoint_auth_method", "tls_client_auth");
    assert_refused(&asked_for, STATUS_SERVER_MISBEHAVED, "which was not asked for");
    with("client_id", "id");
    assert_refused(&secret, STATUS_SERVER_MISBEHAVED, "no usable client_secret");
    with("client_id", "id");
    with("token_endpoint_auth_method", "none");
    assert_refused(&secret, STATUS_SERVER_MISBEHAVED, "without client authentication");
    with("client_id", "id");
    list_builder_add(&members, &message_json_member, &grants);
    assert_refused(&asked_for, STATUS_SERVER_MISBEHAVED, "without the grant authorization_code");
    answer.json_error = span_text("text/html");
    assert_refused(&asked_for, STATUS_SERVER_MISBEHAVED, "text/html");
}

static void test_refusals_are_told_apart(void **state)
{
    static const struct {
        uint16_t http;
        const char *error;
        enum status status;
        const char *message;
    } rows[] = {{401, "invalid_token", STATUS_SERVER_REFUSED, "does not let everybody register"},
                {400, "invalid_redirect_uri", STATUS_SERVER_REFUSED, "refuses the registration: invalid_redirect_uri"},
                {404, NULL, STATUS_SERVER_MISBEHAVED, "status 404"},
                {503, NULL, STATUS_SERVER_UNAVAILABLE, "status 503"}};
    struct registration r = {.authentication = PRIVATE_KEY_JWT};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        answer.http_status = rows[i].http;
        if (rows[i].error != NULL)
            with("error", rows[i].error);
        assert_refused(&r, rows[i].status, rows[i].message);
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_the_strongest_authentication_that_the_server_lists_is_chosen),
        TEST(test_what_cannot_be_registered_is_refused_before_the_server_is_asked),
        TEST(test_a_native_app_asks_for_a_loopback_redirect_and_gives_its_public_key),
        TEST(test_a_service_asks_for_no_redirect),
        TEST(test_what_the_server_returns_counts),
        TEST(test_a_secret_that_the_authentication_does_not_use_is_not_kept),
        TEST(test_answers_that_are_no_registration_are_refused),
        TEST(test_refusals_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
