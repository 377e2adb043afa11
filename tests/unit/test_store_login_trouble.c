/*
 * Sealed logins in trouble: kills, full disks, copied folders, and who looks into the memory of the store process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "login_child.h"
#include "sealed_login.h"

#define CANARY "canary-refresh-token-5e1f"
#define LARGEST_TOKEN 60000

static const uint8_t data_key[DATA_KEY_SIZE] = "the data key of the token, 32 b";
static const uint8_t other_key[DATA_KEY_SIZE] = "the data key of another token..";

static char top[64], state[96], file[160];
static struct store_child store;

#define T(text) {(const uint8_t *)(text), sizeof(text) - 1}
static const struct login_name work = {
    .profile = T("work"), .key = T("tpm"), .issuer = T("https://as.example"), .client_id = T("app"), .jkt = T("thumb")};

/* ---- what the front does ---- */

static void start_with(const struct store_options *options)
{
    struct error err;
    store_child_start(&store, options);
    assert_int_equal(store_child_give_key(&store, "tpm", data_key, &err), STATUS_OK);
}

static void start(void)
{
    start_with(&(struct store_options){.state = state});
}

static void restart(void)
{
    assert_int_equal(store_child_stop(&store), 0);
    start();
}

static size_t read_file(const char *path, uint8_t *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size) : 0;
    (void)close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static bool exists(const char *suffix)
{
    char path[192];
    (void)snprintf(path, sizeof(path), "%s%s", file, suffix);
    return access(path, F_OK) == 0;
}

/* Does any file of the folder hold the text? */
static bool folder_holds(const char *folder, const char *text)
{
    static uint8_t bytes[SEALED_LOGIN_FILE_MAX];
    DIR *d = opendir(folder);
    bool found = false;
    size_t files = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[384];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (e->d_type != DT_REG)
            continue;
        files++;
        found = found || memmem(bytes, read_file(path, bytes, sizeof(bytes)), text, strlen(text)) != NULL;
    }
    (void)closedir(d);
    assert_true(files > 0);
    return found;
}

/* ---- the tests ---- */

/* After a kill at any moment: the newest acknowledged, or the one that was being written. Never an older one, none, or
 * one that does not open. */
static void what_was_acknowledged_survives_kill_9_at_any_moment(void **unused)
{
    const char *full = getenv("DPOP_FULL");
    const unsigned int rounds = full != NULL && strcmp(full, "1") == 0 ? 3000 : 300;
    unsigned int seed = (unsigned int)time(NULL), kills = 0, in_between = 0, acknowledged = 0, first;
    char text[32];
    struct error err;
    (void)unused;
    start();
    (void)snprintf(text, sizeof(text), "%u", 0U);
    login_child_saved(&store, &work, text);
    for (unsigned int n = 1; n <= rounds; n++) {
        unsigned int microseconds = (unsigned int)rand_r(&seed) % 5000;
        first = acknowledged;
        pid_t killer = fork(); /* a process of its own, so that the moment is any */
        if (killer == 0) {
            (void)usleep(microseconds);
            (void)kill(store.pid, SIGKILL);
            _exit(0);
        }
        do
            (void)snprintf(text, sizeof(text), "%u", acknowledged + 1);
        while (login_child_save(&store, &work, text, &err) == STATUS_OK && ++acknowledged > 0);
        assert_int_equal(waitpid(killer, NULL, 0), killer);
        assert_int_equal(store_child_stop(&store), -1);
        start();
        kills++;
        unsigned long now = strtoul(login_child_loaded(&store, &work), NULL, 10);
        assert_in_range(now, acknowledged, acknowledged + 1);
        in_between += now > acknowledged || acknowledged > first ? 1 : 0;
        acknowledged = (unsigned int)now;
    }
    assert_false(exists(".unreadable-1"));
    print_message("%u kills, %u of them during or after a write, %u writes acknowledged\n", kills, in_between,
                  acknowledged);
    assert_true(in_between > rounds / 10);
}

static char *token_of(size_t len)
{
    static char text[LARGEST_TOKEN + 1];
    assert_true(len <= LARGEST_TOKEN);
    memset(text, 'x', len);
    text[len] = '\0';
    return text;
}

static void fill_the_disk(const char *message)
{
    struct login_name more = work;
    struct error err;
    int status = STATUS_OK;
    login_child_saved(&store, &work, token_of(100));
    size_t len = 100;
    while (status == STATUS_OK && len + 5000 < LARGEST_TOKEN) { /* until two of them do not fit */
        status = login_child_save(&store, &work, token_of(len + 5000), &err);
        len += status == STATUS_OK ? 5000 : 0;
    }
    login_child_assert_failed(status, &err, message);
    login_child_assert_failed(login_child_save(&store, &work, token_of(len + 5000), &err), &err, message);
    assert_int_equal(strlen(login_child_loaded(&store, &work)), len);
    more.profile = (struct span)T("more");
    (void)login_child_save(&store, &more, token_of(len + 5000), &err);
    assert_int_equal(strlen(login_child_loaded(&store, &work)), len);
    login_child_saved(&store, &work, token_of(50)); /* what fits is written again */
    assert_int_equal(strlen(login_child_loaded(&store, &work)), 50);
}

