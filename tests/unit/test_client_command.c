/* The dpop command as people and scripts see it: output, exit statuses, where options may stand, and what it never
 * shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "client_command.h"
#include "fake_http.h"

#define CLOSE "Connection: close\r\n"
#define OK_ANSWER "HTTP/1.1 200 OK\r\n" CLOSE "Content-Length: 5\r\nX-Final: yes\r\n\r\nhello"
#define NONCE_ANSWER                                                                                            \
    "HTTP/1.1 401 Unauthorized\r\n" CLOSE "DPoP-Nonce: n1\r\nWWW-Authenticate: DPoP error=\"use_dpop_nonce\"\r\n" \
    "Content-Length: 7\r\n\r\nrefused"

static void every_verb_prints_its_result(void **state)
{
    (void)state;
    assert_int_equal(RUN("status"), 0);
    assert_non_null(strstr(out, "agent          fake 1, pid 42, up 1 d 1 h 1 min 1 s\n"));
    assert_non_null(strstr(out, "configuration  none: dpop init makes one\n"));
    assert_non_null(strstr(out, "key            spare: locked\n"));
    assert_non_null(strstr(out, "next: correct the PIN\n"));
    assert_non_null(strstr(out, "profile        work: token, 60 s left (key work)\n"
                                "                 login: logged in as alice, kept on disk\n"));
    assert_non_null(strstr(out, "dpop: optional: Bearer access tokens are accepted\n"));
    assert_non_null(strstr(out,
                           "                 login: login required\n                 reason: nobody has logged in\n"
                                "                 next: dpop login twin1\n"));
    assert_int_equal(RUN("key", "list"), 0);
    assert_non_null(strstr(out, "spare            locked "));
    assert_int_equal(RUN("key", "show", "work"), 0);
    assert_non_null(strstr(out, "\nURI         pkcs11:object=work\n"));
    assert_non_null(strstr(out, "\nattributes  sensitive, local\n"));
    assert_int_equal(RUN("profile", "list"), 0);
    assert_non_null(strstr(out, "https://as.example\n"));
    assert_non_null(strstr(out, "work             work         token     logged in       required "));
    assert_int_equal(RUN("proof", "--key", "work", "--nonce", "n", "GET", URL), 0);
    assert_string_equal(out, "n\n");
    assert_int_equal(RUN("token", "work"), 0);
    assert_string_equal(out, "the-token\n");
    assert_int_equal(RUN("headers", "work", "GET", URL), 0);
    assert_string_equal(
        out, "Authorization: DPoP first-token\nDPoP: eyJ0eXAiOiJkcG9wK2p3dCJ9.eyJqdGkiOiJ4In0.c2lnbmF0dXJl\n");
    assert_int_equal(RUN("headers", "bearer", "GET", URL), 0);
    assert_string_equal(out, "Authorization: Bearer plain-token\n");
    assert_int_equal(RUN("init"), 0);
    assert_non_null(strstr(out, "configuration  /c\n"));
    assert_string_equal(err, "");
}

static void json_is_one_valid_value_for_every_verb(void **state)
{
    static const char *const lines[][5] = {
        {"--json", "status"},
        {"key", "--json", "list"},
        {"profile", "list", "--json"},
        {"token", "work", "--json"},
        {"init", "--json"},
        {"--json", "proof", "GET", URL},
        {"headers", "--json", "work", "GET", URL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const char *words[6] = {lines[i][0], lines[i][1], lines[i][2], lines[i][3], lines[i][4], NULL};
        assert_int_equal(run(words), 0);
        json_decref(parse());
    }
    assert_int_equal(RUN("--json", "key", "show", "work"), 0);
    json_t *key = parse();
    json_t *jwk = json_object_get(key, "jwk");
    assert_string_equal(member(key, "token"), "tok \"en\"");
    assert_string_equal(member(jwk, "kid"), member(key, "thumbprint"));
    assert_string_equal(member(jwk, "alg"), "ES256");
    assert_string_equal(member(jwk, "use"), "sig");
    assert_string_equal(member(jwk, "x"), "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    json_decref(key);
    assert_int_equal(RUN("--json", "key", "show", "spare"), 0);
    key = parse();
    assert_true(json_is_null(json_object_get(key, "jwk")));
    json_decref(key);
}

static void errors_are_json_too_wherever_the_option_stands(void **state)
{
    static const char *const lines[][4] = {
        {"--json", "key", "show", "nope"}, {"token", "--json"}, {"token", "--bogus", "--json"}, {"nonsense", "--json"},
        {"token", "--min-valid", "x", "--json"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const char *words[5] = {lines[i][0], lines[i][1], lines[i][2], lines[i][3], NULL};
        assert_int_equal(run(words), 2);
        json_t *value = parse();
        assert_true(strlen(member(json_object_get(value, "error"), "message")) > 0);
        json_decref(value);
        assert_string_equal(err, "");
    }
}

static void mistakes_in_the_line_have_exit_status_2(void **state)
{
    (void)state;
    assert_int_equal(RUN("nonsense"), 2);
    assert_int_equal(RUN("key"), 2);
    assert_non_null(strstr(err, "there are: key list, key show, key generate, key import, key rotate, key delete, "
                                "key csr, key cert\n"));
    assert_int_equal(RUN("key", "frobnicate"), 2);
    assert_int_equal(RUN("key", "csr"), 2);
    assert_int_equal(RUN("key", "cert", "--days", "0", "--subject", "CN=a"), 2);
    assert_int_equal(RUN("register", "--issuer", "https://as.example"), 2);
    assert_int_equal(RUN("register", "--name", "a"), 2);
    assert_int_equal(RUN("register", "--name", "a", "--issuer", "https://a", "--resource", "https://b"), 2);
    assert_int_equal(RUN("token", "--subject-token-file", "-", "--actor-token-file", "-", "work"), 2);
    assert_int_equal(RUN("--socket", "", "status"), 2);
    assert_non_null(strstr(err, "the socket's path is empty"));
    assert_int_equal(RUN("token"), 2);
    assert_int_equal(RUN("token", "a", "b"), 2);
    assert_int_equal(RUN("token", "--force=yes", "a"), 2);
    assert_int_equal(RUN("--timeout", "0", "status"), 2);
    assert_int_equal(RUN("--timeout", "-1", "status"), 2);
    assert_int_equal(RUN("proof", "--key", "a", "--profile", "b", "GET", URL), 2);
    assert_int_equal(RUN("proof", "--ath", "a", "--token-file", "b", "GET", URL), 2);
    assert_int_equal(RUN("proof", "--token-file", "/nowhere", "GET", URL), 2);
    assert_int_equal(RUN("request", "-H", "DPoP: x", "work", URL), 2);
    assert_int_equal(RUN("request", "-H", "authorization: x", "work", URL), 2);
    assert_int_equal(RUN("request", "-H", "X: a\r\nDPoP: b", "work", URL), 2);
    assert_int_equal(RUN("request", "-d", "@/nowhere", "work", URL), 2);
    assert_non_null(strstr(err, "\n  next: name a file that exists"));
    assert_string_equal(out, "");
    assert_non_null(strstr(err, "dpop: "));
}

static void serve_status(struct fake_agent *agent, int fd, int number)
{
    struct buffer b;
    struct frame frame;
    (void)number;
    if (fake_hello(fd, &b) && fake_read(fd, &b, &frame)) {
        fake_error(fd, frame.request, *(const enum status *)agent->context, "it failed");
        fake_hang(fd);
    }
    buffer_free(&b);
}

static void every_class_of_failure_has_its_exit_status(void **state)
{
    static const struct {
        enum status status;
        int exit_status;
    } cases[] = {{STATUS_INTERNAL, 1},     {STATUS_UNKNOWN_PROFILE, 2}, {STATUS_ORIGIN_REFUSED, 3},
                 {STATUS_KEY_ABSENT, 4},   {STATUS_LOGIN_REQUIRED, 5},  {STATUS_SERVER_MISBEHAVED, 6}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum status status = cases[i].status;
        fake_start(&fake, serve_status, &status);
        assert_int_equal(RUN("token", "work"), cases[i].exit_status);
        assert_string_equal(err, "dpop: it failed\n  next: do something\n");
        fake_stop(&fake);
    }
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(run_with(in, "/nowhere/socket", (const char *const[]){"status", NULL}), 4);
    (void)close(in);
}

static void help_is_there_for_the_command_and_for_every_verb(void **state)
{
    static const char *const verbs[][2] = {
        {"init", NULL},       {"status", NULL},     {"login", NULL},      {"logout", NULL},
        {"register", NULL},   {"reload", NULL},     {"unlock", NULL},     {"lock", NULL},
        {"key", "list"},      {"key", "show"},      {"key", "generate"},  {"key", "import"},
        {"key", "rotate"},    {"key", "delete"},    {"key", "csr"},       {"key", "cert"},
        {"profile", "list"},  {"profile", "test"},  {"proof", NULL},      {"token", NULL},
        {"introspect", NULL}, {"headers", NULL},    {"request", NULL},    {"trace", NULL}};
    (void)state;
    assert_int_equal(RUN("--help"), 0);
    assert_non_null(strstr(out, "profile list"));
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        assert_int_equal(verbs[i][1] != NULL ? RUN(verbs[i][0], verbs[i][1], "--help") : RUN(verbs[i][0], "--help"), 0);
        assert_memory_equal(out, "usage: dpop ", 12);
        assert_non_null(strstr(out, verbs[i][0]));
    }
    assert_int_equal(RUN("--version"), 0);
    assert_string_equal(out, "dpop " DPOP_VERSION "\n");
}

static void an_access_token_is_read_from_a_file_without_its_line_break(void **state)
{
    int in = scratch();
    (void)state;
    assert_int_equal(write(in, "tok\r\n\n", 6), 6);
    (void)lseek(in, 0, SEEK_SET);
    assert_int_equal(run_with(in, fake.path, (const char *const[]){"proof", "--token-file", "-", "GET", URL, NULL}), 0);
    assert_string_equal(out, "a.b.c\n");
    assert_int_equal(ftruncate(in, 70000), 0);
    (void)lseek(in, 0, SEEK_SET);
    assert_int_equal(run_with(in, fake.path, (const char *const[]){"proof", "--token-file", "-", "GET", URL, NULL}), 2);
    assert_non_null(strstr(err, "more than 65536 bytes"));
    (void)close(in);
}

/* --- dpop request --- */

