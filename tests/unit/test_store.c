/* The store process as the front sees it: what it acknowledged is on disk whatever happens, what is wrong is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store_child.h"

#define TOKEN "/usr/lib/softhsm/libsofthsm2.so\nwork"

static char top[64], state[96], pins_path[128];

static struct store_child store, other;

static void start(struct store_child *p, const char *path, rlim_t largest_file)
{
    const struct store_options options = {.state = path, .largest_file = largest_file};
    store_child_start(p, &options);
}

/* ---- requests ---- */

static const uint8_t *verifier(unsigned int n)
{
    static uint8_t v[PIN_VERIFIER_SIZE];
    memset(v, 0x5a, sizeof(v));
    memcpy(v, &n, sizeof(n));
    return v;
}

static int load(struct store_child *p, struct pin_records *records, struct error *err)
{
    struct frame frame;
    const struct pin_load m = {.token_id = span_text(TOKEN)};
    int status = store_child_ask(p, INTERNAL_PIN_LOAD, &message_pin_load, &m, &frame, err);
    if (status == STATUS_OK)
        assert_int_equal(message_take(frame.fields, &message_pin_records, records, sizeof(*records), err), STATUS_OK);
    return status;
}

static int record(struct store_child *p, unsigned int n, enum pin_verdict verdict, struct error *err)
{
    struct frame frame;
    const struct pin_record m = {
        .token_id = span_text(TOKEN), .verifier = span_of(verifier(n),
                                                          PIN_VERIFIER_SIZE), .verdict = (uint16_t)verdict};
    return store_child_ask(p, INTERNAL_PIN_RECORD, &message_pin_record, &m, &frame, err);
}

static struct pin_records loaded(void)
{
    struct pin_records r;
    struct error err;
    int status = load(&store, &r, &err);
    if (status != STATUS_OK)
        fail_msg("load: %d: %s", status, status > 0 ? err.message : "the process ended");
    assert_int_equal(r.salt.len, PIN_SALT_SIZE);
    return r;
}

static void recorded(unsigned int n, enum pin_verdict verdict)
{
    struct error err;
    int status = record(&store, n, verdict, &err);
    if (status != STATUS_OK)
        fail_msg("record: %d: %s", status, status > 0 ? err.message : "the process ended");
}

/* Both kinds of request fail, and say so. */
static void assert_failed(const char *message)
{
    struct pin_records r;
    struct error err;
    assert_int_equal(record(&store, 1, PIN_REFUSED, &err), STATUS_STORE_FAILED);
    assert_int_equal(load(&store, &r, &err), STATUS_STORE_FAILED);
    if (strstr(err.message, message) == NULL)
        fail_msg("%s", err.message);
    assert_int_not_equal(strlen(err.next), 0);
}

static bool holds(const struct list *list, unsigned int n)
{
    struct span item;
    size_t cursor = 0;
    while (list_next(list, &cursor, &item))
        if (span_equal(item, span_of(verifier(n), PIN_VERIFIER_SIZE)))
            return true;
    return false;
}

static unsigned int mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void write_pins(const char *text)
{
    int fd = open(pins_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchown(fd, geteuid() == 0 ? STORE_CHILD_NOBODY : geteuid(), (gid_t)-1), 0);
    (void)close(fd);
}

/* ---- the tests ---- */

static void test_a_new_token_gets_a_salt_that_stays(void **unused)
{
    uint8_t salt[PIN_SALT_SIZE];
    (void)unused;
    start(&store, state, 0);
    struct pin_records r = loaded();
    memcpy(salt, r.salt.data, sizeof(salt));
    assert_int_equal(r.refused.count + r.trying.count, 0);
    assert_int_equal(mode_of(state), 0700);
    assert_int_equal(mode_of(pins_path), 0600);
    assert_memory_equal(loaded().salt.data, salt, sizeof(salt));
    assert_int_equal(store_child_stop(&store), 0);
    start(&store, state, 0);
    assert_memory_equal(loaded().salt.data, salt, sizeof(salt));
}

