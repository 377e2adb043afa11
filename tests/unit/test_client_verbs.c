/* The verbs around logins, registrations, certificates and the session log: what they ask of the agent, show, and leave
 * behind when they are interrupted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "client_command.h"

#include <poll.h>
#include <qrencode.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

static int start(void **state)
{
    static const char *const names[] = {"BROWSER", "DISPLAY", "WAYLAND_DISPLAY"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(unsetenv(names[i]), 0);
    (void)fake_cancelled_logins();
    return start_polite(state);
}

/* The JSON value of line `n`; the caller releases it. */
static json_t *parse_line(unsigned int n)
{
    json_error_t wrong;
    const char *line = out;
    for (; n > 0; n--) {
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
    }
    json_t *value = json_loadb(line, strcspn(line, "\n"), JSON_REJECT_DUPLICATES, &wrong);
    if (value == NULL)
        fail_msg("not JSON (%s): %s", wrong.text, line);
    return value;
}

static void assert_event(unsigned int n, const char *event, const char *name, const char *value)
{
    json_t *line = parse_line(n);
    assert_string_equal(member(line, "event"), event);
    assert_string_equal(member(line, name), value);
    json_decref(line);
}

static void login_shows_the_address_and_who_has_logged_in(void **state)
{
    (void)state;
    assert_int_equal(RUN("login", "work"), 0);
    assert_non_null(strstr(err, "\n    https://as.example/authorize?client_id=app&x='$(id)'\n"));
    assert_non_null(strstr(out, "logged in  work\nsubject    alice\nscope      a b\ntoken      DPoP, until 20"));
    assert_non_null(strstr(out, "(300 s)\nkept       in memory only\nnote       persist = no\n"));
    (void)fake_cancelled_logins();
    assert_int_equal(RUN("login", "--json", "work"), 0);
    assert_string_equal(err, "");
    assert_event(0, "begun", "url", "https://as.example/authorize?client_id=app&x='$(id)'");
    assert_event(1, "logged in", "subject", "alice");
}

static void a_refused_login_says_at_which_stage_and_why(void **state)
{
    (void)state;
    assert_int_equal(RUN("login", "refused"), 3);
    assert_non_null(strstr(err, "dpop: the server refused the login\n  stage: authorization\n"
                                "  server: access_denied: the user said no\n  next: log in again\n"));
    assert_int_equal(RUN("--json", "login", "refused"), 3);
    json_t *line = parse_line(1);
    json_t *error = json_object_get(line, "error");
    assert_string_equal(member(error, "stage"), "authorization");
    assert_string_equal(member(error, "error"), "access_denied");
    assert_string_equal(member(error, "error_description"), "the user said no");
    assert_string_equal(member(error, "next"), "log in again");
    assert_int_equal(json_integer_value(json_object_get(error, "status")), STATUS_SERVER_REFUSED);
    assert_int_equal(json_integer_value(json_object_get(error, "http_status")), 400);
    assert_true(json_is_false(json_object_get(error, "retryable")));
    assert_int_equal(json_integer_value(json_object_get(error, "retry_after")), 0);
    json_decref(line);
}

/* The browser is a script that writes its arguments down. */
static void the_browser_gets_the_address_as_one_argument_and_no_shell_sees_it(void **state)
{
    char folder[] = "/tmp/dpop-test-XXXXXX", script[64], told[64], text[256] = "";
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(script, sizeof(script), "%s/browser", folder);
    (void)snprintf(told, sizeof(told), "%s/told", folder);
    FILE *file = fopen(script, "we");
    assert_non_null(file);
    (void)fprintf(file, "#!/bin/sh\nprintf '%%s|%%s' \"$#\" \"$1\" > %s.new && mv %s.new %s\n", told, told, told);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(script, 0700), 0);
    assert_int_equal(setenv("BROWSER", script, 1), 0);
    assert_int_equal(RUN("login", "--no-browser", "work"), 0);
    assert_int_not_equal(access(told, F_OK), 0);
    assert_int_equal(RUN("login", "work"), 0);
    for (int i = 0; i < 500 && access(told, F_OK) != 0; i++)
        (void)poll(NULL, 0, 10);
    int fd = open(told, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    slurp(fd, text, sizeof(text));
    assert_string_equal(text, "1|https://as.example/authorize?client_id=app&x='$(id)'");
    assert_int_equal(setenv("BROWSER", "/nowhere/browser", 1), 0);
    assert_int_equal(RUN("login", "work"), 0);
    assert_non_null(strstr(err, "no browser could be started (No such file or directory)"));
    assert_int_equal(unsetenv("BROWSER"), 0);
    (void)unlink(told);
    (void)unlink(script);
    (void)rmdir(folder);
}