static void a_request_prints_the_final_answer_and_masks_its_secrets(void **state)
{
    const char *answers[] = {NONCE_ANSWER, OK_ANSWER, NULL};
    struct fake_http http;
    (void)state;
    fake_http_start(&http, answers);
    assert_int_equal(RUN("request", "-v", "-i", "work", http.origin), 0);
    assert_non_null(strstr(out, "HTTP/1.1 200 OK\r\n"));
    assert_null(strstr(out, "401"));
    assert_string_equal(out + strlen(out) - 5, "hello");
    assert_non_null(strstr(err, "> Authorization: DPoP <masked>\n"));
    assert_non_null(strstr(err, "> DPoP: {\"typ\":\"dpop+jwt\"} {\"jti\":\"x\"} <signature masked>\n"));
    assert_non_null(strstr(err, "< DPoP-Nonce: n1\n"));
    assert_null(strstr(err, "first-token"));
    assert_null(strstr(err, "second-token"));
    assert_null(strstr(err, "c2lnbmF0dXJl"));
    fake_http_stop(&http);
}

static void a_body_is_sent_as_it_is_and_again_when_it_can_be_rewound(void **state)
{
    const char *answers[] = {NONCE_ANSWER, OK_ANSWER, NULL};
    struct fake_http http;
    int in = scratch();
    (void)state;
    assert_int_equal(write(in, "skipped body\n", 13), 13);
    (void)lseek(in, 8, SEEK_SET);
    fake_http_start(&http, answers);
    assert_int_equal(run_with(in, fake.path, (const char *const[]){"request", "-d", "@-", "work", http.origin, NULL}),
                     0);
    assert_int_equal(http.count, 2);
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(http.requests[i], "POST ", 5);
        assert_non_null(strstr(http.requests[i], "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
        assert_non_null(strstr(http.requests[i], "\r\n\r\nbody\n"));
    }
    (void)close(in);
    fake_http_stop(&http);
}

static void a_pipe_is_streamed_and_never_sent_twice(void **state)
{
    const char *answers[] = {NONCE_ANSWER, OK_ANSWER, NULL};
    struct fake_http http;
    (void)state;
    fake_http_start(&http, answers);
    for (int i = 0; i < 2; i++) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(write(ends[1], "streamed", 8), 8);
        (void)close(ends[1]);
        int status =
            run_with(ends[0], fake.path, (const char *const[]){"request", "-d", "@-", "work", http.origin, NULL});
        (void)close(ends[0]);
        assert_int_equal(status, i == 0 ? 4 : 0);
        assert_string_equal(out, i == 0 ? "refused" : "hello");
        assert_int_equal(http.count, i + 1);
        if (i == 0)
            assert_non_null(strstr(err, "next: run it again"));
    }
    assert_non_null(strstr(http.requests[0], "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(http.requests[0], "streamed"));
    fake_http_stop(&http);
}

static void a_status_of_400_or_more_is_exit_status_22_with_its_body(void **state)
{
    const char *missing[] = {"HTTP/1.1 404 Not Found\r\n" CLOSE "Content-Length: 4\r\n\r\ngone", NULL};
    const char *refused[] = {"HTTP/1.1 401 No\r\n" CLOSE "Content-Length: 2\r\n\r\nno", NULL};
    const char *login[] = {
        "HTTP/1.1 401 No\r\n" CLOSE "WWW-Authenticate: DPoP error=\"login\"\r\nContent-Length: 2\r\n\r\nno", NULL};
    struct fake_http http;
    (void)state;
    fake_http_start(&http, missing);
    assert_int_equal(RUN("request", "work", http.origin), 22);
    assert_string_equal(out, "gone");
    fake_http_stop(&http);
    fake_http_start(&http, refused);
    assert_int_equal(RUN("request", "work", http.origin), 22);
    assert_string_equal(out, "no");
    assert_non_null(strstr(err, "because"));
    fake_http_stop(&http);
    fake_http_start(&http, login);
    assert_int_equal(RUN("request", "work", http.origin), 5);
    fake_http_stop(&http);
    assert_int_equal(RUN("request", "work", "http://127.0.0.1:1/"), 4);
}

static void an_output_file_is_left_alone_until_the_answer_comes(void **state)
{
    const char *answers[] = {OK_ANSWER, NULL};
    struct fake_http http;
    char path[] = "/tmp/dpop-test-XXXXXX", text[16];
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "before", 6), 6);
    assert_int_equal(RUN("request", "-o", path, "work", "http://127.0.0.1:1/"), 4);
    assert_int_equal(pread(fd, text, sizeof(text), 0), 6);
    fake_http_start(&http, answers);
    assert_int_equal(RUN("request", "-o", "/nowhere/file", "work", http.origin), 1);
    assert_non_null(strstr(err, "/nowhere/file cannot be written"));
    assert_non_null(strstr(err, "\n  next: check that the folder exists"));
    assert_int_equal(RUN("request", "-o", path, "work", http.origin), 0);
    assert_string_equal(out, "");
    assert_int_equal(pread(fd, text, sizeof(text), 0), 5);
    assert_memory_equal(text, "hello", 5);
    fake_http_stop(&http);
    (void)close(fd);
    (void)unlink(path);
}

