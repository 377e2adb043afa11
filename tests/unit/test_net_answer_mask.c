/* What a server repeats of a request does not stand in the answer that is handed on, wherever the server puts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_answer.h"

static struct json_answer answer;

static void read_text(const char *body)
{
    json_answer_free(&answer);
    json_answer_read(span_text(body), span_text("application/json"), &answer);
}

static struct json_member member(const char *name)
{
    struct json_member m;
    struct error err;
    for (size_t i = 0; i < answer.count; i++) {
        assert_int_equal(message_take(answer.members[i], &message_json_member, &m, sizeof(m), &err), STATUS_OK);
        if (span_is(m.name, name))
            return m;
    }
    fail_msg("no member %s", name);
    return m;
}

static char *repeat(const char *head, const char *unit, size_t times, const char *tail)
{
    size_t n = strlen(unit);
    char *text = malloc(strlen(head) + n * times + strlen(tail) + 1);
    assert_non_null(text);
    char *end = text + sprintf(text, "%s", head);
    for (size_t i = 0; i < times; i++, end += n)
        memcpy(end, unit, n);
    (void)strcpy(end, tail);
    return text;
}

/* The request carried `secret`. */
static void mask(const char *secret, unsigned int http_status)
{
    struct masking masking;
    masking_init(&masking);
    masking_add(&masking, span_text(secret));
    json_answer_mask(&answer, &masking, http_status);
    masking_free(&masking);
}

static bool members_hold(const char *text)
{
    for (size_t i = 0; i < answer.count; i++)
        if (memmem(answer.members[i].data, answer.members[i].len, text, strlen(text)) != NULL)
            return true;
    return false;
}

/* Every name that means something to the agent, and one that means nothing. */
static const char *const texts[] = {
    "error", "error_description", "error_uri", "scope", "token_type", "sub", "iss", "issuer", "client_id", "anything",
    "issued_token_type", "verification_uri", "token_endpoint", "registration_endpoint", "client_name", "expires_in",
};
static const char *const wanted[] = {
    "access_token", "refresh_token", "id_token", "device_code", "user_code", "verification_uri_complete", "request_uri",
    "client_secret", "registration_access_token", "registration_client_uri",
};

static void read_with(const char *name, const char *more)
{
    char body[512];
    (void)snprintf(body, sizeof(body), "{\"first\":5,\"%s\":\"got CANARY&SECRET.\"%s}", name, more);
    read_text(body);
}

static void test_a_refusal_hands_no_secret_of_the_request_on_in_any_member(void **state)
{
    (void)state;
    static const unsigned int refused[] = {302, 400, 401, 403, 500, 503};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) + sizeof(wanted) / sizeof(wanted[0]); i++) {
        size_t n = sizeof(texts) / sizeof(texts[0]);
        const char *name = i < n ? texts[i] : wanted[i - n];
        for (size_t k = 0; k < sizeof(refused) / sizeof(refused[0]); k++) {
            read_with(name, "");
            mask("CANARY&SECRET", refused[k]);
            assert_int_equal(answer.count, 2);
            assert_true(span_is(member(name).text, "got (masked)."));
            assert_int_equal(member("first").integer, 5);
        }
        if (strcmp(name, "error") == 0)
            continue;
        read_with(name, ",\"error\":\"invalid_grant\"");
        mask("CANARY&SECRET", 200);
        assert_true(span_is(member(name).text, "got (masked)."));
        assert_true(span_is(member("error").text, "invalid_grant"));
    }
}

static void test_a_good_answer_keeps_the_values_that_are_wanted_as_they_are_and_no_others(void **state)
{
    (void)state;
    for (unsigned int status = 200; status < 202; status++) {
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
            read_with(wanted[i], ",\"token_type\":\"DPoP\",\"scope\":\"read write\"");
            mask("CANARY&SECRET", status);
            assert_true(span_is(member(wanted[i]).text, "got CANARY&SECRET."));
            assert_true(span_is(member("token_type").text, "DPoP") && span_is(member("scope").text, "read write"));
        }
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            read_with(texts[i], "");
            mask("CANARY&SECRET", status);
            assert_true(span_is(member(texts[i]).text, "got (masked)."));
        }
    }
    read_text("{\"access_token\":[\"CANARY&SECRET\"],\"refresh_token\":{\"access_token\":\"CANARY&SECRET\"}}");
    mask("CANARY&SECRET", 200);
    assert_false(members_hold("CANARY"));
}

