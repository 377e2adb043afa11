/* The redirect from the authorization server: what is read of its query, and which answers are believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "form.h"
#include "redirect.h"

static const struct redirect_expected expected = {.state = "s-1", .issuer = "https://as.example", .where = "work"};
static const struct redirect_expected expected_with_iss = {
    .state = "s-1", .issuer = "https://as.example", .iss_required = true, .where = "work"};

/* Reads a copy without a NUL, so that a read behind the end is seen. */
static enum status read_copy(struct span query, struct redirect *redirect, struct error *err)
{
    char *copy = malloc(query.len > 0 ? query.len : 1);
    memcpy(copy, query.data, query.len);
    enum status status = redirect_read(span_of(copy, query.len), redirect, err);
    free(copy);
    return status;
}

static struct redirect read_good(const char *query)
{
    struct redirect redirect = {0};
    struct error err;
    assert_int_equal(read_copy(span_text(query), &redirect, &err), STATUS_OK);
    return redirect;
}

static void assert_text(const char *text, const char *wanted)
{
    if (wanted == NULL) {
        assert_null(text);
    } else {
        assert_non_null(text);
        assert_string_equal(text, wanted);
    }
}

static void assert_code_and_state(const char *query, const char *code, const char *state)
{
    struct redirect redirect = read_good(query);
    assert_text(redirect.code, code);
    assert_text(redirect.state, state);
    redirect_free(&redirect);
}

static void assert_unreadable(struct span query, const char *message)
{
    struct redirect redirect = {.code = (char *)"as it was"};
    struct error err;
    assert_int_equal(read_copy(query, &redirect, &err), STATUS_SERVER_MISBEHAVED);
    assert_string_equal(err.message, message);
    assert_true(err.next[0] != '\0');
    assert_string_equal(redirect.code, "as it was");
}

static enum status check(const char *query, const struct redirect_expected *e, struct error *err)
{
    struct redirect redirect = read_good(query);
    enum status status = redirect_check(&redirect, e, err);
    redirect_free(&redirect);
    return status;
}

static void assert_misbehaved(const char *query, const struct redirect_expected *e, const char *message)
{
    struct error err;
    assert_int_equal(check(query, e, &err), STATUS_SERVER_MISBEHAVED);
    assert_string_equal(err.message, message);
    assert_true(err.next[0] != '\0');
}

static void assert_good(const char *query, const struct redirect_expected *e)
{
    struct error err;
    assert_int_equal(check(query, e, &err), STATUS_OK);
}

static void test_all_six_parameters_are_decoded(void **state)
{
    (void)state;
    struct redirect redirect =
        read_good("error_uri=https%3a%2F%2Fas.example%2Fe&error_description=a+b%20c&error=no&iss=i"
                  "&state=%73%2b&code=c%C3%A9%3D");
    assert_text(redirect.code, "c\xc3\xa9=");
    assert_text(redirect.state, "s+");
    assert_text(redirect.iss, "i");
    assert_text(redirect.error, "no");
    assert_text(redirect.error_description, "a b c");
    assert_text(redirect.error_uri, "https://as.example/e");
    redirect_free(&redirect);
    assert_null(redirect.code);
    assert_null(redirect.error_uri);
    redirect_free(&redirect);
    redirect_free(NULL);
}

static void test_other_parameters_and_odd_separators_are_skipped(void **state)
{
    (void)state;
    assert_code_and_state("session_state=x&code=c&&=&=x&scope=%zz&x&%=&%zz=1&Code=d&code%00=e&state=s&scope=%ff", "c",
                          "s");
    assert_code_and_state("", NULL, NULL);
    assert_code_and_state("&&&", NULL, NULL);
    assert_code_and_state("code=a=b&state==", "a=b", "=");
}

static void test_an_empty_parameter_is_as_good_as_none(void **state)
{
    (void)state;
    assert_code_and_state("code=&state", NULL, NULL);
}

static void test_a_name_is_decoded_before_it_is_compared(void **state)
{
    (void)state;
    assert_code_and_state("%63ode=c&st%61te=s", "c", "s");
}

static void test_a_parameter_that_comes_twice_makes_the_redirect_unreadable(void **state)
{
    (void)state;
    static const char *const names[] = {"code", "state", "iss", "error", "error_description", "error_uri"};
    char query[128], message[128];
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(message, sizeof(message), "the redirect's parameter \"%s\" comes twice (RFC 6749 section 4.1.2)",
                       names[i]);
        (void)snprintf(query, sizeof(query), "x=1&%s=a&y=2&%s=a", names[i], names[i]);
        assert_unreadable(span_text(query), message);
        (void)snprintf(query, sizeof(query), "%s&%%%02x%s=a", names[i], names[i][0], names[i] + 1);
        assert_unreadable(span_text(query), message);
    }
}

