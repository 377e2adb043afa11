/* Key files and their passwords as descriptors: what is read, how much of it, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sodium.h>

#include "key_file.h"
#include "key_password.h"
#include "messages.h"

static int file_of(const char *content, size_t len)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), len);
    return fd; /* its offset is at the end */
}

static void the_file_is_read_from_its_begin_and_only_if_it_is_one(void **state)
{
    char *large = calloc(1, LIMIT_KEY_FILE + 1);
    struct secret *s;
    struct error err;
    int fds[2], fd = file_of("abc\n", 4);
    (void)state;
    assert_int_equal(key_file_load(fd, &s, &err), STATUS_OK);
    assert_true(span_is(secret_span(s), "abc\n"));
    secret_free(s);
    (void)close(fd);
    fd = file_of(large, LIMIT_KEY_FILE);
    assert_int_equal(key_file_load(fd, &s, &err), STATUS_OK);
    assert_int_equal(s->len, LIMIT_KEY_FILE);
    secret_free(s);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(key_file_load(fd, &s, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "longer than 65536 bytes"));
    (void)close(fd);
    free(large);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "abc", 3), 3);
    (void)close(fds[1]);
    assert_int_equal(key_file_load(fds[0], &s, &err), STATUS_OK);
    assert_true(span_is(secret_span(s), "abc"));
    secret_free(s);
    (void)close(fds[0]);
    fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(key_file_load(fd, &s, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "neither a regular file nor a pipe"));
    assert_int_equal(key_file_load_password(fd, &s, &err), STATUS_INVALID_ARGUMENT);
    (void)close(fd);
    fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    assert_int_equal(key_file_load(fd, &s, &err), STATUS_INVALID_ARGUMENT);
    (void)close(fd);
}

static void the_password_comes_from_a_file_or_a_pipe_that_ends(void **state)
{
    static const struct {
        const char *given, *taken;
    } passwords[] = {{"secret\n", "secret"}, {"secret", "secret"}, {"secret\n\n", "secret\n"}, {"\n", ""}, {"", ""}};
    char long_one[KEY_PASSWORD_MAX + 2];
    struct secret *s;
    struct error err;
    int fds[2];
    (void)state;
    for (size_t i = 0; i < sizeof(passwords) / sizeof(passwords[0]); i++) {
        int fd = file_of(passwords[i].given, strlen(passwords[i].given));
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(write(fds[1], passwords[i].given, strlen(passwords[i].given)), strlen(passwords[i].given));
        (void)close(fds[1]);
        for (size_t way = 0; way < 2; way++) {
            assert_int_equal(key_file_load_password(way == 0 ? fd : fds[0], &s, &err), STATUS_OK);
            assert_true(span_is(secret_span(s), passwords[i].taken));
            secret_free(s);
        }
        (void)close(fd);
        (void)close(fds[0]);
    }
    memset(long_one, 'x', sizeof(long_one));
    for (size_t len = KEY_PASSWORD_MAX; len <= sizeof(long_one); len++) {
        int fd = file_of(long_one, len);
        enum status status = key_file_load_password(fd, &s, &err);
        assert_int_equal(status, len == KEY_PASSWORD_MAX ? STATUS_OK : STATUS_INVALID_ARGUMENT);
        if (status == STATUS_OK)
            secret_free(s);
        (void)close(fd);
    }
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "never ends", 10), 10);
    assert_int_equal(key_file_load_password(fds[0], &s, &err), STATUS_TIMEOUT);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_is_read_from_its_begin_and_only_if_it_is_one),
        cmocka_unit_test(the_password_comes_from_a_file_or_a_pipe_that_ends),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
