/*
 * The verbs that change keys and give secrets: what they show, where PINs and passwords come from, and that these are
 * nowhere else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "client_command.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>

static char folder[] = "/tmp/dpop-test-XXXXXX";

static int start(void **state)
{
    assert_int_equal(unsetenv("DPOP_ASKPASS"), 0);
    return start_polite(state);
}

/* A file in the folder; a script if it begins so. Its path is good until the eighth next call. */
static const char *write_file(const char *name, const char *text)
{
    static char paths[8][80];
    static int turn;
    char *path = paths[turn++ % 8];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, text[0] == '#' ? 0700 : 0600), 0);
    return path;
}

static void read_told(char *text, size_t size)
{
    char path[80];
    (void)snprintf(path, sizeof(path), "%s/told", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    slurp(fd, text, size);
}

static json_t *parse_and_check(const char *name, const char *value)
{
    json_t *object = parse();
    assert_string_equal(member(object, name), value);
    assert_string_equal(err, "");
    return object;
}

static void status_list_and_show_tell_how_a_key_is(void **state)
{
    (void)state;
    assert_int_equal(RUN("status"), 0);
    assert_non_null(strstr(out, "key            work: ready (imported)\n"
                                "                 pace: 4.2 ms for a signature\n"
                                "                 waiting: 3 requests\n"
                                "                 stalled: the token has been at a request for 1.5 s\n"
                                "                 recovered: 2 times\n"
                                "                 warning: one try is left\n"));
    assert_int_equal(RUN("key", "list"), 0);
    assert_non_null(strstr(out, "SoftHSM v2   imported  0ZcOCORZNYy"));
    assert_non_null(strstr(out, "\n  reason: the PIN was refused\n  next: correct the PIN\n"));
    assert_int_equal(RUN("key", "show", "work"), 0);
    assert_non_null(strstr(out, "\nimported    yes: the key was not made in the token\n"));
    assert_non_null(strstr(out, "\nwarning: one try is left\n"));
    assert_int_equal(RUN("key", "show", "work", "--json"), 0);
    json_t *key = parse();
    assert_true(json_is_true(json_object_get(key, "imported")));
    assert_int_equal(json_integer_value(json_object_get(key, "waiting")), 3);
    assert_int_equal(json_integer_value(json_object_get(key, "sign_time_us")), 4200);
    assert_int_equal(json_integer_value(json_object_get(key, "stalled_ms")), 1500);
    assert_int_equal(json_integer_value(json_object_get(key, "recoveries")), 2);
    assert_string_equal(member(key, "warning"), "one try is left");
    json_decref(key);
}

static void init_says_which_token_and_why(void **state)
{
    (void)state;
    assert_int_equal(RUN("init", "--tpm", "--environment", "A=b", "--environment", "C=d", "--keep-pin"), 0);
    assert_non_null(strstr(out, "model          SW   TPM\nwhy this one   tpm, 2 values\n"));
    assert_non_null(strstr(out, "PIN file       /p\n"));
    assert_null(strstr(out, "unlock"));
    assert_int_equal(RUN("init", "--softhsm"), 0);
    assert_non_null(strstr(out, "why this one   softhsm, 0 values\n"));
    assert_non_null(strstr(out, "The PIN is not kept: dpop unlock gives it to the agent after each start.\n"));
    assert_int_equal(RUN("init", "--json"), 0);
    json_t *made = parse_and_check("model", "SW   TPM");
    assert_true(json_is_null(json_object_get(made, "pin_file")));
    json_decref(made);
    assert_int_equal(RUN("init", "--tpm", "--softhsm"), 2);
    assert_int_equal(RUN("init", "--tpm", "--token", "pkcs11:token=card"), 2);
}

static void init_asks_for_a_pin_where_the_token_has_one_already(void **state)
{
    (void)state;
    const char *right = write_file("right", "1234\n"), *wrong = write_file("wrong", "4321\n");
    assert_int_equal(RUN("init", "--token", "pkcs11:token=card"), 4);
    assert_non_null(strstr(err, "the token \"card\" needs its PIN"));
    assert_int_equal(RUN("init", "--token", "pkcs11:token=card", "--pin-file", right), 0);
    assert_int_equal(RUN("init", "--token", "pkcs11:token=card", "--pin-file", wrong), 4);
    assert_non_null(strstr(err, "the token refuses the PIN"));
    char script[200], told[300];
    (void)snprintf(script, sizeof(script), "#!/bin/sh\nprintf '%%s' \"$1\" > %s/told\necho 1234\n", folder);
    assert_int_equal(RUN("init", "--token", "pkcs11:token=card", "--askpass", write_file("ask", script)), 0);
    read_told(told, sizeof(told));
    assert_string_equal(told, "the token \"card\" needs its PIN\nPIN: ");
}

static void generate_and_import_print_the_new_key(void **state)
{
    (void)state;
    assert_int_equal(RUN("key", "generate", "fresh"), 0);
    assert_non_null(strstr(out, "key            fresh\nURI            pkcs11:token=t;object=made\n"
                                "thumbprint     0ZcO"));
    assert_non_null(strstr(out, "\nJWK            {\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAAA"));
    assert_int_equal(RUN("key", "generate", "fresh", "--like", "work"), 0);
    assert_non_null(strstr(out, "key            work\n")); /* the fake's echo of --like */
    assert_int_equal(RUN("key", "generate", "fresh", "--json"), 0);
    json_t *made = parse_and_check("name", "fresh");
    assert_string_equal(member(json_object_get(made, "jwk"), "kid"), member(made, "thumbprint"));
    assert_true(json_is_false(json_object_get(made, "imported")));
    json_decref(made);
    const char *plain = write_file("plain", "plain");
    assert_int_equal(RUN("key", "import", "old", plain), 0);
    assert_non_null(strstr(out, "key            old (imported: it was not made in the token)\n"));
    assert_int_equal(RUN("key", "import", "--json", "old", plain), 0);
    made = parse_and_check("name", "old");
    assert_true(json_is_true(json_object_get(made, "imported")));
    json_decref(made);
    assert_int_equal(RUN("key", "import", "old", "/nowhere/file"), 2);
    assert_non_null(strstr(err, "/nowhere/file cannot be opened: No such file"));
    assert_int_equal(RUN("key", "import", "old", write_file("bad", "nonsense")), 2);
    assert_non_null(strstr(err, "that is no key"));
}

static void an_encrypted_file_is_imported_with_its_password(void **state)
{
    (void)state;
    const char *file = write_file("encrypted", "encrypted"), *password = write_file("password", "1234\r\n");
    assert_int_equal(RUN("key", "import", "old", file), 4);
    assert_non_null(strstr(err, "the file is encrypted"));
    assert_int_equal(RUN("key", "import", "old", file, "--password-file", write_file("right", "1234")), 0);
    assert_int_equal(RUN("key", "import", "old", file, "--password-file", password), 0);
    assert_int_equal(RUN("key", "import", "old", file, "--password-file", write_file("no", "nope\n")), 2);
    assert_non_null(strstr(err, "the password is wrong"));
    assert_int_equal(RUN("key", "import", "old", file, "--askpass", write_file("ask", "#!/bin/sh\necho 1234\n")), 0);
}

static void a_key_is_deleted_by_who_says_yes(void **state)
{
    (void)state;
    assert_int_equal(RUN("key", "delete", "work"), 2);
    assert_non_null(strstr(err, "nothing brings a deleted key back"));
    assert_int_equal(RUN("key", "delete", "nope"), 2);
    assert_non_null(strstr(err, "there is no key \"nope\""));
    assert_int_equal(RUN("key", "delete", "work", "--yes"), 0);
    assert_non_null(strstr(out, "deleted        work\nprofile        work: its tokens are revoked\n"
                                "profile        other: its tokens are not revoked at the server\n"
                                "               note: JWTs are not revoked\n               next: dpop login other\n"
                                "configuration  /c/agent.conf: these profiles are commented out in it\n"));
    assert_int_equal(RUN("key", "delete", "work", "-y", "--json"), 0);
    json_t *value = parse_and_check("deleted", "work");
    json_t *other = json_array_get(json_object_get(value, "profiles"), 1);
    assert_true(json_is_true(json_object_get(other, "login_due")));
    assert_string_equal(member(other, "note"), "JWTs are not revoked");
    json_decref(value);
}

static void rotate_says_what_to_register_and_what_became_of_the_old_key(void **state)
{
    (void)state;
    assert_int_equal(RUN("key", "rotate", "work"), 2);
    assert_int_equal(RUN("key", "rotate", "work", "--prepare", "--commit"), 2);
    assert_int_equal(RUN("key", "rotate", "work", "--commit", "--csr", "CN=x"), 2);
    assert_int_equal(RUN("key", "rotate", "work", "--prepare", "--csr", "CN=app"), 0);
    assert_non_null(strstr(out, "key            work.next\n"));
    assert_non_null(strstr(out, "\nRegister it before the second half of the rotation:\n"
                                "profile        work: add the JWK to the client's keys (jwks) at https://as.example"));
    assert_non_null(strstr(out, "\nprofile        other: get a certificate for \"work.next\" (the request is below)"));
    assert_non_null(strstr(out, "-----BEGIN CERTIFICATE REQUEST-----\nCN=app\n"));
    assert_non_null(strstr(out, "\nThen: dpop key rotate work --commit\n"));
    assert_int_equal(RUN("key", "rotate", "work", "--prepare", "--json"), 0);
    json_t *value = parse_and_check("name", "work.next");
    assert_int_equal(json_array_size(json_object_get(value, "authenticates")), 2);
    assert_string_equal(member(json_array_get(json_object_get(value, "authenticates"), 0), "client_authentication"),
                        "private_key_jwt");
    assert_true(json_is_null(json_object_get(value, "csr")));
    json_decref(value);
    assert_int_equal(RUN("key", "rotate", "work", "--commit"), 0);
    assert_non_null(strstr(out, "key            work\nthumbprint     0ZcO"));
    assert_non_null(strstr(out, "was            cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s: destroyed\n"));
    assert_non_null(strstr(out, "next: dpop login other\n"));
    assert_int_equal(RUN("key", "rotate", "stuck", "--commit", "--json"), 0);
    value = parse_and_check("note", "it is read-only");
    assert_true(json_is_false(json_object_get(value, "old_destroyed")));
    json_decref(value);
}

static void lock_and_unlock_name_the_token_and_its_keys(void **state)
{
    (void)state;
    const char *right = write_file("right", "1234\n");
    assert_int_equal(RUN("lock", "work"), 0);
    assert_string_equal(out, "locked       token tok \"en\"; keys: work spare\n");
    assert_int_equal(RUN("unlock", "spare", "--pin-file", right), 0);
    assert_string_equal(out, "unlocked       token tok \"en\"; keys: work spare\n");
    assert_int_equal(RUN("unlock", "spare", "--pin-file", right, "--json"), 0);
    json_decref(parse_and_check("state", "unlocked"));
    assert_int_equal(RUN("unlock", "spare", "--pin-file", write_file("wrong", "9\n")), 4);
    assert_non_null(strstr(err, "the token refuses the PIN"));
    assert_int_equal(RUN("unlock"), 2);
    assert_non_null(strstr(err, "there are 2 keys"));
    assert_int_equal(RUN("unlock", "work", "--pin-file", "/nowhere"), 0); /* it is ready: no PIN is read, or sent */
    assert_int_equal(RUN("unlock", "spare", "--pin-file", "/nowhere"), 2);
    int in = open(right, O_RDONLY | O_CLOEXEC);
    assert_int_equal(run_with(in, fake.path, (const char *const[]){"unlock", "spare", "--pin-file", "-", NULL}), 0);
    (void)close(in);
    assert_int_equal(RUN("unlock", "spare"), 4);
    assert_non_null(strstr(err, "there is no terminal to ask for the PIN"));
}

/* --- programs that ask --- */

static int unlock_by(const char *option, const char *script)
{
    return RUN("unlock", "spare", "--timeout", "5", option, write_file("program", script));
}

static void an_askpass_program_gets_the_prompt_and_prints_the_pin(void **state)
{
    char script[200], told[300];
    (void)state;
    (void)snprintf(script, sizeof(script), "#!/bin/sh\nprintf '%%s|%%s' \"$#\" \"$1\" > %s/told\necho 1234\n", folder);
    assert_int_equal(unlock_by("--askpass", script), 0);
    read_told(told, sizeof(told));
    assert_string_equal(told, "1|Key \"spare\" (-).\nPIN: ");
    assert_int_equal(setenv("DPOP_ASKPASS", write_file("env", "#!/bin/sh\nprintf 1234\n"), 1), 0);
    assert_int_equal(RUN("unlock", "spare"), 0);
    assert_int_equal(unsetenv("DPOP_ASKPASS"), 0);
}

static void an_askpass_program_that_fails_says_how(void **state)
{
    (void)state;
    assert_int_equal(unlock_by("--askpass", "#!/bin/sh\nexit 3\n"), 4);
    assert_non_null(strstr(err, "ended with exit status 3"));
    assert_int_equal(unlock_by("--askpass", "#!/bin/sh\necho 1234; kill -9 $$\n"), 4);
    assert_non_null(strstr(err, "was ended by signal 9"));
    assert_int_equal(unlock_by("--askpass", "#!/bin/sh\necho\n"), 4);
    assert_non_null(strstr(err, "gave nothing"));
    assert_int_equal(unlock_by("--askpass", "#!/bin/sh\n"), 4);
    assert_non_null(strstr(err, "gave nothing"));
    assert_int_equal(unlock_by("--askpass", "#!/bin/sh\nhead -c 300 /dev/zero | tr '\\0' x\n"), 2);
    assert_non_null(strstr(err, "gave more than 256 bytes"));
    assert_int_equal(unlock_by("--askpass", "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x\n"), 4);
    assert_non_null(strstr(err, "says too much"));
    assert_int_equal(RUN("unlock", "spare", "--askpass", "/nowhere/program"), 4);
    assert_non_null(strstr(err, "/nowhere/program cannot be run: No such file"));
    const char *slow = write_file("slow", "#!/bin/sh\nexec sleep 60\n");
    const char *deaf = write_file("deaf", "#!/bin/sh\ntrap '' TERM\nexec >&-\nexec sleep 60\n");
    assert_int_equal(RUN("unlock", "spare", "--timeout", "1", "--askpass", slow), 4);
    assert_non_null(strstr(err, "gave no answer in time"));
    assert_int_equal(RUN("unlock", "spare", "--timeout", "1", "--askpass", deaf), 4);
    assert_non_null(strstr(err, "gave no answer in time"));
}

#define PINENTRY(answer)                                                                                   \
    "#!/bin/sh\necho OK hello\nwhile read -r line; do echo \"$line\" >> $(dirname $0)/told\n"              \
    "case $line in GETPIN) " answer ";; BYE) echo OK; exit;; OPTION*) echo ERR 1 no;; *) echo OK;; esac\ndone\n"

static void a_pinentry_program_is_spoken_to_in_assuan(void **state)
{
    char told[1000];
    (void)state;
    (void)write_file("told", "");
    assert_int_equal(unlock_by("--pinentry", PINENTRY("echo S BUTTON; echo D 1%32%33; echo D 4; echo OK")), 0);
    read_told(told, sizeof(told));
    assert_non_null(strstr(told, "SETDESC Key \"spare\" (-).\nSETPROMPT PIN:\nGETPIN\nBYE\n"));
    assert_null(strstr(told, "1234"));
    assert_int_equal(unlock_by("--pinentry", PINENTRY("echo ERR 83886179 Operation cancelled")), 4);
    assert_non_null(strstr(err, "was cancelled"));
    assert_int_equal(unlock_by("--pinentry", PINENTRY("echo OK")), 4);
    assert_non_null(strstr(err, "gave nothing"));
    assert_int_equal(unlock_by("--pinentry", PINENTRY("echo ERR 83886340 broken")), 4);
    assert_non_null(strstr(err, "failed with error 83886340"));
    assert_int_equal(
        unlock_by("--pinentry", PINENTRY("printf 'D '; head -c 400 /dev/zero | tr '\\0' x; echo; echo OK")), 2);
    assert_non_null(strstr(err, "gave more than 256 bytes"));
    assert_int_equal(unlock_by("--pinentry", PINENTRY("exit")), 4);
    assert_non_null(strstr(err, "ended without an answer"));
    assert_int_equal(unlock_by("--pinentry", "#!/bin/sh\nexit 1\n"), 4);
    const char *slow = write_file("slow", "#!/bin/sh\nexec sleep 60\n");
    assert_int_equal(RUN("unlock", "spare", "--timeout", "1", "--pinentry", slow), 4);
    assert_non_null(strstr(err, "gave no answer in time"));
}

/* --- the terminal --- */

struct session {
    pid_t pid;
    int terminal; /* the other end of its terminal */
    char text[4000];
    size_t len;
};

/* Starts dpop in a session of its own whose terminal is a pty. */
static struct session open_session(const char *const *words)
{
    const char *argv[MOST_ARGUMENTS + 4] = {DPOP, "--socket", fake.path};
    struct session s = {.terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    char name[64];
    for (size_t i = 0; words[i] != NULL; i++)
        argv[i + 3] = words[i];
    assert_true(s.terminal >= 0);
    assert_int_equal(grantpt(s.terminal), 0);
    assert_int_equal(unlockpt(s.terminal), 0);
    assert_int_equal(ptsname_r(s.terminal, name, sizeof(name)), 0);
    s.pid = fork();
    if (s.pid == 0) {
        (void)setsid();
        int fd = open(name, O_RDWR);
        (void)ioctl(fd, TIOCSCTTY, 0);
        (void)dup2(fd, 0);
        (void)dup2(fd, 1);
        (void)dup2(fd, 2);
        (void)close(fd);
        (void)execv(DPOP, (char **)(uintptr_t)argv);
        _exit(127);
    }
    return s;
}

#define SESSION(...) open_session((const char *const[]){__VA_ARGS__, NULL})

/* Reads until `wanted` has come, or with NULL to the end. */
static void read_until(struct session *s, const char *wanted)
{
    s->text[s->len] = '\0';
    while (wanted == NULL || strstr(s->text, wanted) == NULL) {
        assert_true(s->len < sizeof(s->text) - 1);
        int ready = poll(&(struct pollfd){.fd = s->terminal, .events = POLLIN}, 1, 10000);
        ssize_t n = ready > 0 ? read(s->terminal, s->text + s->len, sizeof(s->text) - 1 - s->len) : -1;
        if (n <= 0 && wanted == NULL)
            return;
        if (n <= 0)
            fail_msg("no \"%s\" in: %s", wanted, s->text);
        s->len += (size_t)n;
        s->text[s->len] = '\0';
    }
}

static void type(struct session *s, const char *text)
{
    assert_int_equal(write(s->terminal, text, strlen(text)), strlen(text));
}

static bool echoes(const struct session *s)
{
    struct termios t;
    assert_int_equal(tcgetattr(s->terminal, &t), 0);
    return (t.c_lflag & ECHO) != 0;
}

/* Its wait status. */
static int close_session(struct session *s)
{
    int status;
    read_until(s, NULL);
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    (void)close(s->terminal);
    return status;
}

static void a_pin_typed_at_the_terminal_is_not_shown(void **state)
{
    (void)state;
    struct session s = SESSION("unlock", "spare");
    read_until(&s, "Key \"spare\" (-).\r\nPIN: ");
    assert_false(echoes(&s));
    type(&s, "12x\x7f" "34\n"); /* a line can be corrected */
    int status = close_session(&s);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_non_null(strstr(s.text, "unlocked "));
    assert_null(strstr(s.text, "12"));
    s = SESSION("unlock", "spare");
    read_until(&s, "PIN: ");
    type(&s, "\n");
    status = close_session(&s);
    assert_int_equal(WEXITSTATUS(status), 4);
    assert_non_null(strstr(s.text, "gave nothing"));
    s = SESSION("unlock", "spare", "--timeout", "1");
    status = close_session(&s);
    assert_int_equal(WEXITSTATUS(status), 4);
    assert_non_null(strstr(s.text, "no PIN was typed in time"));
}

static void a_signal_at_the_prompt_gives_the_terminal_back(void **state)
{
    (void)state;
    struct session s = SESSION("unlock", "spare");
    read_until(&s, "PIN: ");
    assert_false(echoes(&s));
    type(&s, "12\x03");
    int slave = dup(s.terminal), status;
    assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
    struct termios t;
    assert_int_equal(tcgetattr(slave, &t), 0);
    assert_true((t.c_lflag & ECHO) != 0);
    (void)close(slave);
    (void)close(s.terminal);
}

static void delete_asks_at_the_terminal(void **state)
{
    (void)state;
    struct session s = SESSION("key", "delete", "work");
    read_until(&s, "Key \"work\", thumbprint 0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I, in token \"tok \"en\"\". "
                   "Profiles that end with it: \"work\", \"other\", \"twin1\", \"twin2\". Delete it for good? [y/N] ");
    type(&s, "n\n");
    int status = close_session(&s);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_non_null(strstr(s.text, "nothing was deleted"));
    s = SESSION("key", "delete", "work");
    read_until(&s, "[y/N] ");
    type(&s, "yes\n");
    status = close_session(&s);
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_non_null(strstr(s.text, "deleted        work"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(status_list_and_show_tell_how_a_key_is),
        TEST(init_says_which_token_and_why),
        TEST(init_asks_for_a_pin_where_the_token_has_one_already),
        TEST(generate_and_import_print_the_new_key),
        TEST(an_encrypted_file_is_imported_with_its_password),
        TEST(a_key_is_deleted_by_who_says_yes),
        TEST(rotate_says_what_to_register_and_what_became_of_the_old_key),
        TEST(lock_and_unlock_name_the_token_and_its_keys),
        TEST(an_askpass_program_gets_the_prompt_and_prints_the_pin),
        TEST(an_askpass_program_that_fails_says_how),
        TEST(a_pinentry_program_is_spoken_to_in_assuan),
        TEST(a_pin_typed_at_the_terminal_is_not_shown),
        TEST(a_signal_at_the_prompt_gives_the_terminal_back),
        TEST(delete_asks_at_the_terminal),
    };
    int status;
    pid_t child = fork(); /* whoever runs this may have a terminal; the tests have none but their own */
    if (child != 0)
        return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (setsid() < 0 || mkdtemp(folder) == NULL)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char line[80];
    (void)snprintf(line, sizeof(line), "rm -r %s", folder);
    return system(line) == 0 ? failed : 1;
}