static void test_a_value_that_is_not_form_encoded_text_makes_the_redirect_unreadable(void **state)
{
    (void)state;
    static const char encoded[] =
        "the redirect's parameter \"state\" is not form-encoded text (RFC 6749 section 4.1.2)";
    static const char text[] =
        "the redirect's parameter \"state\" is not UTF-8, or has control characters (RFC 6749 section 4.1.2)";
    static const char *const bad_escapes[] = {"state=%",   "state=%4",    "state=%4g",
                                              "state=%g4", "state=a%00b", "state=%%41"};
    static const char *const bad_texts[] = {"state=%ff", "state=%C3", "state=%ED%A0%80",
                                            "state=%0a", "state=%7f", "state=\n"};
    for (size_t i = 0; i < 6; i++) {
        assert_unreadable(span_text(bad_escapes[i]), encoded);
        assert_unreadable(span_text(bad_texts[i]), text);
    }
    assert_unreadable(span_of("state=\0", 7), encoded);
}

static void test_texts_for_people_are_cleaned(void **state)
{
    (void)state;
    struct redirect redirect = read_good("error=no&error_description=AADSTS50105:+x%0d%0ay%FF%C3%A9&error_uri=%1b[2J");
    assert_text(redirect.error_description, "AADSTS50105: x??y?\xc3\xa9");
    assert_text(redirect.error_uri, "?[2J");
    redirect_free(&redirect);
}

static void test_limits_hold_to_the_byte(void **state)
{
    (void)state;
    struct redirect redirect;
    struct error err;
    char *query = malloc(REDIRECT_QUERY_MAX + 1);
    memset(query, 'c', REDIRECT_QUERY_MAX + 1);
    memcpy(query, "code=", 5);
    assert_int_equal(redirect_read(span_of(query, 5 + REDIRECT_CODE_MAX), &redirect, &err), STATUS_OK);
    assert_int_equal(strlen(redirect.code), REDIRECT_CODE_MAX);
    redirect_free(&redirect);
    assert_unreadable(span_of(query, 5 + REDIRECT_CODE_MAX + 1),
                      "the redirect's parameter \"code\" is longer than 8 KiB (RFC 6749 section 4.1.2)");
    memcpy(query, "iss_=", 5);
    assert_int_equal(redirect_read(span_of(query, REDIRECT_QUERY_MAX), &redirect, &err), STATUS_OK);
    redirect_free(&redirect);
    assert_unreadable(span_of(query, REDIRECT_QUERY_MAX + 1), "the redirect's query is longer than 16384 bytes");
    free(query);
}

static void test_any_text_that_our_encoder_writes_is_read_again(void **state)
{
    (void)state;
    char text[128];
    struct buffer query;
    for (int c = 0x20; c < 0x7f; c++)
        text[c - 0x20] = (char)c;
    text[0x5f] = '\0';
    buffer_init(&query, 4096);
    form_put(&query, "code", span_text(text));
    form_put(&query, "state", span_text("\xf0\x9f\x94\x91+% &="));
    buffer_put(&query, "", 1);
    assert_code_and_state((const char *)query.data, text, "\xf0\x9f\x94\x91+% &=");
    buffer_free(&query);
}

static void test_a_code_with_our_state_is_the_answer(void **state)
{
    (void)state;
    assert_good("code=c&state=s-1", &expected);
    assert_good("code=c&state=s-1&iss=https%3A%2F%2Fas.example", &expected);
    assert_good("code=c&state=s-1&iss=https%3A%2F%2Fas.example", &expected_with_iss);
}

static void test_without_our_state_nothing_is_believed(void **state)
{
    (void)state;
    static const char other[] =
        "profile \"work\": the redirect answers another login than this one: its state is not ours "
        "(RFC 6749 section 10.12)";
    static const char none[] = "profile \"work\": the redirect has no state (RFC 6749 section 4.1.2)";
    assert_misbehaved("code=c&state=s-2", &expected, other);
    assert_misbehaved("code=c&state=s-11", &expected, other);
    assert_misbehaved("code=c&state=s-", &expected, other);
    assert_misbehaved("error=access_denied&state=s-2", &expected, other);
    assert_misbehaved("code=c&state=s-2&iss=evil", &expected_with_iss, other);
    assert_misbehaved("code=c", &expected, none);
    assert_misbehaved("code=c&state=", &expected, none);
    assert_misbehaved("error=access_denied", &expected, none);
    assert_misbehaved("", &expected, none);
}

