/* id_tokens: each rule of OpenID Connect Core 3.1.3.7 and 12.2 that is ours, and what is shown of a wrong one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "id_token.h"
#include "text.h"

#define NOW 1795262400

static struct span audiences[2];
static struct id_token_claims claims;
static struct id_token_expected expected;

/* A good token for a login with a nonce. */
static int good(void **state)
{
    (void)state;
    audiences[0] = span_text("app");
    audiences[1] = span_text("https://api.example");
    claims = (struct id_token_claims){.iss = span_text("https://as.example/"),
                                      .sub = span_text("alice"),
                                      .nonce = span_text("n-1"),
                                      .aud = {.items = audiences, .count = 1},
                                      .exp = NOW + 3600,
                                      .iat = NOW,
                                      .has_exp = true,
                                      .has_iat = true};
    expected = (struct id_token_expected){.issuer = span_text("https://as.example/"),
                                          .client_id = span_text("app"),
                                          .nonce = span_text("n-1"),
                                          .now = NOW,
                                          .where = "work"};
    return 0;
}

static void assert_good(void)
{
    struct error err;
    assert_int_equal(id_token_check(&claims, &expected, &err), STATUS_OK);
}

static void assert_bad(const char *message)
{
    struct error err;
    assert_int_equal(id_token_check(&claims, &expected, &err), STATUS_SERVER_MISBEHAVED);
    assert_int_equal(err.status, STATUS_SERVER_MISBEHAVED);
    assert_string_equal(err.message, message);
    assert_true(err.next[0] != '\0');
}

static void test_a_good_id_token_is_good(void **state)
{
    (void)state;
    assert_good();
}

static void test_the_issuer_is_the_profiles_to_the_letter(void **state)
{
    (void)state;
    claims.iss = span_text("https://as.example");
    assert_bad("profile \"work\": the id_token is from another issuer than the profile's: \"https://as.example\" "
               "(OpenID Connect Core 3.1.3.7 rule 2)");
    claims.iss = span_text(NULL);
    assert_bad("profile \"work\": the id_token has no iss (OpenID Connect Core 3.1.3.7 rule 2)");
    claims.iss = span_text("");
    assert_bad("profile \"work\": the id_token has no iss (OpenID Connect Core 3.1.3.7 rule 2)");
}

static void test_without_a_known_issuer_any_will_do_but_there_must_be_one(void **state)
{
    (void)state;
    expected.issuer = span_text(NULL);
    claims.iss = span_text("https://any.example");
    assert_good();
    claims.iss = span_text(NULL);
    assert_bad("profile \"work\": the id_token has no iss (OpenID Connect Core 3.1.3.7 rule 2)");
}

static void test_the_client_is_among_the_audiences(void **state)
{
    (void)state;
    audiences[0] = span_text("app2");
    assert_bad("profile \"work\": the id_token is for another client: client-id is not in aud (OpenID Connect Core "
               "3.1.3.7 rule 3)");
    claims.aud.count = 0;
    assert_bad("profile \"work\": the id_token is for another client: client-id is not in aud (OpenID Connect Core "
               "3.1.3.7 rule 3)");
}

static void test_other_audiences_need_an_azp_that_is_the_client(void **state)
{
    (void)state;
    claims.aud.count = 2;
    assert_bad(
        "profile \"work\": the id_token has other audiences besides this client, and no azp (OpenID Connect Core "
        "3.1.3.7 rule 4)");
    claims.azp = span_text("app");
    assert_good();
    claims.azp = span_text("evil");
    assert_bad("profile \"work\": the id_token was issued to another client, by its azp: \"evil\" (OpenID Connect Core "
               "3.1.3.7 rule 5)");
}

static void test_an_azp_that_is_there_is_the_client_even_with_one_audience(void **state)
{
    (void)state;
    claims.azp = span_text("app");
    assert_good();
    claims.azp = span_text("");
    assert_bad("profile \"work\": the id_token was issued to another client, by its azp: \"\" (OpenID Connect Core "
               "3.1.3.7 rule 5)");
}