static void
a_line_pasted_at_a_terminal_is_given_to_the_agent_and_a_wrong_one_may_be_followed_by_a_right_one(void **state)
{
    static const char lines[] = "http://elsewhere/\n  http://127.0.0.1:49152/?code=c&state=s \n";
    (void)state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0);
    assert_int_equal(grantpt(terminal), 0);
    assert_int_equal(unlockpt(terminal), 0);
    int in = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(in >= 0);
    struct running r = begin_with(in, fake.path, (const char *const[]){"login", "--no-browser", "paste", NULL});
    assert_int_equal(write(terminal, lines, sizeof(lines) - 1), sizeof(lines) - 1);
    assert_int_equal(finish(r), 0);
    assert_non_null(strstr(err, "paste the address at which it ends here"));
    assert_non_null(strstr(err, "dpop: that is not where this login ends; paste the whole address"));
    assert_non_null(strstr(out, "logged in  paste\n"));
    (void)close(in);
    (void)close(terminal);
}

static void what_is_no_terminal_is_not_read_for_pasted_lines(void **state)
{
    int in = scratch();
    (void)state;
    assert_true(write(in, "http://127.0.0.1:49152/?code=c&state=s\n", 39) == 39);
    (void)lseek(in, 0, SEEK_SET);
    assert_int_equal(
        run_with(in, fake.path, (const char *const[]){"login", "--no-browser", "--timeout", "1", "paste", NULL}), 4);
    assert_non_null(strstr(err, "nobody logged in within 1 seconds"));
    assert_int_equal(fake_cancelled_logins(), 1);
    (void)close(in);
}

static void wait_for_text(int fd, const char *text)
{
    char seen[4096];
    for (int i = 0; i < 1000; i++, (void)poll(NULL, 0, 10)) {
        ssize_t n = pread(fd, seen, sizeof(seen) - 1, 0);
        seen[n > 0 ? n : 0] = '\0';
        if (strstr(seen, text) != NULL)
            return;
    }
    fail_msg("\"%s\" did not come", text);
}

static void an_interrupted_login_is_cancelled_at_the_agent(void **state)
{
    static const int signals[] = {SIGINT, SIGTERM};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct running r = begin_with(in, fake.path, (const char *const[]){"login", "slow", NULL});
        wait_for_text(r.err, "authorize?client_id");
        assert_int_equal(kill(r.pid, signals[i]), 0);
        assert_int_equal(finish(r), 5);
        assert_non_null(strstr(err, "dpop: the login was cancelled\n  next: begin another one: dpop login\n"));
        assert_int_equal(fake_cancelled_logins(), 1);
        (void)close(in);
    }
}

/* Modules of the shown code: each character has two, one above the other. */
static bool shown_light(const char *const *rows, int x, int y)
{
    static const char *const blocks[] = {" ", "\xe2\x96\x84", "\xe2\x96\x80", "\xe2\x96\x88"};
    const char *at = rows[y / 2];
    int kind = 0;
    for (; x >= 0; x--) {
        for (kind = 0; kind < 4 && strncmp(at, blocks[kind], strlen(blocks[kind])) != 0; kind++)
            ;
        assert_in_range(kind, 0, 3);
        at += strlen(blocks[kind]);
    }
    return (kind & (y % 2 == 0 ? 2 : 1)) != 0;
}

