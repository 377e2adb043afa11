/* Secrets: which files are accepted as one, how their text is read, and that nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "secret.h"

#define MAX 16

struct world {
    char folder[32], path[64];
};

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -1;
    strcpy(w->folder, "/tmp/test-secret-XXXXXX");
    if (mkdtemp(w->folder) == NULL)
        return -1;
    (void)snprintf(w->path, sizeof(w->path), "%s/pin", w->folder);
    *state = w;
    return unsetenv("CREDENTIALS_DIRECTORY");
}

static int remove_world(void **state)
{
    struct world *w = *state;
    (void)unlink(w->path);
    int r = rmdir(w->folder);
    free(w);
    return r;
}

static void write_bytes(const struct world *w, const void *bytes, size_t len, mode_t mode)
{
    int fd = open(w->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void write_text(const struct world *w, const char *text, mode_t mode)
{
    write_bytes(w, text, strlen(text), mode);
}

static void assert_read(const struct world *w, const void *bytes, size_t len)
{
    struct secret *s = NULL;
    struct error err;
    if (secret_read(w->path, NULL, "PIN", MAX, &s, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(s->len, len);
    assert_memory_equal(s->data, bytes, len);
    assert_int_equal(s->data[len], 0);
    secret_free(s);
}

static void assert_refused(const char *file, const char *credential, const char *why, const char *next)
{
    struct secret *s = NULL;
    struct error err;
    assert_int_equal(secret_read(file, credential, "PIN of key work", MAX, &s, &err), STATUS_SECRET_UNREADABLE);
    assert_null(s);
    assert_memory_equal(err.message, "PIN of key work: ", strlen("PIN of key work: "));
    if (strstr(err.message, why) == NULL || strstr(err.next, next) == NULL)
        fail_msg("\"%s\", next \"%s\"", err.message, err.next);
}

static void test_a_secret_is_a_copy_with_a_nul_behind_it(void **state)
{
    char text[] = "a\0b";
    struct secret *s = secret_new(span_of(text, 3));
    (void)state;
    assert_non_null(s);
    text[0] = 'x';
    assert_int_equal(secret_span(s).len, 3);
    assert_memory_equal(secret_span(s).data, "a\0b", 4);
    secret_free(s);
    s = secret_new(span_of("", 0));
    assert_non_null(s);
    assert_int_equal(secret_span(s).len, 0);
    secret_free(s);
    secret_free(NULL);
}

static void test_a_file_of_ours_with_mode_0600_or_0400_is_read(void **state)
{
    write_text(*state, "1234", 0600);
    assert_read(*state, "1234", 4);
    write_text(*state, "1234", 0400);
    assert_read(*state, "1234", 4);
}

static void test_one_trailing_newline_is_dropped_and_nothing_else(void **state)
{
    write_text(*state, "1234\n", 0600);
    assert_read(*state, "1234", 4);
    write_text(*state, " 12 34 \n\n", 0600);
    assert_read(*state, " 12 34 \n", 8);
}

static void test_nul_bytes_are_part_of_a_secret(void **state)
{
    write_bytes(*state, "a\0b\n", 4, 0600);
    assert_read(*state, "a\0b", 3);
}

static void test_an_empty_file_and_one_with_a_newline_only_are_refused(void **state)
{
    const struct world *w = *state;
    write_text(w, "", 0600);
    assert_refused(w->path, NULL, "is empty", "");
    write_text(w, "\n", 0600);
    assert_refused(w->path, NULL, "is empty", "");
}

static void test_a_file_of_the_most_bytes_is_read_and_a_longer_one_is_refused(void **state)
{
    const struct world *w = *state;
    write_text(w, "0123456789abcdef", 0600);
    assert_read(w, "0123456789abcdef", MAX);
    write_text(w, "0123456789abcdefg", 0600);
    assert_refused(w->path, NULL, "is longer than 16 bytes", "");
    write_text(w, "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz", 0600);
    assert_refused(w->path, NULL, "is longer than 16 bytes", "");
}

static void test_a_file_that_others_may_access_is_refused(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0660, 0601, 0610, 0602, 0644, 0666, 0777};
    const struct world *w = *state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        write_text(w, "1234", modes[i]);
        assert_refused(w->path, NULL, "others may access", "chmod 600");
    }
}

/* Root gives the file away; another user meets root's, which are not its own. */
static void test_a_file_of_another_user_is_refused(void **state)
{
    const struct world *w = *state;
    if (geteuid() == 0) {
        write_text(w, "1234", 0600);
        assert_int_equal(chown(w->path, 65534, 65534), 0);
        assert_refused(w->path, NULL, "belongs to uid 65534", "chown");
    } else {
        assert_refused("/etc/passwd", NULL, "belongs to uid 0", "chown");
    }
}

static void test_a_symbolic_link_is_judged_by_the_file_behind_it(void **state)
{
    const struct world *w = *state;
    char target[80];
    (void)snprintf(target, sizeof(target), "%s.target", w->path);
    write_text(w, "1234", 0600);
    assert_int_equal(rename(w->path, target), 0);
    assert_int_equal(symlink(target, w->path), 0);
    assert_read(w, "1234", 4);
    assert_int_equal(chmod(target, 0644), 0);
    assert_refused(w->path, NULL, "others may access", "chmod 600");
    assert_int_equal(unlink(target), 0);
}