static void test_a_login_without_a_state_believes_nothing(void **state)
{
    (void)state;
    struct error err;
    struct redirect_expected e = expected;
    e.state = NULL;
    assert_int_equal(check("code=c", &e, &err), STATUS_INTERNAL);
    e.state = "";
    assert_int_equal(check("code=c&state=", &e, &err), STATUS_INTERNAL);
}

static void test_an_iss_that_comes_is_the_issuer_required_or_not_error_or_not(void **state)
{
    (void)state;
    static const char other[] =
        "profile \"work\": the redirect is from another issuer, \"https://evil.example\" (RFC 9207 "
        "section 2.4)";
    assert_misbehaved("code=c&state=s-1&iss=https://evil.example", &expected, other);
    assert_misbehaved("code=c&state=s-1&iss=https://evil.example", &expected_with_iss, other);
    assert_misbehaved("error=access_denied&state=s-1&iss=https://evil.example", &expected, other);
    assert_misbehaved(
        "code=c&state=s-1&iss=https://as.example/", &expected,
        "profile \"work\": the redirect is from another issuer, \"https://as.example/\" (RFC 9207 section 2.4)");
}

static void test_an_iss_that_is_required_must_come(void **state)
{
    (void)state;
    static const char none[] =
        "profile \"work\": the redirect has no iss, although this server's must have one (RFC 9207 section 2.4)";
    assert_misbehaved("code=c&state=s-1", &expected_with_iss, none);
    assert_misbehaved("code=c&state=s-1&iss=", &expected_with_iss, none);
    assert_misbehaved("error=access_denied&state=s-1", &expected_with_iss, none);
}

static void test_an_iss_is_not_compared_where_the_profile_knows_no_issuer(void **state)
{
    (void)state;
    struct redirect_expected e = expected;
    e.issuer = NULL;
    assert_good("code=c&state=s-1&iss=https://any.example", &e);
}

static void test_an_error_of_the_server_is_given_with_its_description_and_a_next_step(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(
        check("state=s-1&error=access_denied&error_description=The+user+said+no&error_uri=https://as.example/e"
              "&code=c",
              &expected, &err),
        STATUS_SERVER_REFUSED);
    assert_string_equal(err.message, "profile \"work\": the authorization server refuses: access_denied");
    assert_string_equal(err.oauth_error, "access_denied");
    assert_string_equal(err.oauth_description, "The user said no");
    assert_string_equal(err.oauth_uri, "https://as.example/e");
    assert_string_equal(err.next,
                        "log in again and allow the access; if you did, ask the server's operator for the permission");
    assert_int_equal(check("state=s-1&error=invalid_scope", &expected, &err), STATUS_SERVER_REFUSED);
    assert_string_equal(err.next, "check scope in the profile");
    assert_string_equal(err.oauth_description, "");
    assert_int_equal(check("state=s-1&error=out_of_cheese", &expected, &err), STATUS_SERVER_REFUSED);
    assert_string_equal(err.next, "see what the server says");
}

static void test_an_answer_without_a_code_and_an_error_is_none(void **state)
{
    (void)state;
    static const char none[] =
        "profile \"work\": the redirect has neither a code nor an error (RFC 6749 section 4.1.2)";
    assert_misbehaved("state=s-1", &expected, none);
    assert_misbehaved("state=s-1&code=&error=&error_description=x", &expected, none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_six_parameters_are_decoded),
        cmocka_unit_test(test_other_parameters_and_odd_separators_are_skipped),
        cmocka_unit_test(test_an_empty_parameter_is_as_good_as_none),
        cmocka_unit_test(test_a_name_is_decoded_before_it_is_compared),
        cmocka_unit_test(test_a_parameter_that_comes_twice_makes_the_redirect_unreadable),
        cmocka_unit_test(test_a_value_that_is_not_form_encoded_text_makes_the_redirect_unreadable),
        cmocka_unit_test(test_texts_for_people_are_cleaned),
        cmocka_unit_test(test_limits_hold_to_the_byte),
        cmocka_unit_test(test_any_text_that_our_encoder_writes_is_read_again),
        cmocka_unit_test(test_a_code_with_our_state_is_the_answer),
        cmocka_unit_test(test_without_our_state_nothing_is_believed),
        cmocka_unit_test(test_a_login_without_a_state_believes_nothing),
        cmocka_unit_test(test_an_iss_that_comes_is_the_issuer_required_or_not_error_or_not),
        cmocka_unit_test(test_an_iss_that_is_required_must_come),
        cmocka_unit_test(test_an_iss_is_not_compared_where_the_profile_knows_no_issuer),
        cmocka_unit_test(test_an_error_of_the_server_is_given_with_its_description_and_a_next_step),
        cmocka_unit_test(test_an_answer_without_a_code_and_an_error_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