static void test_each_verdict_is_there_after_a_restart(void **unused)
{
    (void)unused;
    start(&store, state, 0);
    (void)loaded();
    for (unsigned int n = 1; n <= 4; n++)
        recorded(n, PIN_TRYING);
    recorded(1, PIN_REFUSED);
    recorded(2, PIN_ACCEPTED);
    recorded(3, PIN_UNKNOWN);
    recorded(5, PIN_REFUSED);
    recorded(5, PIN_ACCEPTED);
    assert_int_equal(store_child_stop(&store), 0);
    start(&store, state, 0);
    struct pin_records r = loaded();
    assert_int_equal(r.refused.count, 1);
    assert_true(holds(&r.refused, 1));
    assert_int_equal(r.trying.count, 1);
    assert_true(holds(&r.trying, 4));
}

static void test_what_was_acknowledged_survives_kill_9_at_any_moment(void **unused)
{
    struct error err;
    bool acknowledged[201] = {false};
    unsigned int seed = (unsigned int)time(NULL), kills = 0;
    (void)unused;
    start(&store, state, 0);
    (void)loaded();
    for (unsigned int n = 1; n <= 200; n++) {
        pid_t killer = 0;
        if (rand_r(&seed) % 3 == 0) { /* a process of its own, so that the moment is any */
            unsigned int microseconds = (unsigned int)rand_r(&seed) % 1500;
            killer = fork();
            if (killer == 0) {
                (void)usleep(microseconds);
                (void)kill(store.pid, SIGKILL);
                _exit(0);
            }
        }
        int status = record(&store, n, PIN_REFUSED, &err);
        acknowledged[n] = status == STATUS_OK;
        if (killer != 0) {
            assert_int_equal(waitpid(killer, NULL, 0), killer);
            (void)store_child_stop(&store);
            start(&store, state, 0);
            struct pin_records r = loaded(); /* or it fails: the file is readable */
            kills++;
            for (unsigned int i = n > 60 ? n - 60 : 1; i <= n; i++) /* 64 are remembered */
                assert_true(!acknowledged[i] || holds(&r.refused, i));
        } else {
            assert_int_equal(status, STATUS_OK);
        }
    }
    assert_true(kills > 20);
}

static void test_a_file_that_cannot_be_understood_is_refused_and_left_alone_until_it_is_gone(void **unused)
{
    char text[64] = {0};
    (void)unused;
    assert_int_equal(mkdir(state, 0700), 0);
    assert_int_equal(chown(state, geteuid() == 0 ? STORE_CHILD_NOBODY : geteuid(), (gid_t)-1), 0);
    write_pins("dpop-agent pins 1\nnonsense\n");
    start(&store, state, 0);
    assert_failed("pins:2: ");
    write_pins("");
    assert_failed("ends without its checksum");
    write_pins("dpop-agent pins 1\n");
    assert_failed("ends without its checksum");
    int fd = open(pins_path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof(text)), 18);
    (void)close(fd);
    assert_int_equal(unlink(pins_path), 0);
    (void)loaded();
    recorded(1, PIN_REFUSED);
    assert_int_equal(store_child_stop(&store), 0);
}

static void test_a_folder_that_others_may_access_is_refused_until_it_is_corrected(void **unused)
{
    (void)unused;
    start(&store, state, 0);
    (void)loaded();
    assert_int_equal(store_child_stop(&store), 0);
    assert_int_equal(chmod(state, 0750), 0);
    start(&store, state, 0);
    assert_failed("mode 0750");
    assert_int_equal(chmod(state, 0700), 0);
    (void)loaded();
}

static void test_a_file_that_others_may_access_or_that_is_a_link_is_refused(void **unused)
{
    (void)unused;
    start(&store, state, 0);
    (void)loaded();
    assert_int_equal(store_child_stop(&store), 0);
    assert_int_equal(chmod(pins_path, 0604), 0);
    start(&store, state, 0);
    assert_failed("mode 0604");
    assert_int_equal(unlink(pins_path), 0);
    assert_int_equal(symlink("/etc/passwd", pins_path), 0);
    assert_failed("Too many levels of symbolic links");
    assert_int_equal(unlink(pins_path), 0);
    assert_int_equal(mkdir(pins_path, 0700), 0);
    assert_failed("pins");
    assert_int_equal(rmdir(pins_path), 0);
    (void)loaded();
}