static void a_request_as_json_has_headers_and_body(void **state)
{
    const char *answers[] = {"HTTP/1.1 401 No\r\n" CLOSE "X-A: 1\r\nContent-Length: 3\r\n\r\n\xff\xfe\xfd", OK_ANSWER,
                             NULL};
    struct fake_http http;
    (void)state;
    fake_http_start(&http, answers);
    assert_int_equal(RUN("--json", "request", "work", http.origin), 22);
    json_t *value = parse();
    assert_int_equal(json_integer_value(json_object_get(value, "http_status")), 401);
    assert_string_equal(member(value, "body_base64"), "//79");
    assert_string_equal(member(json_object_get(value, "error"), "name"), "request-refused");
    assert_string_equal(member(json_array_get(json_object_get(value, "headers"), 1), "value"), "1");
    json_decref(value);
    assert_int_equal(RUN("--json", "request", "work", http.origin), 0);
    value = parse();
    assert_string_equal(member(value, "body"), "hello");
    assert_null(json_object_get(value, "error"));
    json_decref(value);
    fake_http_stop(&http);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_verb_prints_its_result, start_polite, stop),
        cmocka_unit_test_setup_teardown(json_is_one_valid_value_for_every_verb, start_polite, stop),
        cmocka_unit_test_setup_teardown(errors_are_json_too_wherever_the_option_stands, start_polite, stop),
        cmocka_unit_test_setup_teardown(mistakes_in_the_line_have_exit_status_2, start_polite, stop),
        cmocka_unit_test(every_class_of_failure_has_its_exit_status),
        cmocka_unit_test_setup_teardown(help_is_there_for_the_command_and_for_every_verb, start_polite, stop),
        cmocka_unit_test_setup_teardown(an_access_token_is_read_from_a_file_without_its_line_break, start_polite, stop),
        cmocka_unit_test_setup_teardown(a_request_prints_the_final_answer_and_masks_its_secrets, start_polite, stop),
        cmocka_unit_test_setup_teardown(a_body_is_sent_as_it_is_and_again_when_it_can_be_rewound, start_polite, stop),
        cmocka_unit_test_setup_teardown(a_pipe_is_streamed_and_never_sent_twice, start_polite, stop),
        cmocka_unit_test_setup_teardown(a_status_of_400_or_more_is_exit_status_22_with_its_body, start_polite, stop),
        cmocka_unit_test_setup_teardown(an_output_file_is_left_alone_until_the_answer_comes, start_polite, stop),
        cmocka_unit_test_setup_teardown(a_request_as_json_has_headers_and_body, start_polite, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