static void a_device_login_shows_code_address_and_qr_code(void **state)
{
    const char *rows[64] = {NULL};
    int count = 0;
    (void)state;
    assert_int_equal(RUN("login", "--device", "work"), 0);
    assert_non_null(strstr(err, "\n    https://as.example/device\n"));
    assert_non_null(strstr(err, "\n    WDJB-MJHT\n"));
    assert_null(strchr(err, '\x1b')); /* standard error is no terminal */
    (void)fake_cancelled_logins();
    assert_int_equal(RUN("login", "--device", "--qr", "work"), 0);
    for (char *at = err; (at = strstr(at, "\x1b[97;40m")) != NULL && count < 64; count++)
        rows[count] = at += 8;
    QRcode *code = QRcode_encodeString("https://as.example/device?user_code=WDJB-MJHT", 0, QR_ECLEVEL_L, QR_MODE_8, 1);
    assert_non_null(code);
    assert_int_equal(count, (code->width + 5) / 2);
    for (int y = 0; y < code->width; y++)
        for (int x = 0; x < code->width; x++)
            assert_int_equal(shown_light(rows, x + 2, y + 2), (code->data[y * code->width + x] & 1) == 0);
    QRcode_free(code);
    (void)fake_cancelled_logins();
    assert_int_equal(RUN("--json", "login", "--device", "work"), 0);
    assert_event(0, "begun", "user_code", "WDJB-MJHT");
}

static void login_takes_an_apis_address_for_the_profile_whose_origins_contain_it(void **state)
{
    (void)state;
    assert_int_equal(RUN("login", "https://api.example/v1/things?x=1"), 0);
    assert_non_null(strstr(out, "logged in  work\n")); /* not the other one, which needs no login */
    (void)fake_cancelled_logins();
    assert_int_equal(RUN("login", "https://b.example:8443/"), 0);
    assert_non_null(strstr(out, "logged in  work\n"));
    assert_int_equal(RUN("login", "https://twin.example/"), 2);
    assert_non_null(strstr(err, "more than one profile is for https://twin.example/: \"twin1\", \"twin2\""));
    assert_int_equal(RUN("login", "ftp://api.example/"), 2);
}

static void login_at_an_unknown_api_registers_a_client_first_and_waits_for_the_agent(void **state)
{
    (void)state;
    assert_int_equal(RUN("--json", "login", "https://New.example:9443/api", "--scope", "a", "--device"), 0);
    assert_event(0, "registered", "profile", "new.example");
    assert_event(0, "registered", "issuer", "https://New.example:9443/api");
    assert_event(0, "registered", "client_id", "a//device_code/0/0");
    assert_event(1, "begun", "profile", "new.example");
    assert_event(2, "logged in", "profile", "new.example");
    assert_true(fake.count >= 2);
    (void)fake_cancelled_logins();
    assert_int_equal(RUN("login", "https://new.example", "--name", "mine"), 0);
    assert_non_null(strstr(err, "Registered a client for it:\nprofile         mine\n"));
    assert_non_null(strstr(out, "logged in  mine\n"));
}

static void register_sends_all_that_was_given_and_its_token_comes_from_a_file(void **state)
{
    int in = scratch();
    (void)state;
    assert_true(write(in, "initial\n", 8) == 8);
    (void)lseek(in, 0, SEEK_SET);
    assert_int_equal(
        run_with(in, fake.path,
                 (const char *const[]){"register", "--name", "n", "--issuer", "https://as.example", "--scope", "s",
                                       "--grant", "client_credentials", "--origin", "https://api.example",
                                       "--allow-http-loopback", "--initial-access-token-file", "-", "--json", NULL}),
        0);
    json_t *value = parse();
    assert_string_equal(member(value, "client_id"), "s/initial/client_credentials/1/1");
    assert_string_equal(member(value, "secret_file"), "/c/s");
    json_decref(value);
    (void)close(in);
    assert_int_equal(RUN("register", "--name", "n", "--resource", "https://api.example"), 0);
    assert_non_null(strstr(out, "profile         n\nissuer          https://api.example\n"));
    assert_int_equal(RUN("register", "--name", "n", "--issuer", "https://a", "--ca-file", "/nowhere"), 2);
}

static void reload_waits_until_the_agent_serves_again(void **state)
{
    (void)state;
    assert_int_equal(RUN("reload"), 0);
    assert_string_equal(out, "reloaded\n");
    assert_int_equal(fake.count, 2);
    assert_int_equal(RUN("reload", "--json"), 0);
    assert_string_equal(out, "{\"reloaded\":true}\n");
}