static void test_what_a_crash_left_under_the_temporary_name_is_replaced_and_a_link_there_not_followed(void **unused)
{
    char temporary[160], victim[128];
    (void)unused;
    (void)snprintf(temporary, sizeof(temporary), "%s.new", pins_path);
    (void)snprintf(victim, sizeof(victim), "%s/victim", top);
    start(&store, state, 0);
    (void)loaded();
    assert_int_equal(symlink(victim, temporary), 0);
    recorded(1, PIN_REFUSED);
    assert_int_equal(access(victim, F_OK), -1);
    assert_int_equal(access(temporary, F_OK), -1);
    assert_true(S_ISREG(mode_of(pins_path) | S_IFREG));
    assert_int_equal(mode_of(pins_path), 0600);
}

static void test_folders_of_others_and_folders_that_cannot_be_made_are_refused(void **unused)
{
    char inside[128];
    (void)unused;
    start(&store, "/usr", 0);
    assert_failed("/usr belongs to uid 0");
    assert_int_equal(store_child_stop(&store), 0);
    start(&store, "/proc/dpop-agent", 0);
    assert_failed("cannot make the state folder /proc/dpop-agent");
    assert_int_equal(store_child_stop(&store), 0);
    start(&store, NULL, 0);
    assert_failed("no state folder");
    assert_int_equal(store_child_stop(&store), 0);
    (void)snprintf(inside, sizeof(inside), "%s/inside", state);
    start(&store, state, 0);
    (void)loaded();
    assert_int_equal(store_child_stop(&store), 0);
    assert_int_equal(chmod(state, 0), 0);
    start(&store, inside, 0);
    assert_failed("Permission denied");
    assert_int_equal(store_child_stop(&store), 0);
    start(&store, state, 0);
    assert_failed("Permission denied");
    assert_int_equal(chmod(state, 0700), 0);
    (void)loaded();
}

static void test_missing_parents_are_made_for_us_alone(void **unused)
{
    char deep[160], parent[128];
    (void)unused;
    (void)snprintf(parent, sizeof(parent), "%s/a", state);
    (void)snprintf(deep, sizeof(deep), "%s/a/b/c", state);
    start(&store, deep, 0);
    (void)loaded();
    assert_int_equal(mode_of(parent), 0700);
    assert_int_equal(mode_of(deep), 0700);
}

static void test_two_agents_do_not_share_a_folder(void **unused)
{
    struct pin_records r;
    struct error err;
    (void)unused;
    start(&other, state, 0);
    assert_int_equal(load(&other, &r, &err), STATUS_OK);
    start(&store, state, 0);
    assert_failed("another dpop-agent uses");
    assert_int_equal(store_child_stop(&other), 0);
    (void)loaded();
}

static void test_a_full_disk_is_an_error_and_loses_nothing_that_was_acknowledged(void **unused)
{
    struct error err;
    unsigned int n = 0;
    (void)unused;
    start(&store, state, 1024); /* RLIMIT_FSIZE: write(2) fails with EFBIG */
    (void)loaded();
    while (record(&store, n + 1, PIN_REFUSED, &err) == STATUS_OK)
        assert_true(++n < 64);
    assert_true(n > 2);
    assert_int_equal(err.status, STATUS_STORE_FAILED);
    assert_non_null(strstr(err.message, "File too large"));
    assert_int_equal(record(&store, n + 1, PIN_REFUSED, &err), STATUS_STORE_FAILED);
    struct pin_records r = loaded();
    assert_int_equal(r.refused.count, n);
    recorded(1, PIN_ACCEPTED);
    assert_int_equal(store_child_stop(&store), 0);
    start(&store, state, 0);
    r = loaded();
    assert_int_equal(r.refused.count, n - 1);
    assert_true(holds(&r.refused, n));
}

