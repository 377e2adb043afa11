/* Trace files, as the store process writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_child.h"
#include "trace_files.h"

static char top[64], path[96], rotated[112], log_path[96];
static char work[] = "work", plain[] = "plain";
static struct profile_config profiles[2];
static struct store_child store;

static int set_up(void **unused)
{
    (void)unused;
    store_child_make_folder(top);
    (void)snprintf(path, sizeof(path), "%s/trace", top);
    (void)snprintf(rotated, sizeof(rotated), "%s/trace.1", top);
    (void)snprintf(log_path, sizeof(log_path), "%s/log", top);
    profiles[0] = (struct profile_config){.name = work, .trace_file = path};
    profiles[1] = (struct profile_config){.name = plain};
    store_child_start(&store, &(struct store_options){.log = log_path, .profiles = profiles, .profile_count = 2});
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    int status = store.pid != 0 ? store_child_stop(&store) : 0;
    return status | store_child_remove_folder(top);
}

static int write_trace(const char *profile, const char *text, struct error *err)
{
    struct frame frame;
    const struct trace_write m = {.profile = span_text(profile), .text = span_text(text)};
    return store_child_ask(&store, INTERNAL_TRACE_WRITE, &message_trace_write, &m, &frame, err);
}

static void written(const char *text)
{
    struct error err;
    int status = write_trace("work", text, &err);
    if (status != STATUS_OK)
        fail_msg("%d: %s", status, status > 0 ? err.message : "the process ended");
}

static void refused(const char *message)
{
    struct error err;
    assert_int_equal(write_trace("work", "lost\n", &err), STATUS_STORE_FAILED);
    if (strstr(err.message, message) == NULL)
        fail_msg("%s", err.message);
    assert_int_not_equal(err.next[0], '\0');
}

static off_t size_of(const char *file)
{
    struct stat st;
    return lstat(file, &st) == 0 ? st.st_size : -1;
}

static char *content(const char *file)
{
    static char text[4096];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    text[n > 0 ? n : 0] = '\0';
    (void)close(fd);
    return text;
}

static size_t count(const char *text, const char *word)
{
    size_t n = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        n++;
    return n;
}

static void text_is_appended_to_a_file_of_our_own(void **unused)
{
    struct stat st;
    (void)unused;
    written("one\n");
    written("two\n");
    assert_string_equal(content(path), "one\ntwo\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(unlink(path), 0); /* somebody rotates it in their own way */
    written("three\n");
    assert_string_equal(content(path), "three\n");
}

static void a_profile_without_a_trace_file_has_none(void **unused)
{
    struct error err;
    (void)unused;
    assert_int_equal(write_trace("plain", "x\n", &err), STATUS_UNKNOWN_PROFILE);
    assert_int_equal(write_trace("nobody", "x\n", &err), STATUS_UNKNOWN_PROFILE);
    assert_int_equal(size_of(path), -1);
}

static void a_file_that_others_may_access_is_refused_and_this_is_logged_once(void **unused)
{
    (void)unused;
    written("one\n");
    assert_int_equal(chmod(path, 0640), 0);
    for (int i = 0; i < 5; i++)
        refused("mode 0640");
    assert_int_equal(count(content(log_path), "mode 0640"), 1);
    assert_int_equal(chmod(path, 0600), 0);
    written("two\n");
    assert_string_equal(content(path), "one\ntwo\n");
    assert_int_equal(chmod(path, 0602), 0);
    refused("mode 0602");
    refused("mode 0602");
    assert_int_equal(count(content(log_path), "mode 0602"), 1);
    assert_string_equal(content(path), "one\ntwo\n");
}

static void links_folders_pipes_and_files_of_others_are_refused(void **unused)
{
    char victim[96];
    (void)unused;
    (void)snprintf(victim, sizeof(victim), "%s/victim", top);
    assert_int_equal(symlink(victim, path), 0);
    refused("Too many levels of symbolic links");
    assert_int_equal(size_of(victim), -1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    refused("Is a directory");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(chown(path, geteuid() == 0 ? STORE_CHILD_NOBODY : geteuid(), (gid_t)-1), 0);
    refused("No such device or address");
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    refused("not a regular file");
    (void)close(reader);
    assert_int_equal(unlink(path), 0);
    if (geteuid() == 0) { /* a file of root's, whom the store is not */
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(fchmod(fd, 0666), 0);
        (void)close(fd);
        refused("belongs to uid 0");
        assert_int_equal(size_of(path), 0);
        assert_int_equal(unlink(path), 0);
    }
    written("healed\n");
    assert_string_equal(content(path), "healed\n");
}

static void a_folder_that_is_missing_is_said_and_used_when_it_is_there(void **unused)
{
    char deep[80], file[96];
    (void)unused;
    (void)snprintf(deep, sizeof(deep), "%s/deep", top);
    (void)snprintf(file, sizeof(file), "%s/deep/trace", top);
    assert_int_equal(store_child_stop(&store), 0);
    profiles[0].trace_file = file;
    store_child_start(&store, &(struct store_options){.profiles = profiles, .profile_count = 2});
    refused("No such file or directory");
    assert_int_equal(mkdir(deep, 0700), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(deep, STORE_CHILD_NOBODY, STORE_CHILD_NOBODY), 0);
    written("here\n");
    assert_string_equal(content(file), "here\n");
}

static void a_full_file_is_renamed_and_one_old_one_is_kept(void **unused)
{
    const size_t size = 60000;
    char *text = malloc(size + 1);
    (void)unused;
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    written("first\n");
    for (int round = 0; round < 2; round++) {
        while (size_of(path) + (off_t)size <= TRACE_FILES_MAX)
            written(text);
        off_t full = size_of(path);
        written(round == 0 ? text : "short\n"); /* the second one still fits */
        assert_int_equal(size_of(path), round == 0 ? (off_t)size : full + 6);
    }
    assert_int_equal(strncmp(content(rotated), "first\n", 6), 0);
    written(text);
    assert_int_equal(size_of(path), (off_t)size);
    assert_int_equal(strncmp(content(rotated), "xxxxxx", 6), 0); /* over the one before */
    assert_true(size_of(rotated) <= TRACE_FILES_MAX);
    free(text);
}

static void a_full_disk_is_an_error_and_the_store_goes_on(void **unused)
{
    char text[700];
    struct error err;
    (void)unused;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(store_child_stop(&store), 0);
    store_child_start(&store, &(struct store_options){.largest_file = 1024, .profiles = profiles, .profile_count = 2});
    written(text);
    assert_int_equal(write_trace("work", text, &err), STATUS_STORE_FAILED);
    assert_non_null(strstr(err.message, "File too large"));
    assert_int_equal(truncate(path, 0), 0);
    written(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_is_appended_to_a_file_of_our_own),
        TEST(a_profile_without_a_trace_file_has_none),
        TEST(a_file_that_others_may_access_is_refused_and_this_is_logged_once),
        TEST(links_folders_pipes_and_files_of_others_are_refused),
        TEST(a_folder_that_is_missing_is_said_and_used_when_it_is_there),
        TEST(a_full_file_is_renamed_and_one_old_one_is_kept),
        TEST(a_full_disk_is_an_error_and_the_store_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
