/*
 * Sealed logins, as the front sees them: a login opens only for whom it was written, and none is lost without a word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "login_child.h"
#include "sealed_login.h"

#define CANARY "canary-refresh-token-5e1f"

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

static void assert_unreadable(const struct login_name *whose, const char *why)
{
    struct error err;
    const char *token;
    char command[128];
    (void)snprintf(command, sizeof(command), "dpop login %.*s", (int)whose->profile.len, whose->profile.data);
    assert_int_equal(login_child_load(&store, whose, &token, &err), STATUS_LOGIN_REQUIRED);
    if (strstr(err.message, why) == NULL || strstr(err.next, command) == NULL)
        fail_msg("%s; %s", err.message, err.next);
}

static void delete_login(const struct login_name *whose)
{
    struct frame frame;
    struct error err;
    int status = store_child_ask(&store, INTERNAL_LOGIN_DELETE, &message_login_name, whose, &frame, &err);
    assert_int_equal(status, STATUS_OK);
}

/* ---- what an observer of the disk sees ---- */

static size_t read_file(const char *path, uint8_t *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size) : 0;
    (void)close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    if (geteuid() == 0)
        assert_int_equal(fchown(fd, STORE_CHILD_NOBODY, STORE_CHILD_NOBODY), 0);
    (void)close(fd);
}

static bool exists(const char *suffix)
{
    char path[192];
    (void)snprintf(path, sizeof(path), "%s%s", file, suffix);
    return access(path, F_OK) == 0;
}

/* ---- the tests ---- */

static void a_login_is_there_after_a_restart_once_the_data_key_is(void **unused)
{
    struct stat st;
    struct error err;
    const char *token;
    (void)unused;
    start();
    assert_string_equal(login_child_loaded(&store, &work), "");
    login_child_saved(&store, &work, "one");
    login_child_saved(&store, &work, "two");
    assert_string_equal(login_child_loaded(&store, &work), "two");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(store_child_stop(&store), 0);
    store_child_start(&store, &(struct store_options){.state = state});
    login_child_assert_failed(login_child_load(&store, &work, &token, &err), &err, "data key of key \"tpm\" is not there yet");
    login_child_assert_failed(login_child_save(&store, &work, "three", &err), &err, "not there yet");
    assert_int_equal(store_child_give_key(&store, "other", data_key, &err), STATUS_OK);
    login_child_assert_failed(login_child_load(&store, &work, &token, &err), &err, "not there yet");
    assert_int_equal(store_child_give_key(&store, "tpm", data_key, &err), STATUS_OK);
    assert_string_equal(login_child_loaded(&store, &work), "two");
    assert_false(exists(".unreadable-1"));
}

static void a_login_opens_only_for_its_own_profile_issuer_client_key_and_token(void **unused)
{
    const struct span other = T("other"), none = {NULL, 0};
    struct login_name wrong[] = {work, work, work, work};
    char copy[160], name[SEALED_LOGIN_NAME_SIZE];
    uint8_t bytes[1024];
    struct error err;
    (void)unused;
    start();
    login_child_saved(&store, &work, CANARY);
    wrong[0].issuer = other;
    wrong[1].client_id = other;
    wrong[2].jkt = other;
    wrong[3].issuer = none;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_unreadable(&wrong[i], "another than at the login");
    struct login_name profile = work; /* another profile has another file; as a copy it does not open */
    profile.profile = other;
    assert_string_equal(login_child_loaded(&store, &profile), "");
    sealed_login_file_name(other, name);
    (void)snprintf(copy, sizeof(copy), "%s/%s", state, name);
    write_file(copy, bytes, read_file(file, bytes, sizeof(bytes)));
    assert_unreadable(&profile, "another than at the login");
    struct login_name shifted = work; /* the parts cannot be shifted against each other */
    shifted.issuer = (struct span)T("https://as.examplea");
    shifted.client_id = (struct span)T("pp");
    assert_unreadable(&shifted, "another than at the login");
    assert_int_equal(store_child_give_key(&store, "tpm", other_key, &err), STATUS_OK);
    assert_unreadable(&work, "another than at the login");
    assert_int_equal(store_child_give_key(&store, "tpm", data_key, &err), STATUS_OK);
    assert_string_equal(login_child_loaded(&store, &work), CANARY);
}