static void logout_and_introspect_tell_what_the_server_did(void **state)
{
    (void)state;
    assert_int_equal(RUN("logout", "work"), 0);
    assert_string_equal(out, "work: logged out; the server has revoked its tokens\n");
    assert_string_equal(err, "");
    assert_int_equal(RUN("logout", "other"), 0);
    assert_string_equal(out, "other: logged out\n");
    assert_string_equal(err, "dpop: not revoked at the server: no revocation endpoint\n");
    assert_int_equal(RUN("logout", "--json", "other"), 0);
    json_t *value = parse();
    assert_true(json_is_false(json_object_get(value, "revoked")));
    assert_string_equal(member(value, "note"), "no revocation endpoint");
    json_decref(value);
    assert_int_equal(RUN("introspect", "work", "--scope", "a", "--resource", "https://api.example"), 0);
    assert_string_equal(out, "{\"active\":true,\"sub\":\"alice\"}\n");
}

static void a_profile_test_has_a_line_for_each_check_and_fails_when_one_did(void **state)
{
    (void)state;
    assert_int_equal(RUN("profile", "test", "work"), 0);
    assert_string_equal(out, "passed     key: ready\nwarning    clock: 600 s apart\n"
                             "           next: set this machine's clock\nnot tried  token: -\n");
    assert_int_equal(RUN("profile", "test", "broken"), 3);
    assert_non_null(strstr(out, "failed     clock: 600 s apart\n"));
    assert_int_equal(RUN("profile", "test", "broken", "--json"), 3);
    json_t *value = parse();
    assert_true(json_is_false(json_object_get(value, "passed")));
    json_t *check = json_array_get(json_object_get(value, "checks"), 1);
    assert_string_equal(member(check, "result"), "failed");
    assert_string_equal(member(check, "next"), "set this machine's clock");
    json_decref(value);
}

static void trace_shows_what_is_kept_and_lets_no_server_write_to_the_terminal(void **state)
{
    (void)state;
    assert_int_equal(RUN("trace", "work"), 0);
    assert_non_null(strstr(out, "\nPOST https://as.example/token\n  code=<masked>\n---- 20"));
    assert_non_null(strstr(out, "\n?[31mred\n"));
    assert_int_equal(RUN("trace", "--json", "work"), 0);
    json_t *value = parse();
    assert_int_equal(json_array_size(value), 2);
    assert_string_equal(member(json_array_get(value, 1), "text"), "\x1b[31mred");
    json_decref(value);
}

static void trace_follows_until_it_is_interrupted(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct running r =
            begin_with(in, fake.path, (const char *const[]){"trace", "--follow", "work", json ? "--json" : NULL, NULL});
        wait_for_text(r.out, "[31mred");
        assert_int_equal(kill(r.pid, SIGINT), 0);
        assert_int_equal(finish(r), 0);
        if (json) {
            json_t *line = parse_line(1);
            assert_int_equal(json_integer_value(json_object_get(line, "sequence")), 2);
            json_decref(line);
        }
        assert_string_equal(err, "");
        (void)close(in);
    }
}

static void answer_and_end(int fd, const struct frame *frame)
{
    fake_polite_answer(fd, frame);
}

static void trace_goes_on_following_when_the_agent_was_restarted(void **state)
{
    (void)state;
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    fake_start(&fake, fake_once, (void *)(uintptr_t)answer_and_end);
    struct running r = begin_with(in, fake.path, (const char *const[]){"trace", "-f", "work", NULL});
    wait_for_text(r.out, "[31mred");
    for (int i = 0; i < 1000 && fake.count < 2; i++)
        (void)poll(NULL, 0, 10);
    assert_int_equal(kill(r.pid, SIGTERM), 0);
    assert_int_equal(finish(r), 0);
    assert_string_equal(err, "");
    assert_true(fake.count >= 2);
    (void)close(in);
    fake_stop(&fake);
}

static void send_mistake(int fd, const struct frame *frame)
{
    fake_error(fd, frame->request, STATUS_CONFIGURATION, "/c/agent.conf:7: unknown option \"colour\"");
    fake_hang(fd);
}