static void test_secrets_are_found_on_every_level_and_in_every_spelling(void **state)
{
    (void)state;
    read_text("{\"texts\":[\"a\",\"CANARY&SECRET\",\"b\"],\"mixed\":[1,\"CANARY&SECRET\"],\"o\":{\"p\":[{\"q\":\"CANARY%26SECRET\"}],\"n\":1.5},"
              "\"cnf\":{\"jkt\":\"xCANARY&SECRET\",\"CANARY&SECRET\":\"y\"},\"mtls_endpoint_aliases\":{\"token_endpoint\":\"CANARY&SECRET\"},"
              "\"CANARY&SECRET\":1,\"CANARY%26SECRET_endpoint\":\"https://as/\",\"deep\":{\"CANARY&SECRET\":true,\"k\":null},\"z\":false}");
    mask("CANARY&SECRET", 200);
    assert_string_equal(answer.error, "");
    assert_false(members_hold("CANARY"));
    assert_int_equal(member("texts").kind, JSON_KIND_TEXTS);
    assert_int_equal(member("texts").texts.count, 3);
    assert_true(span_is(member("mixed").text, "[1,\"(masked)\"]"));
    assert_true(span_is(member("o").text, "{\"p\":[{\"q\":\"(masked)\"}],\"n\":1.5}"));
    assert_true(span_is(member("deep").text, "{\"k\":null}"));
    assert_true(span_is(member("cnf.jkt").text, "x(masked)"));
    assert_true(span_is(member("mtls_endpoint_aliases.token_endpoint").text, "(masked)"));
    assert_int_equal(member("z").kind, JSON_KIND_FALSE);
    assert_int_equal(answer.count, 9);
}

static void test_a_signature_alone_is_a_secret_and_a_well_known_name_is_none(void **state)
{
    (void)state;
    read_text("{\"error_description\":\"CANARYSIGNATURE is wrong\"}");
    mask("e30.e30.CANARYSIGNATURE", 400);
    assert_true(span_is(member("error_description").text, "(masked) is wrong"));
    read_text("{\"access_token\":\"x\",\"expires_in\":300}");
    mask("access_token", 200);
    assert_true(span_is(member("access_token").text, "x"));
    read_text("{\"expires_in\":300}");
    mask("expires_in", 400);
    assert_int_equal(member("expires_in").integer, 300);
}

static void test_an_answer_that_repeats_nothing_stays_as_it_is(void **state)
{
    (void)state;
    char *body = repeat("{\"a\":\"line\\n\\u00e9\",\"long\":\"", "0123456789", 2000, "\",\"o\":{\"k\":[1,2.5,\"v\"]},\"l\":[\"\"]}");
    struct masking none;
    masking_init(&none);
    read_text(body);
    json_answer_mask(&answer, &none, 400);
    assert_int_equal(answer.count, 4);
    assert_true(span_is(member("a").text, "line\n\xc3\xa9"));
    assert_int_equal(member("long").text.len, 20000);
    mask("CANARYSECRET", 400); /* of what is too long to be searched, the length is told */
    assert_true(span_is(member("a").text, "line\n\xc3\xa9"));
    assert_true(span_is(member("o").text, "{\"k\":[1,2.5,\"v\"]}"));
    assert_true(span_is(member("long").text, "(masked, 20000 bytes)"));
    free(body);
}

static void test_a_secret_that_is_too_long_to_be_kept_is_hidden_too(void **state)
{
    (void)state;
    char *secret = repeat("", "CANARY", 2000, ""), *body = repeat("{\"error_description\":\"got ", "CANARY", 2000, ".\"}");
    read_text(body);
    mask(secret, 400);
    assert_false(members_hold("CANARY"));
    free(secret);
    free(body);
}

static void test_when_secrets_cannot_be_kept_no_text_is_handed_on(void **state)
{
    (void)state;
    struct masking masking;
    masking_init(&masking);
    masking.blind = true;
    read_text("{\"access_token\":\"x\",\"sub\":\"CANARY\",\"texts\":[\"CANARY\"],\"expires_in\":5}");
    json_answer_mask(&answer, &masking, 200);
    assert_true(span_is(member("access_token").text, "x"));
    assert_int_equal(member("expires_in").integer, 5);
    assert_false(members_hold("CANARY"));
    masking_free(&masking);
}

static void test_the_reason_why_a_body_is_none_holds_no_secret(void **state)
{
    (void)state;
    json_answer_free(&answer);
    json_answer_read(span_text("no"), span_text("text/CANARYSECRET"), &answer);
    mask("CANARYSECRET", 400);
    assert_string_equal(answer.error, "text/(masked), 2 bytes, not a JSON object: the syntax is wrong");
    assert_int_equal(answer.count, 0);
}

static int release(void **state)
{
    (void)state;
    json_answer_free(&answer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refusal_hands_no_secret_of_the_request_on_in_any_member),
        cmocka_unit_test(test_a_good_answer_keeps_the_values_that_are_wanted_as_they_are_and_no_others),
        cmocka_unit_test(test_secrets_are_found_on_every_level_and_in_every_spelling),
        cmocka_unit_test(test_a_signature_alone_is_a_secret_and_a_well_known_name_is_none),
        cmocka_unit_test(test_an_answer_that_repeats_nothing_stays_as_it_is),
        cmocka_unit_test(test_a_secret_that_is_too_long_to_be_kept_is_hidden_too),
        cmocka_unit_test(test_when_secrets_cannot_be_kept_no_text_is_handed_on),
        cmocka_unit_test(test_the_reason_why_a_body_is_none_holds_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, release);
}