static void a_file_that_was_changed_anywhere_or_cut_anywhere_does_not_open(void **unused)
{
    uint8_t good[1024], bad[1024];
    (void)unused;
    start();
    login_child_saved(&store, &work, "a token");
    size_t len = read_file(file, good, sizeof(good));
    assert_in_range(len, 60, 200);
    for (size_t i = 0; i < len; i++) {
        memcpy(bad, good, len);
        bad[i] ^= (uint8_t)(1U << (i % 8));
        write_file(file, bad, len);
        assert_unreadable(&work, "does not open");
        write_file(file, good, i);
        assert_unreadable(&work, "does not open");
    }
    memcpy(bad, good, len);
    bad[len] = 0;
    write_file(file, bad, len + 1);
    assert_unreadable(&work, "does not open");
    write_file(file, good, len);
    assert_string_equal(login_child_loaded(&store, &work), "a token");
}

static void what_does_not_open_is_kept_aside_before_it_is_written_over(void **unused)
{
    static const char *const suffixes[] = {".unreadable-1", ".unreadable-2", ".unreadable-3"};
    uint8_t first[1024], bytes[1024];
    char path[192];
    (void)unused;
    start();
    login_child_saved(&store, &work, "the first");
    size_t len = read_file(file, first, sizeof(first));
    struct login_name changed = work;
    changed.client_id = (struct span)T("new-client");
    login_child_saved(&store, &changed, "the second");
    assert_string_equal(login_child_loaded(&store, &changed), "the second");
    (void)snprintf(path, sizeof(path), "%s%s", file, suffixes[0]);
    assert_int_equal(read_file(path, bytes, sizeof(bytes)), len);
    assert_memory_equal(bytes, first, len);
    write_file(file, first, len); /* as its owner would put it back, with the old configuration */
    assert_string_equal(login_child_loaded(&store, &work), "the first");
    for (uint8_t i = 0; i < 4; i++) { /* "0" to "3": two find a number, then the oldest go */
        write_file(file, &(uint8_t){(uint8_t)('0' + i)}, 1);
        login_child_saved(&store, &work, "again");
    }
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s%s", file, suffixes[i]);
        assert_int_equal(read_file(path, bytes, sizeof(bytes)), 1);
        assert_int_equal(bytes[0], '1' + i);
    }
    assert_false(exists(".unreadable-4"));
    login_child_saved(&store, &work, "what opens is replaced");
    (void)snprintf(path, sizeof(path), "%s%s", file, suffixes[2]);
    assert_int_equal(read_file(path, bytes, sizeof(bytes)), 1);
    restart();
    assert_string_equal(login_child_loaded(&store, &work), "what opens is replaced");
}

static void a_file_that_others_may_access_or_that_is_none_is_not_touched(void **unused)
{
    struct error err;
    const char *token;
    (void)unused;
    start();
    login_child_saved(&store, &work, "one");
    assert_int_equal(chmod(file, 0640), 0);
    login_child_assert_failed(login_child_load(&store, &work, &token, &err), &err, "mode 0640");
    login_child_assert_failed(login_child_save(&store, &work, "two", &err), &err, "mode 0640");
    assert_int_equal(chmod(file, 0600), 0);
    assert_string_equal(login_child_loaded(&store, &work), "one");
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink("/etc/passwd", file), 0);
    login_child_assert_failed(login_child_load(&store, &work, &token, &err), &err, "symbolic links");
    login_child_assert_failed(login_child_save(&store, &work, "two", &err), &err, "symbolic links");
    assert_int_equal(unlink(file), 0);
    static uint8_t huge[SEALED_LOGIN_FILE_MAX + 1];
    write_file(file, huge, sizeof(huge));
    login_child_assert_failed(login_child_load(&store, &work, &token, &err), &err, "bytes or more");
    assert_int_equal(unlink(file), 0);
    login_child_saved(&store, &work, "three");
    assert_string_equal(login_child_loaded(&store, &work), "three");
}