static void reload_tells_a_mistake_with_its_file_and_line(void **state)
{
    (void)state;
    fake_start(&fake, fake_once, (void *)(uintptr_t)send_mistake);
    assert_int_equal(RUN("reload"), 2);
    assert_string_equal(err, "dpop: /c/agent.conf:7: unknown option \"colour\"\n  next: do something\n");
    fake_stop(&fake);
}

static void requests_and_certificates_go_to_standard_output_or_a_file(void **state)
{
    char path[] = "/tmp/dpop-test-XXXXXX", text[256];
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(RUN("key", "csr", "--subject", "CN=app,O=Example"), 0);
    assert_string_equal(out, "-----BEGIN CERTIFICATE REQUEST-----\nCN=app,O=Example\n-----END-----\n");
    assert_int_equal(RUN("key", "cert", "work", "--subject", "CN=app", "--days", "30", "-o", path), 0);
    assert_string_equal(out, "");
    slurp(fd, text, sizeof(text));
    assert_string_equal(text, "-----BEGIN CERTIFICATE-----\nCN=app\n-----END-----\n");
    assert_int_equal(RUN("key", "cert", "--subject", "CN=app", "--json"), 0);
    json_t *value = parse();
    assert_string_equal(member(value, "pem"), text);
    json_decref(value);
    assert_int_equal(RUN("key", "csr", "--subject", "CN=app", "-o", "/nowhere/file"), 1);
    assert_non_null(strstr(err, "\n  next: check that the folder exists"));
    (void)unlink(path);
}

static void token_takes_its_inputs_from_files_and_shows_the_servers_other_members(void **state)
{
    char path[] = "/tmp/dpop-test-XXXXXX";
    int fd = mkstemp(path), in = scratch();
    (void)state;
    assert_true(fd >= 0 && write(fd, "actor\n", 6) == 6 && write(in, "subject\n", 8) == 8);
    (void)lseek(in, 0, SEEK_SET);
    assert_int_equal(
        run_with(in, fake.path,
                 (const char *const[]){"token", "--json", "work", "--subject-token-file", "-", "--subject-token-type",
                                       "urn:t", "--actor-token-file", path, "--actor-token-type", "urn:t", NULL}),
        0);
    json_t *value = parse();
    assert_string_equal(member(value, "access_token"), "subject");
    assert_string_equal(member(value, "scope"), "urn:t");
    assert_string_equal(member(json_object_get(value, "raw"), "actor"), "actor");
    json_decref(value);
    assert_int_equal(RUN("token", "work", "--assertion-file", path), 0);
    assert_string_equal(out, "actor\n");
    assert_int_equal(RUN("token", "work", "--assertion-file", "/nowhere"), 2);
    assert_non_null(strstr(err, "\n  next: name a file that exists"));
    (void)close(fd);
    (void)close(in);
    (void)unlink(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(login_shows_the_address_and_who_has_logged_in),
        TEST(a_refused_login_says_at_which_stage_and_why),
        TEST(the_browser_gets_the_address_as_one_argument_and_no_shell_sees_it),
        TEST(a_line_pasted_at_a_terminal_is_given_to_the_agent_and_a_wrong_one_may_be_followed_by_a_right_one),
        TEST(what_is_no_terminal_is_not_read_for_pasted_lines),
        TEST(an_interrupted_login_is_cancelled_at_the_agent),
        TEST(a_device_login_shows_code_address_and_qr_code),
        TEST(login_takes_an_apis_address_for_the_profile_whose_origins_contain_it),
        TEST(login_at_an_unknown_api_registers_a_client_first_and_waits_for_the_agent),
        TEST(register_sends_all_that_was_given_and_its_token_comes_from_a_file),
        TEST(reload_waits_until_the_agent_serves_again),
        TEST(logout_and_introspect_tell_what_the_server_did),
        TEST(a_profile_test_has_a_line_for_each_check_and_fails_when_one_did),
        TEST(trace_shows_what_is_kept_and_lets_no_server_write_to_the_terminal),
        TEST(trace_follows_until_it_is_interrupted),
        cmocka_unit_test(trace_goes_on_following_when_the_agent_was_restarted),
        cmocka_unit_test(reload_tells_a_mistake_with_its_file_and_line),
        TEST(requests_and_certificates_go_to_standard_output_or_a_file),
        TEST(token_takes_its_inputs_from_files_and_shows_the_servers_other_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