static void a_full_disk_is_an_error_and_the_old_login_stays(void **unused)
{
    (void)unused;
    start_with(&(struct store_options){.state = state, .largest_file = 20000}); /* write(2) fails with EFBIG */
    fill_the_disk("File too large");
    restart();
    assert_int_equal(strlen(login_child_loaded(&store, &work)), 50);
    assert_false(exists(".new"));
    assert_int_equal(store_child_stop(&store), 0);
    if (geteuid() != 0)
        return; /* only root can make a disk that is really full */
    start_with(&(struct store_options){.state = state, .small_disk = top});
    fill_the_disk("No space left on device");
}

static void a_copied_folder_yields_nothing_and_nothing_secret_is_on_disk_or_in_the_log(void **unused)
{
    char command[256], copy[96], log[96];
    const char *token;
    struct error err;
    (void)unused;
    (void)snprintf(copy, sizeof(copy), "%s/copy", top);
    (void)snprintf(log, sizeof(log), "%s/log", top);
    start_with(&(struct store_options){.state = state, .log = log});
    login_child_saved(&store, &work, CANARY);
    struct login_name changed = work;
    changed.jkt = (struct span)T("another");
    login_child_saved(&store, &changed, CANARY);
    assert_int_equal(login_child_load(&store, &work, &token, &err), STATUS_LOGIN_REQUIRED);
    assert_int_equal(store_child_stop(&store), 0);
    assert_false(folder_holds(state, "canary"));
    assert_false(folder_holds(state, (const char *)data_key));
    assert_false(folder_holds(state, "as.example"));
    assert_true(folder_holds(top, "unreadable-1")); /* the log says where the first one is */
    assert_false(folder_holds(top, "canary"));
    (void)snprintf(command, sizeof(command), "cp -rp %s %s", state, copy);
    assert_int_equal(system(command), 0);
    store_child_start(&store, &(struct store_options){.state = copy});
    login_child_assert_failed(login_child_load(&store, &changed, &token, &err), &err, "not there yet");
    assert_int_equal(store_child_give_key(&store, "tpm", other_key, &err), STATUS_OK);
    assert_int_equal(login_child_load(&store, &changed, &token, &err), STATUS_LOGIN_REQUIRED);
    assert_int_equal(store_child_give_key(&store, "tpm", data_key, &err), STATUS_OK);
    assert_string_equal(login_child_loaded(&store, &changed), CANARY); /* the folder was whole */
}

/* How often the bytes stand in the writable memory of the store process; the sanitizer's own tables are left out. */
static size_t times_in_memory(const void *bytes, size_t len)
{
    char path[64], line[512];
    size_t times = 0, read_bytes = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)store.pid);
    FILE *maps = fopen(path, "re");
    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)store.pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(maps != NULL && mem >= 0);
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx rw", &from, &to) != 2 || strstr(line, " rw") == NULL || to - from > 64UL << 20)
            continue;
        uint8_t *copy = malloc(to - from);
        assert_non_null(copy);
        ssize_t n = pread(mem, copy, to - from, (off_t)from);
        read_bytes += n > 0 ? (size_t)n : 0;
        const uint8_t *at = copy, *end = copy + (n > 0 ? n : 0);
        while ((at = memmem(at, (size_t)(end - at), bytes, len)) != NULL) {
            times++;
            at++;
        }
        free(copy);
    }
    (void)fclose(maps);
    (void)close(mem);
    assert_true(read_bytes > 4096);
    return times;
}

static void the_store_keeps_no_token_in_memory_and_the_data_key_once(void **unused)
{
    uint8_t key[DATA_KEY_SIZE], random[32], canary[2 * sizeof(random) + 1], public_key[STORE_PUBLIC_SIZE];
    struct error err;
    (void)unused;
    start(); /* what it is to be given is not yet in the memory that it inherits */
    randombytes_buf(key, sizeof(key));
    randombytes_buf(random, sizeof(random));
    (void)sodium_bin2hex((char *)canary, sizeof(canary), random, sizeof(random));
    assert_int_equal(store_child_give_key(&store, "tpm", key, &err), STATUS_OK);
    for (int i = 0; i < 10; i++) {
        login_child_saved(&store, &work, (const char *)canary);
        assert_string_equal(login_child_loaded(&store, &work), (const char *)canary);
    }
    store_child_public_key(&store, public_key); /* the one before is done with only when the next is answered */
    assert_int_equal(times_in_memory(canary, 32), 0);
    assert_int_equal(times_in_memory(key, sizeof(key)), 1);
    assert_int_equal(store_child_give_key(&store, "tpm", data_key, &err), STATUS_OK);
    assert_int_equal(times_in_memory(key, sizeof(key)), 0);
}

static int set_up(void **unused)
{
    char name[SEALED_LOGIN_NAME_SIZE];
    (void)unused;
    store_child_make_folder(top);
    sealed_login_file_name(work.profile, name);
    (void)snprintf(state, sizeof(state), "%s/state", top);
    (void)snprintf(file, sizeof(file), "%s/%s", state, name);
    return sodium_init() < 0 ? -1 : 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    int status = store.pid != 0 ? store_child_stop(&store) : 0;
    return status | store_child_remove_folder(top);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_acknowledged_survives_kill_9_at_any_moment),
        TEST(a_full_disk_is_an_error_and_the_old_login_stays),
        TEST(a_copied_folder_yields_nothing_and_nothing_secret_is_on_disk_or_in_the_log),
        TEST(the_store_keeps_no_token_in_memory_and_the_data_key_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