static void test_five_minutes_after_exp_it_has_expired(void **state)
{
    (void)state;
    claims.exp = NOW - ID_TOKEN_CLOCK_SKEW + 1;
    assert_good();
    claims.exp = NOW - ID_TOKEN_CLOCK_SKEW;
    assert_bad("profile \"work\": the id_token had expired when it came (OpenID Connect Core 3.1.3.7 rule 9)");
    claims.exp = INT64_MIN;
    assert_bad("profile \"work\": the id_token had expired when it came (OpenID Connect Core 3.1.3.7 rule 9)");
    claims.exp = INT64_MAX;
    assert_good();
}

static void test_exp_and_iat_must_be_there(void **state)
{
    (void)state;
    claims.has_exp = false;
    assert_bad("profile \"work\": the id_token has no exp (OpenID Connect Core 3.1.3.7 rule 9)");
    claims.has_exp = true;
    claims.has_iat = false;
    assert_bad("profile \"work\": the id_token has no iat (OpenID Connect Core 3.1.3.7 rule 10)");
}

static void test_a_nonce_that_was_sent_comes_back(void **state)
{
    (void)state;
    claims.nonce = span_text(NULL);
    assert_bad(
        "profile \"work\": the id_token has no nonce, although one was sent (OpenID Connect Core 3.1.3.7 rule 11)");
    claims.nonce = span_text("n-2");
    assert_bad("profile \"work\": the id_token answers another login: its nonce is not the one that was sent (OpenID "
               "Connect Core 3.1.3.7 rule 11)");
    claims.nonce = span_text("");
    assert_bad("profile \"work\": the id_token answers another login: its nonce is not the one that was sent (OpenID "
               "Connect Core 3.1.3.7 rule 11)");
}

static void test_where_no_nonce_was_sent_any_or_none_will_do(void **state)
{
    (void)state;
    expected.nonce = span_text(NULL);
    assert_good();
    claims.nonce = span_text(NULL);
    assert_good();
}

static void test_the_subject_is_there_and_after_a_refresh_the_same(void **state)
{
    (void)state;
    expected.subject = span_text("alice");
    assert_good();
    claims.sub = span_text("bob");
    assert_bad(
        "profile \"work\": the id_token is about another user than before the refresh (OpenID Connect Core 12.2)");
    expected.subject = span_text(NULL);
    assert_good();
    claims.sub = span_text(NULL);
    assert_bad("profile \"work\": the id_token has no sub (OpenID Connect Core 2)");
    claims.sub = span_text("");
    assert_bad("profile \"work\": the id_token has no sub (OpenID Connect Core 2)");
}

static void test_of_a_long_claim_an_error_shows_100_bytes_of_plain_text(void **state)
{
    (void)state;
    static char issuer[10000];
    struct error err;
    memset(issuer, '\n', sizeof(issuer));
    claims.iss = span_of(issuer, sizeof(issuer));
    assert_int_equal(id_token_check(&claims, &expected, &err), STATUS_SERVER_MISBEHAVED);
    assert_true(text_valid(span_text(err.message)));
    assert_true(strlen(err.message) < 300);
    assert_non_null(strstr(err.message, "rule 2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_good_id_token_is_good, good),
        cmocka_unit_test_setup(test_the_issuer_is_the_profiles_to_the_letter, good),
        cmocka_unit_test_setup(test_without_a_known_issuer_any_will_do_but_there_must_be_one, good),
        cmocka_unit_test_setup(test_the_client_is_among_the_audiences, good),
        cmocka_unit_test_setup(test_other_audiences_need_an_azp_that_is_the_client, good),
        cmocka_unit_test_setup(test_an_azp_that_is_there_is_the_client_even_with_one_audience, good),
        cmocka_unit_test_setup(test_five_minutes_after_exp_it_has_expired, good),
        cmocka_unit_test_setup(test_exp_and_iat_must_be_there, good),
        cmocka_unit_test_setup(test_a_nonce_that_was_sent_comes_back, good),
        cmocka_unit_test_setup(test_where_no_nonce_was_sent_any_or_none_will_do, good),
        cmocka_unit_test_setup(test_the_subject_is_there_and_after_a_refresh_the_same, good),
        cmocka_unit_test_setup(test_of_a_long_claim_an_error_shows_100_bytes_of_plain_text, good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