static void a_deleted_login_is_overwritten_and_stays_deleted(void **unused)
{
    char keep[192], temporary[192];
    uint8_t bytes[1024];
    (void)unused;
    start();
    delete_login(&work); /* there is none */
    login_child_saved(&store, &work, "one");
    (void)snprintf(keep, sizeof(keep), "%s/keep", top);
    (void)snprintf(temporary, sizeof(temporary), "%s.new", file);
    assert_int_equal(link(file, keep), 0);
    write_file(temporary, (const uint8_t *)"left by a crash", 15);
    assert_int_equal(store_child_stop(&store), 0);
    store_child_start(&store, &(struct store_options){.state = state});
    delete_login(&work); /* even without the data key */
    assert_false(exists("") || exists(".new"));
    size_t len = read_file(keep, bytes, sizeof(bytes));
    assert_in_range(len, 60, 200);
    assert_true(sodium_is_zero(bytes, len));
    restart();
    assert_string_equal(login_child_loaded(&store, &work), "");
}

static void requests_that_make_no_sense_are_refused(void **unused)
{
    uint8_t sealed[DATA_KEY_SEALED_SIZE], public_key[STORE_PUBLIC_SIZE], again[STORE_PUBLIC_SIZE];
    struct store_key key = {.key = T("tpm"), .sealed = {sealed, sizeof(sealed)}};
    struct login_save save = {.profile = work.profile, .key = work.key, .issuer = work.issuer,
                              .client_id = work.client_id, .jkt = work.jkt, .record = T("no record")};
    struct frame frame;
    struct error err;
    (void)unused;
    start();
    store_child_public_key(&store, public_key);
    assert_int_equal(crypto_box_seal(sealed, data_key, sizeof(data_key), public_key), 0);
    sealed[60] ^= 1;
    login_child_assert_failed(store_child_ask(&store, INTERNAL_STORE_KEY, &message_store_key, &key, &frame, &err), &err,
                  "not sealed for this store process");
    key.sealed.len--;
    assert_int_equal(store_child_ask(&store, INTERNAL_STORE_KEY, &message_store_key, &key, &frame, &err),
                     STATUS_MALFORMED);
    assert_int_equal(store_child_ask(&store, INTERNAL_LOGIN_SAVE, &message_login_save, &save, &frame, &err),
                     STATUS_MALFORMED);
    assert_int_equal(store_child_ask(&store, INTERNAL_LOGIN_LOAD, &message_empty, &(struct empty_message){0}, &frame,
                                     &err), STATUS_MALFORMED);
    login_child_saved(&store, &work, "one"); /* the good data key is still there */
    restart();
    store_child_public_key(&store, again);
    assert_memory_not_equal(public_key, again, sizeof(again)); /* each process has its own */
    sealed[60] ^= 1;
    key.sealed.len++;
    login_child_assert_failed(store_child_ask(&store, INTERNAL_STORE_KEY, &message_store_key, &key, &frame, &err), &err,
                  "not sealed for this store process");
    assert_string_equal(login_child_loaded(&store, &work), "one");
}

static void many_profiles_have_a_file_each(void **unused)
{
    char names[50][32], token[32];
    struct login_name whose = work;
    (void)unused;
    start();
    for (unsigned int i = 0; i < 50; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "profile-%u", i);
        whose.profile = span_text(names[i]);
        login_child_saved(&store, &whose, names[i]);
    }
    restart();
    for (unsigned int i = 0; i < 50; i++) {
        whose.profile = span_text(names[i]);
        (void)snprintf(token, sizeof(token), "profile-%u", i);
        assert_string_equal(login_child_loaded(&store, &whose), token);
    }
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
        TEST(a_login_is_there_after_a_restart_once_the_data_key_is),
        TEST(a_login_opens_only_for_its_own_profile_issuer_client_key_and_token),
        TEST(a_file_that_was_changed_anywhere_or_cut_anywhere_does_not_open),
        TEST(what_does_not_open_is_kept_aside_before_it_is_written_over),
        TEST(a_file_that_others_may_access_or_that_is_none_is_not_touched),
        TEST(a_deleted_login_is_overwritten_and_stays_deleted),
        TEST(requests_that_make_no_sense_are_refused),
        TEST(many_profiles_have_a_file_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
