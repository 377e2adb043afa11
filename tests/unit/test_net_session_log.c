/* The session log of one exchange: what people see, and that no secret is in it, wherever it comes from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64url.h"
#include "session_log.h"

static struct buffer text;

struct exchange {
    const char *url, *form, *json, *lines[6], *header, *body, *client_secret, *failure;
    bool not_sent;
};

static void write_log(struct exchange e)
{
    struct span lines[6];
    struct session_request request = {
        .method = e.form != NULL || e.json != NULL ? "POST" : "GET",
        .url = e.url != NULL ? e.url : "https://as.example/token",
        .host = span_text("as.example"),
        .lines = lines,
        .body_kind = e.form != NULL ? SESSION_FORM : e.json != NULL ? SESSION_JSON : SESSION_NO_BODY,
        .body = span_text(e.form != NULL ? e.form : e.json),
        .client_secret = span_text(e.client_secret),
    };
    struct session_connection connection = {.remote = "192.0.2.1", .port = 443, .tls = "TLSv1.3, X", .peer = "CN=as.example",
                                            .total = 34};
    struct session_answer answer = {.header = span_text(e.header), .sent = !e.not_sent};
    struct json_answer json;
    struct error err;

    while (request.line_count < 6 && e.lines[request.line_count] != NULL) {
        lines[request.line_count] = span_text(e.lines[request.line_count]);
        request.line_count++;
    }
    if (e.failure != NULL)
        (void)error_set(&err, STATUS_SERVER_UNREACHABLE, NULL, "%s", e.failure);
    answer.failure = e.failure != NULL ? &err : NULL;
    if (e.body != NULL) {
        json_answer_read(span_text(e.body), span_text("application/json"), &json);
        answer.json = &json;
    }
    buffer_clear(&text);
    session_log_put(&request, &connection, &answer, &text);
    assert_false(text.failed);
    assert_true(text.len <= LIMIT_TRACE);
    if (e.body != NULL)
        json_answer_free(&json);
    buffer_put(&text, "", 1);
}

static const char *shown(void)
{
    return (const char *)buffer_span(&text).data;
}

static void assert_shows(const char *wanted)
{
    if (strstr(shown(), wanted) == NULL)
        fail_msg("missing: %s\nin:\n%s", wanted, shown());
}

static void assert_hides(const char *secret)
{
    if (strstr(shown(), secret) != NULL)
        fail_msg("shown: %s\nin:\n%s", secret, shown());
}

static void test_an_exchange_is_shown_line_by_line(void **state)
{
    (void)state;
    write_log((struct exchange){
        .form = "grant_type=client_credentials&scope=a+b&resource=https%3A%2F%2Fapi.example%2F%3Fq%3D1",
        .lines = {"Accept: application/json", "Expect:"},
        .header = "HTTP/1.1 200 OK\r\nDate: now\r\nX-Other: value\r\n folded\r\nDPoP-Nonce: n1\r\n\r\n",
        .body = "{\"token_type\":\"DPoP\",\"expires_in\":300,\"active\":true,\"x\":null,\"aud\":[\"a\",\"b\"]}"});
    assert_string_equal(shown(), "POST https://as.example/token\n"
                                 "connected to 192.0.2.1 port 443; TLSv1.3, X, certificate of CN=as.example\n"
                                 "> Host: as.example\n"
                                 "> Accept: application/json\n"
                                 "> Content-Length: 85\n"
                                 "> grant_type=client_credentials\n"
                                 "> scope=a b\n"
                                 "> resource=https://api.example/?(masked, 3 bytes)\n"
                                 "< HTTP/1.1 200 OK\n"
                                 "< Date: now\n"
                                 "< X-Other: (masked, 5 bytes)\n"
                                 "< : (masked, 6 bytes)\n"
                                 "< DPoP-Nonce: n1\n"
                                 "< token_type: DPoP\n"
                                 "< expires_in: 300\n"
                                 "< active: true\n"
                                 "< x: (masked)\n"
                                 "< aud: a b \n"
                                 "answered in 34 ms (name 0, connection 0, TLS 0, first byte 0)\n");
}

static void test_a_failure_says_whether_anything_was_sent(void **state)
{
    (void)state;
    write_log((struct exchange){.failure = "no way", .not_sent = true});
    assert_shows("\nfailed, before anything was sent: no way\nended in 34 ms");
    write_log((struct exchange){.failure = "secret CANARY-CODE", .form = "code=CANARY-CODE"});
    assert_shows("\nfailed, after it was sent in whole or in part: secret (masked)\n");
}

static const char *jwt_of(const char *header, const char *claims)
{
    static char out[4096];
    struct buffer b;
    buffer_init(&b, sizeof(out));
    base64url_put(&b, span_text(header));
    buffer_put_text(&b, ".");
    base64url_put(&b, span_text(claims));
    buffer_put_text(&b, ".CANARY-SIGNATURE");
    assert_int_equal(span_copy(buffer_span(&b), out, sizeof(out)), 0);
    buffer_free(&b);
    return out;
}

static void test_our_jwts_are_shown_as_claims_without_the_signature(void **state)
{
    (void)state;
    char line[5000];
    const char *proof = jwt_of("{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\",\"x\":\"1\",\"d\":\"CANARY-D\"}}",
                               "{\"jti\":\"j\",\"htm\":\"POST\",\"nonce\":\"n\",\"ath\":\"a\",\"iat\":5,\"other\":\"CANARY\"}");
    (void)snprintf(line, sizeof(line), "DPoP: %s", proof);
    write_log((struct exchange){.lines = {line}});
    assert_shows("\n> DPoP: a JWT, signature masked\n>   header: {\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\","
                 "\"x\":\"1\",\"d\":\"(masked)\"}}\n>   claims: {\"jti\":\"j\",\"htm\":\"POST\",\"nonce\":\"n\",\"ath\":\"a\","
                 "\"iat\":5,\"other\":\"(masked)\"}\n");
    assert_hides("CANARY");
    (void)snprintf(line, sizeof(line), "client_assertion=%s", jwt_of("{\"alg\":\"ES256\"}", "{\"iss\":\"app\",\"exp\":9}"));
    write_log((struct exchange){.form = line});
    assert_shows("\n> client_assertion=a JWT, signature masked\n>   header: {\"alg\":\"ES256\"}\n>   claims: {\"iss\":\"app\"");
    assert_hides("CANARY");
    (void)snprintf(line, sizeof(line), "assertion=%s", jwt_of("{\"typ\":\"authorization-grant+jwt\"}", "{\"sub\":\"me\"}"));
    write_log((struct exchange){.form = line});
    assert_shows("{\"sub\":\"me\"}");
}

static void test_jwts_of_others_are_shown_as_lengths(void **state)
{
    (void)state;
    static const char *const places[] = {"assertion", "subject_token", "actor_token", "refresh_token", "id_token_hint"};
    char line[5000];
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const char *jwt = jwt_of("{\"alg\":\"RS256\"}", "{\"sub\":\"CANARY-SUB\"}");
        (void)snprintf(line, sizeof(line), "%s=%s", places[i], jwt);
        write_log((struct exchange){.form = line});
        assert_hides("CANARY");
        assert_hides("RS256");
        assert_hides("eyJ");
    }
    (void)snprintf(line, sizeof(line), "{\"access_token\":\"%s\",\"id_token\":\"x.CANARY.z\"}", jwt_of("{}", "{\"sub\":\"CANARY\"}"));
    write_log((struct exchange){.body = line});
    assert_hides("CANARY");
    assert_hides("e30");
}

static void test_every_field_that_is_not_listed_is_masked(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "access_token", "refresh_token", "id_token", "device_code", "user_code", "request_uri", "verification_uri_complete",
        "registration_access_token", "client_secret", "code", "code_verifier", "state", "nonce", "assertion", "password",
        "username", "subject_token", "actor_token", "token", "login_hint", "anything", "Scope", "SCOPE", "scope ", "",
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        char form[256], json[512], header[256], line[256];
        (void)snprintf(form, sizeof(form), "%s=CANARY-ONE", fields[i]);
        (void)snprintf(json, sizeof(json), "{\"%s\":\"CANARY-TWO\",\"%sx\":[\"CANARY-3\"],\"%sy\":{\"a\":\"CANARY-4\"},"
                       "\"%sz\":77777.5,\"%sw\":77777}", fields[i], fields[i], fields[i], fields[i], fields[i]);
        (void)snprintf(header, sizeof(header), "HTTP/1.1 200\nX%s: CANARY-FIVE\nCANARY-NO-COLON\nSet-Cookie: a=CANARY\n", fields[i]);
        (void)snprintf(line, sizeof(line), "X-%s: CANARY-SIX", fields[i]);
        write_log((struct exchange){.form = form, .body = json, .header = header, .lines = {line}});
        assert_hides("CANARY");
        assert_hides("77777");
        write_log((struct exchange){.json = json});
        assert_hides("CANARY");
        assert_hides("77777");
    }
}

static void test_a_secret_that_the_server_repeats_is_masked_in_every_spelling(void **state)
{
    (void)state;
    write_log((struct exchange){
        .form = "code=CANARY%26%22%2F+code&refresh_token=CANARY-LONG&other=CANARY-LONGER",
        .client_secret = "CANARY-CLIENT",
        .lines = {"Authorization: Basic Q0FOQVJZ"},
        .url = "https://as.example/x?code=CANARY-IN-URL",
        .header = "HTTP/1.1 400 CANARY-LONG\r\nDate: CANARY-CLIENT\r\n\r\n",
        .body = "{\"error_description\":\"got CANARY&\\\"/ code, CANARY%26%22%2F+code, CANARY&\\\\\\\"/ code and CANARY-LONGER.\","
                "\"error\":\"Q0FOQVJZ\",\"scope\":\"CANARY-IN-URL\",\"CANARY-CLIENT\":1,\"CANARY-CLIENT_endpoint\":\"x\"}"});
    assert_hides("CANARY");
    assert_hides("Q0FOQVJZ");
    assert_shows("got (masked), (masked), (masked) and (masked).\n");
}

static void test_challenges_show_the_listed_parameters_only(void **state)
{
    (void)state;
    write_log((struct exchange){
        .header = "HTTP/1.1 401\r\nWWW-Authenticate: DPoP algs=\"ES256 \\\"q\", error=use_dpop_nonce, x=\"CANARY\", CANARYZ=CANARY\r\n"
                  "WWW-Authenticate: Bearer realm = \"r\", error_description=\"why\"\r\n"
                  "WWW-Authenticate: CANARYA CANARYB==, CANARYC=, \"CANARYD\r\n"
                  "WWW-Authenticate: Basic CANARYE=,CANARYF=\r\n"});
    assert_shows("DPoP algs=\"ES256 \\\"q\", error=use_dpop_nonce, ");
    assert_shows("error_description=\"why\"");
    assert_hides("CANARY");
}

static void test_urls_lose_their_userinfo_query_and_fragment(void **state)
{
    (void)state;
    write_log((struct exchange){.body = "{\"verification_uri\":\"https://a.example/d?CANARY\",\"error_uri\":\"HTTPS://u:CANARY@a.example/\","
                                        "\"iss\":\"http://a.example/#CANARY\",\"issuer\":\"https://a.example\"}"});
    assert_shows("< verification_uri: https://a.example/d?(masked, 6 bytes)\n");
    assert_shows("< issuer: https://a.example\n");
    assert_hides("CANARY");
}

static void test_control_characters_and_bad_utf_8_make_no_lines(void **state)
{
    (void)state;
    write_log((struct exchange){.form = "scope=a%0A%3E+b%00c%1B%5B1m%FF", .header = "HTTP/1.1 200 a\x1b[2Jb\r\nDate: x\rY: z\r\n",
                                .body = "{\"scope\":\"a\\nfailed\",\"a\\nb\":1}"});
    assert_shows("\n> scope=a?> b?c?[1m?\n");
    assert_shows("\n< scope: a?failed\n");
    assert_shows("\n< a?b: (masked)\n");
    for (const char *c = shown(); *c != '\0'; c++)
        assert_true(*c == '\n' || (unsigned char)*c >= ' ');
}

static void test_a_long_exchange_is_cut_and_still_says_how_it_ended(void **state)
{
    (void)state;
    size_t size = 300000;
    char *form = malloc(size), *end = form;
    assert_non_null(form);
    while ((size_t)(end - form) < size - 100)
        end += sprintf(end, "scope=%05d-0123456789012345678901234567890123456789&", (int)(end - form));
    write_log((struct exchange){.form = form, .failure = "the end"});
    assert_true(text.len > 50000);
    assert_shows("\n(the rest is too long)\nfailed, after it was sent in whole or in part: the end\n");
    memset(form, 'x', size - 1);
    form[size - 1] = '\0';
    memcpy(form, "scope=", 6);
    write_log((struct exchange){.form = form});
    assert_shows("\n> scope=(masked, 299993 bytes)\n");
    free(form);
}

static void test_with_more_secrets_than_can_be_kept_nothing_is_shown(void **state)
{
    (void)state;
    char *form = malloc(200000), *end = form;
    assert_non_null(form);
    for (int i = 0; i < 3000; i++)
        end += sprintf(end, "a%d=CANARY-%08d-%c&", i, i, 'x');
    (void)sprintf(end, "scope=visible-words");
    write_log((struct exchange){.form = form, .body = "{\"error_description\":\"CANARY-00002999-x\"}"});
    assert_hides("CANARY");
    assert_hides("visible");
    free(form);
}

static int set_up(void **state)
{
    (void)state;
    buffer_init(&text, LIMIT_TRACE + 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_free(&text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_exchange_is_shown_line_by_line),
        cmocka_unit_test(test_a_failure_says_whether_anything_was_sent),
        cmocka_unit_test(test_our_jwts_are_shown_as_claims_without_the_signature),
        cmocka_unit_test(test_jwts_of_others_are_shown_as_lengths),
        cmocka_unit_test(test_every_field_that_is_not_listed_is_masked),
        cmocka_unit_test(test_a_secret_that_the_server_repeats_is_masked_in_every_spelling),
        cmocka_unit_test(test_challenges_show_the_listed_parameters_only),
        cmocka_unit_test(test_urls_lose_their_userinfo_query_and_fragment),
        cmocka_unit_test(test_control_characters_and_bad_utf_8_make_no_lines),
        cmocka_unit_test(test_a_long_exchange_is_cut_and_still_says_how_it_ended),
        cmocka_unit_test(test_with_more_secrets_than_can_be_kept_nothing_is_shown),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
