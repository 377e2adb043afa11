/* The configuration file: who may own and write it, how large it may be, and what is no file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

struct file_world {
    char folder[32], path[64];
};

static int make_world(void **state)
{
    struct file_world *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -1;
    strcpy(w->folder, "/tmp/test-config-XXXXXX");
    if (mkdtemp(w->folder) == NULL)
        return -1;
    (void)snprintf(w->path, sizeof(w->path), "%s/agent.conf", w->folder);
    FILE *f = fopen(w->path, "w");
    if (f == NULL || fputs("[agent]\nlog-level = debug\n", f) < 0 || fclose(f) != 0)
        return -1;
    *state = w;
    return chmod(w->path, 0644);
}

static int remove_world(void **state)
{
    struct file_world *w = *state;
    (void)unlink(w->path);
    (void)rmdir(w->path);
    int r = rmdir(w->folder);
    free(w);
    return r;
}

static enum status read_file(const struct file_world *w, struct error *err)
{
    struct config *c = NULL;
    enum status status = config_read_file(w->path, &c, err);
    assert_true((status == STATUS_OK) == (c != NULL));
    config_free(c);
    return status;
}

static void test_a_file_that_others_may_read_but_not_write_is_read(void **state)
{
    struct file_world *w = *state;
    struct error err;
    assert_int_equal(read_file(w, &err), STATUS_OK);
    assert_int_equal(chmod(w->path, 0400), 0);
    assert_int_equal(read_file(w, &err), STATUS_OK);
}

static void test_a_file_that_others_may_write_is_refused(void **state)
{
    static const mode_t modes[] = {0666, 0664, 0646, 0622};
    struct file_world *w = *state;
    struct error err;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(chmod(w->path, modes[i]), 0);
        assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
        assert_non_null(strstr(err.message, w->path));
        assert_non_null(strstr(err.next, "chmod"));
    }
}

/* Only root can give files away; another user sees the same rule with a file of root's, which is allowed. */
static void test_a_file_of_another_user_is_refused_and_one_of_roots_is_read(void **state)
{
    struct file_world *w = *state;
    struct config *c = NULL;
    struct error err;
    if (geteuid() == 0) {
        assert_int_equal(chown(w->path, 65534, 65534), 0);
        assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
        assert_non_null(strstr(err.message, "uid 65534"));
    } else {
        assert_int_not_equal(config_read_file("/etc/passwd", &c, &err), STATUS_OK);
        assert_null(strstr(err.message, "belongs to"));
    }
}

static void test_a_missing_file_means_not_configured(void **state)
{
    struct file_world *w = *state;
    struct error err;
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(read_file(w, &err), STATUS_NOT_CONFIGURED);
    assert_non_null(strstr(err.message, w->path));
    assert_non_null(strstr(err.next, "dpop init"));
}

static void test_a_folder_or_a_fifo_is_no_configuration_and_blocks_nobody(void **state)
{
    struct file_world *w = *state;
    struct error err;
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
    assert_int_equal(rmdir(w->path), 0);
    assert_int_equal(mkfifo(w->path, 0600), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
    assert_non_null(strstr(err.message, "regular file"));
}

static void test_a_file_over_4_mib_is_refused_and_one_of_4_mib_is_read(void **state)
{
    struct file_world *w = *state;
    struct error err;
    FILE *f = fopen(w->path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < CONFIG_MAX_FILE; i += 64)
        assert_true(fprintf(f, "#%62s\n", "") == 64);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(read_file(w, &err), STATUS_OK);
    assert_int_equal(truncate(w->path, CONFIG_MAX_FILE + 1), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
}

static void test_an_error_in_a_file_names_the_file_and_the_line(void **state)
{
    struct file_world *w = *state;
    struct error err;
    char expected[96];
    FILE *f = fopen(w->path, "a");
    assert_non_null(f);
    assert_true(fputs("colour = red\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(read_file(w, &err), STATUS_CONFIGURATION);
    (void)snprintf(expected, sizeof(expected), "%s:3: ", w->path);
    assert_memory_equal(err.message, expected, strlen(expected));
}

int main(void)
{
#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, make_world, remove_world)
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_a_file_that_others_may_read_but_not_write_is_read),
        FILE_TEST(test_a_file_that_others_may_write_is_refused),
        FILE_TEST(test_a_file_of_another_user_is_refused_and_one_of_roots_is_read),
        FILE_TEST(test_a_missing_file_means_not_configured),
        FILE_TEST(test_a_folder_or_a_fifo_is_no_configuration_and_blocks_nobody),
        FILE_TEST(test_a_file_over_4_mib_is_refused_and_one_of_4_mib_is_read),
        FILE_TEST(test_an_error_in_a_file_names_the_file_and_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
