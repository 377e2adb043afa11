/* Assertions, of clients and as grants, member by member, and the JSON that is written by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "assertion.h"
#include "json_text.h"

static const struct jwk jwk = {.x = {1}, .y = {2}}; /* never verified with: the text is what matters */

static const struct assertion_claims client = {
    .issuer = {(const uint8_t *)"an \"app\" \\ \xc3\xa9", 13},
    .subject = {(const uint8_t *)"an \"app\" \\ \xc3\xa9", 13},
    .audience = {(const uint8_t *)"https://as.example/", 19},
    .iat = 1700000000,
    .lifetime = 60,
    .jti = {1},
};

static struct buffer asserted(const struct assertion_claims *claims)
{
    struct buffer b;
    struct error e = {0};
    buffer_init(&b, ASSERTION_MAX);
    if (assertion_signing_input(&jwk, claims, &b, &e) != STATUS_OK)
        fail_msg("%s", e.message);
    return b;
}

/* Part 0 or 1 of the signing input, and nothing follows part 1. */
static json_t *json_part(struct span input, int wanted)
{
    uint8_t text[1024];
    size_t len = 0;
    const uint8_t *dot = memchr(input.data, '.', input.len);
    assert_non_null(dot);
    size_t first = (size_t)(dot - input.data);
    struct span part = wanted == 0 ? span_of(input.data, first) : span_of(dot + 1, input.len - first - 1);
    assert_int_equal(base64url_decode(part, text, sizeof(text), &len), 0);
    json_t *json = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static void assert_member(const json_t *object, const char *name, const char *value)
{
    const json_t *member = json_object_get(object, name);
    assert_true(json_is_string(member));
    assert_string_equal(json_string_value(member), value);
}

static void test_a_client_assertion_names_the_issuer_alone_as_audience_and_expires(void **state)
{
    (void)state;
    struct buffer b = asserted(&client);
    char thumbprint[JWK_THUMBPRINT_SIZE];
    json_t *header = json_part(buffer_span(&b), 0), *payload = json_part(buffer_span(&b), 1);
    assert_int_equal(jwk_thumbprint(&jwk, thumbprint), 0);
    assert_int_equal(json_object_size(header), 3);
    assert_member(header, "typ", "client-authentication+jwt");
    assert_member(header, "alg", "ES256");
    assert_member(header, "kid", thumbprint);
    assert_int_equal(json_object_size(payload), 6);
    assert_member(payload, "iss", "an \"app\" \\ \xc3\xa9");
    assert_member(payload, "sub", "an \"app\" \\ \xc3\xa9");
    assert_member(payload, "aud", "https://as.example/");
    assert_member(payload, "jti", "AQAAAAAAAAAAAAAAAAAAAA");
    assert_int_equal(json_integer_value(json_object_get(payload, "iat")), 1700000000);
    assert_int_equal(json_integer_value(json_object_get(payload, "exp")), 1700000060);
    json_decref(header);
    json_decref(payload);
    buffer_free(&b);
}

static void test_a_client_assertion_names_the_key_as_the_server_knows_it(void **state)
{
    (void)state;
    struct assertion_claims claims = client;
    claims.kid = span_text("key-1");
    struct buffer b = asserted(&claims);
    json_t *header = json_part(buffer_span(&b), 0);
    assert_member(header, "kid", "key-1");
    json_decref(header);
    buffer_free(&b);
}

static void test_a_grants_assertion_says_so_and_names_issuer_subject_and_audience_apart(void **state)
{
    (void)state;
    struct assertion_claims claims = client;
    claims.grant = true;
    claims.issuer = span_text("issuer");
    claims.subject = span_text("robot");
    claims.audience = span_text("https://as.example/other");
    struct buffer b = asserted(&claims);
    json_t *header = json_part(buffer_span(&b), 0), *payload = json_part(buffer_span(&b), 1);
    assert_int_equal(json_object_size(header), 3);
    assert_member(header, "typ", "authorization-grant+jwt");
    assert_int_equal(json_object_size(payload), 6);
    assert_member(payload, "iss", "issuer");
    assert_member(payload, "sub", "robot");
    assert_member(payload, "aud", "https://as.example/other");
    json_decref(header);
    json_decref(payload);
    buffer_free(&b);
}

static void assert_assertion_refused(const struct assertion_claims *claims, enum status expected, const char *why)
{
    struct buffer b;
    struct error e = {0};
    buffer_init(&b, ASSERTION_MAX);
    assert_int_equal(assertion_signing_input(&jwk, claims, &b, &e), expected);
    if (strstr(e.message, why) == NULL)
        fail_msg("%s", e.message);
    assert_int_equal(b.len, 0);
    buffer_free(&b);
}

static void test_an_assertion_without_names_or_with_a_bad_lifetime_is_refused(void **state)
{
    (void)state;
    static char long_name[2049];
    struct assertion_claims claims = client;
    claims.issuer = span_text("");
    assert_assertion_refused(&claims, STATUS_CONFIGURATION, "issuer");
    claims.issuer = span_text("a\xff");
    assert_assertion_refused(&claims, STATUS_CONFIGURATION, "issuer");
    claims = client;
    claims.subject = span_text(NULL);
    assert_assertion_refused(&claims, STATUS_CONFIGURATION, "subject");
    memset(long_name, 'a', sizeof(long_name));
    claims = client;
    claims.audience = span_of(long_name, sizeof(long_name));
    assert_assertion_refused(&claims, STATUS_CONFIGURATION, "audience");
    claims.audience = span_text(NULL); /* a profile without an issuer */
    assert_assertion_refused(&claims, STATUS_CONFIGURATION, "audience");
    claims = client;
    claims.kid = span_text("a\n");
    assert_assertion_refused(&claims, STATUS_CONFIGURATION, "kid");
    claims = client;
    claims.lifetime = 0;
    assert_assertion_refused(&claims, STATUS_INTERNAL, "lifetime");
    claims.lifetime = ASSERTION_LIFETIME_MAX + 1;
    assert_assertion_refused(&claims, STATUS_INTERNAL, "lifetime");
    claims = client;
    claims.iat = -1;
    assert_assertion_refused(&claims, STATUS_INTERNAL, "clock");
    claims.iat = INT64_MAX;
    assert_assertion_refused(&claims, STATUS_INTERNAL, "clock");
}

static void test_every_character_survives_the_json_text(void **state)
{
    (void)state;
    uint8_t all[128];
    struct buffer b;
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (uint8_t)i;
    buffer_init(&b, 4096);
    json_text_open(&b);
    json_text_string(&b, "all", span_of(all, sizeof(all)));
    json_text_number(&b, "least", INT64_MIN);
    json_text_string(&b, "{", span_text("{"));
    json_text_string(&b, "", span_text(NULL));
    json_text_close(&b);
    struct span text = buffer_span(&b);
    json_t *json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    assert_int_equal(json_string_length(json_object_get(json, "all")), sizeof(all));
    assert_memory_equal(json_string_value(json_object_get(json, "all")), all, sizeof(all));
    assert_true(json_integer_value(json_object_get(json, "least")) == INT64_MIN);
    assert_member(json, "{", "{");
    assert_member(json, "", "");
    json_decref(json);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_assertion_names_the_issuer_alone_as_audience_and_expires),
        cmocka_unit_test(test_a_client_assertion_names_the_key_as_the_server_knows_it),
        cmocka_unit_test(test_a_grants_assertion_says_so_and_names_issuer_subject_and_audience_apart),
        cmocka_unit_test(test_an_assertion_without_names_or_with_a_bad_lifetime_is_refused),
        cmocka_unit_test(test_every_character_survives_the_json_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