static void test_a_missing_file_is_named(void **state)
{
    const struct world *w = *state;
    assert_refused(w->path, NULL, w->path, "make the file");
}

static void test_a_fifo_or_a_folder_is_refused_at_once(void **state)
{
    const struct world *w = *state;
    assert_refused(w->folder, NULL, "is not a regular file", "");
    assert_int_equal(mkfifo(w->path, 0600), 0);
    assert_refused(w->path, NULL, "is not a regular file", "");
}

static void test_a_credential_is_read_from_systemds_folder_whatever_its_mode(void **state)
{
    const struct world *w = *state;
    struct secret *s = NULL;
    struct error err;
    write_text(w, "hunter2\n", 0440);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", w->folder, 1), 0);
    assert_int_equal(secret_read(NULL, "pin", "PIN", MAX, &s, &err), STATUS_OK);
    assert_true(span_is(secret_span(s), "hunter2"));
    secret_free(s);
    assert_refused(NULL, "other", "other", "");
}

static void test_a_credential_name_cannot_leave_the_folder(void **state)
{
    const struct world *w = *state;
    char name[PATH_MAX];
    struct secret *s = NULL;
    struct error err;
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", w->folder, 1), 0);
    assert_refused(NULL, "../pin", "is no credential name", "");
    assert_refused(NULL, "/etc/passwd", "is no credential name", "");
    assert_refused(NULL, "..", "is not a regular file", "");
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(secret_read(NULL, name, "PIN", MAX, &s, &err), STATUS_SECRET_UNREADABLE);
    assert_null(s);
}

static void test_without_systemd_there_are_no_credentials(void **state)
{
    (void)state;
    assert_refused(NULL, "pin", "systemd passed no credentials", "LoadCredential");
}

static enum status read_descriptor(int fd, size_t max, const char *expected)
{
    struct secret *s = NULL;
    struct error err;
    enum status status = secret_read_descriptor(fd, "PIN", max, true, &s, &err);
    assert_int_equal(status == STATUS_OK, s != NULL);
    if (s != NULL && expected != NULL)
        assert_string_equal(s->data, expected);
    secret_free(s);
    return status;
}

static void test_a_descriptor_gives_a_pipes_or_a_files_text(void **state)
{
    const struct world *w = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "1234\n", 5), 5);
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(read_descriptor(ends[0], 4, "1234"), STATUS_OK);
    assert_int_equal(close(ends[0]), 0);
    write_text(w, "12\n34\n\n", 0644);
    int fd = open(w->path, O_RDONLY);
    assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
    assert_int_equal(read_descriptor(fd, 6, "12\n34\n"), STATUS_OK); /* from its begin; one newline goes */
    assert_int_equal(read_descriptor(fd, 5, NULL), STATUS_INVALID_ARGUMENT);
    assert_int_equal(close(fd), 0);
    write_text(w, "", 0600);
    fd = open(w->path, O_RDONLY);
    assert_int_equal(read_descriptor(fd, 5, ""), STATUS_OK);
    assert_int_equal(close(fd), 0);
}

static void test_a_descriptor_of_another_kind_or_one_that_never_ends_is_refused(void **state)
{
    const struct world *w = *state;
    int ends[2];
    write_text(w, "1234", 0600);
    int fd = open(w->path, O_WRONLY);
    assert_int_equal(read_descriptor(fd, 9, NULL), STATUS_INVALID_ARGUMENT);
    assert_int_equal(close(fd), 0);
    fd = open("/dev/zero", O_RDONLY);
    assert_int_equal(read_descriptor(fd, 9, NULL), STATUS_INVALID_ARGUMENT);
    assert_int_equal(close(fd), 0);
    assert_int_equal(read_descriptor(-1, 9, NULL), STATUS_INVALID_ARGUMENT);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "1234", 4), 4);
    assert_int_equal(read_descriptor(ends[0], 9, NULL), STATUS_TIMEOUT);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, make_world, remove_world)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_secret_is_a_copy_with_a_nul_behind_it),
        TEST(test_a_file_of_ours_with_mode_0600_or_0400_is_read),
        TEST(test_one_trailing_newline_is_dropped_and_nothing_else),
        TEST(test_nul_bytes_are_part_of_a_secret),
        TEST(test_an_empty_file_and_one_with_a_newline_only_are_refused),
        TEST(test_a_file_of_the_most_bytes_is_read_and_a_longer_one_is_refused),
        TEST(test_a_file_that_others_may_access_is_refused),
        TEST(test_a_file_of_another_user_is_refused),
        TEST(test_a_symbolic_link_is_judged_by_the_file_behind_it),
        TEST(test_a_missing_file_is_named),
        TEST(test_a_fifo_or_a_folder_is_refused_at_once),
        TEST(test_a_credential_is_read_from_systemds_folder_whatever_its_mode),
        TEST(test_a_credential_name_cannot_leave_the_folder),
        TEST(test_without_systemd_there_are_no_credentials),
        TEST(test_a_descriptor_gives_a_pipes_or_a_files_text),
        TEST(test_a_descriptor_of_another_kind_or_one_that_never_ends_is_refused),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