static void test_a_folder_that_is_taken_away_is_noticed_and_made_anew(void **unused)
{
    char away[128];
    struct error err;
    (void)unused;
    (void)snprintf(away, sizeof(away), "%s/away", top);
    start(&store, state, 0);
    (void)loaded();
    recorded(1, PIN_REFUSED);
    assert_int_equal(rename(state, away), 0);
    recorded(2, PIN_REFUSED); /* it goes with the folder, wherever that is */
    assert_int_equal(rename(away, state), 0);
    assert_int_equal(store_child_stop(&store), 0);
    start(&store, state, 0);
    assert_int_equal(loaded().refused.count, 2);
    char command[256];
    (void)snprintf(command, sizeof(command), "rm -r %s", state);
    assert_int_equal(system(command), 0);
    assert_int_equal(record(&store, 3, PIN_REFUSED, &err), STATUS_STORE_FAILED);
    assert_int_equal(loaded().refused.count, 0);
}

static void test_requests_that_make_no_sense_are_refused(void **unused)
{
    struct frame frame;
    struct error err;
    struct pin_record m = {.token_id = span_text("nobody"), .verifier = span_of(verifier(1), PIN_VERIFIER_SIZE),
                           .verdict = 1};
    (void)unused;
    start(&store, state, 0);
    (void)loaded();
    assert_int_equal(store_child_ask(&store, INTERNAL_SIGN, &message_empty, &(struct empty_message){0}, &frame, &err),
                     STATUS_UNKNOWN_OPERATION);
    assert_int_equal(store_child_ask(&store, INTERNAL_PIN_LOAD, &message_empty, &(struct empty_message){0}, &frame,
                                     &err),
                     STATUS_MALFORMED);
    assert_int_equal(store_child_ask(&store, INTERNAL_PIN_RECORD, &message_pin_record, &m, &frame, &err),
                     STATUS_STORE_FAILED);
    m = (struct pin_record){.token_id = span_text(TOKEN), .verifier = span_of(verifier(1), 31), .verdict = 1};
    assert_int_equal(store_child_ask(&store, INTERNAL_PIN_RECORD, &message_pin_record, &m, &frame, &err),
                     STATUS_MALFORMED);
    m = (struct pin_record){.token_id = span_text(TOKEN), .verifier = span_of(verifier(1), 32), .verdict = 6};
    assert_int_equal(store_child_ask(&store, INTERNAL_PIN_RECORD, &message_pin_record, &m, &frame, &err),
                     STATUS_MALFORMED);
    assert_int_equal(loaded().refused.count, 0);
}

static int set_up(void **unused)
{
    (void)unused;
    store_child_make_folder(top);
    (void)snprintf(state, sizeof(state), "%s/state", top);
    (void)snprintf(pins_path, sizeof(pins_path), "%s/pins", state);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    int status = store.pid != 0 ? store_child_stop(&store) : 0;
    if (other.pid != 0)
        status |= store_child_stop(&other);
    return status | store_child_remove_folder(top);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_token_gets_a_salt_that_stays),
        TEST(test_each_verdict_is_there_after_a_restart),
        TEST(test_what_was_acknowledged_survives_kill_9_at_any_moment),
        TEST(test_a_file_that_cannot_be_understood_is_refused_and_left_alone_until_it_is_gone),
        TEST(test_a_folder_that_others_may_access_is_refused_until_it_is_corrected),
        TEST(test_a_file_that_others_may_access_or_that_is_a_link_is_refused),
        TEST(test_what_a_crash_left_under_the_temporary_name_is_replaced_and_a_link_there_not_followed),
        TEST(test_folders_of_others_and_folders_that_cannot_be_made_are_refused),
        TEST(test_missing_parents_are_made_for_us_alone),
        TEST(test_two_agents_do_not_share_a_folder),
        TEST(test_a_full_disk_is_an_error_and_loses_nothing_that_was_acknowledged),
        TEST(test_a_folder_that_is_taken_away_is_noticed_and_made_anew),
        TEST(test_requests_that_make_no_sense_are_refused),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
