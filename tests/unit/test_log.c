/* The log: which lines are written, what they begin with, and that a text from a server cannot forge one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

static int own_stderr, capture;
static char text[65536];

static int open_log(void **state)
{
    (void)state;
    (void)unsetenv("JOURNAL_STREAM");
    own_stderr = dup(STDERR_FILENO);
    capture = memfd_create("log", 0);
    return own_stderr >= 0 && capture >= 0 && dup2(capture, STDERR_FILENO) == STDERR_FILENO ? 0 : -1;
}

static int close_log(void **state)
{
    (void)state;
    int r = dup2(own_stderr, STDERR_FILENO);
    (void)close(own_stderr);
    (void)close(capture);
    return r == STDERR_FILENO ? 0 : -1;
}

static const char *logged(void)
{
    ssize_t n = pread(capture, text, sizeof(text) - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static void test_a_line_names_the_program_the_role_and_the_level(void **state)
{
    (void)state;
    log_open("key work", LOG_LEVEL_DEBUG);
    log_error("one %d", 1);
    log_warning("two");
    log_info("three");
    log_debug("four");
    assert_string_equal(logged(), "dpop-agent key work: error: one 1\n"
                                  "dpop-agent key work: warning: two\n"
                                  "dpop-agent key work: info: three\n"
                                  "dpop-agent key work: debug: four\n");
}

static void test_lines_above_the_level_are_not_written(void **state)
{
    (void)state;
    log_open("net", LOG_LEVEL_WARNING);
    log_error("a");
    log_warning("b");
    log_info("c");
    log_debug("d");
    assert_string_equal(logged(), "dpop-agent net: error: a\ndpop-agent net: warning: b\n");
}

static void test_for_the_journal_a_line_begins_with_its_priority(void **state)
{
    (void)state;
    assert_int_equal(setenv("JOURNAL_STREAM", "8:1", 1), 0);
    log_open("front", LOG_LEVEL_DEBUG);
    log_error("a");
    log_warning("b");
    log_info("c");
    log_debug("d");
    assert_string_equal(logged(), "<3>front: a\n<4>front: b\n<6>front: c\n<7>front: d\n");
}

static void test_control_characters_and_line_ends_cannot_forge_a_line(void **state)
{
    (void)state;
    log_open("net", LOG_LEVEL_INFO);
    log_info("says %s", "x\ndpop-agent front: info: forged\r\x1b[31m\x7f\t");
    assert_string_equal(logged(), "dpop-agent net: info: says x?dpop-agent front: info: forged??[31m??\n");
}

static void test_invalid_utf_8_is_replaced_and_valid_is_kept(void **state)
{
    (void)state;
    log_open("net", LOG_LEVEL_INFO);
    log_info("%s", "\xc3\xa4\xff\xed\xa0\x80\xe2\x82\xac");
    assert_string_equal(logged(), "dpop-agent net: info: \xc3\xa4????\xe2\x82\xac\n");
}

static void test_a_long_text_is_cut_to_one_line_that_ends(void **state)
{
    char *longest = malloc(20001);
    (void)state;
    assert_non_null(longest);
    memset(longest, 'x', 20000);
    longest[20000] = '\0';
    log_open("store", LOG_LEVEL_INFO);
    log_info("%s", longest);
    log_info("next");
    const char *seen = logged(), *end = strchr(seen, '\n');
    assert_non_null(end);
    assert_in_range(end - seen, 1024, 2047);
    assert_string_equal(end + 1, "dpop-agent store: info: next\n");
    free(longest);
}

static void test_a_text_that_is_cut_in_a_character_stays_utf_8(void **state)
{
    char euros[3 * 3000 + 1];
    (void)state;
    for (size_t i = 0; i < 3000; i++)
        memcpy(euros + 3 * i, "\xe2\x82\xac", 3);
    euros[sizeof(euros) - 1] = '\0';
    log_open("store", LOG_LEVEL_INFO);
    for (size_t i = 0; i < 3; i++)
        log_info("%.*s%s", (int)i, "ab", euros);
    const char *seen = logged();
    for (const char *c = seen; *c != '\0';) {
        if (strncmp(c, "\xe2\x82\xac", 3) == 0)
            c += 3;
        else
            assert_true((unsigned char)*c++ < 0x80);
    }
}

static void test_a_role_is_cut_and_cleaned_too(void **state)
{
    char role[200];
    (void)state;
    memset(role, 'r', sizeof(role));
    role[0] = '\n';
    role[sizeof(role) - 1] = '\0';
    log_open(role, LOG_LEVEL_INFO);
    log_info("x");
    (void)logged();
    assert_null(memchr(text, '\n', strlen(text) - 1));
    assert_memory_equal(text, "dpop-agent ?rrr", 15);
}

static void test_a_log_that_is_full_or_gone_stops_nobody(void **state)
{
    int ends[2];
    (void)state;
    log_open("net", LOG_LEVEL_INFO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(close(ends[1]), 0);
    assert_int_not_equal(signal(SIGPIPE, SIG_IGN), SIG_ERR); /* as main does */
    for (int i = 0; i < 10000; i++)
        log_info("nobody reads this line, and there are many more of them than a pipe has room for");
    assert_int_equal(close(ends[0]), 0);
    log_info("gone");
    assert_int_equal(close(STDERR_FILENO), 0);
    log_info("closed");
}

static void test_every_level_has_a_name_that_reads_back(void **state)
{
    enum log_level level;
    (void)state;
    for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
        assert_int_equal(log_level_from_text(span_text(log_level_text((enum log_level)i)), &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_from_text(span_text("trace"), &level), -1);
    assert_int_equal(log_level_from_text(span_text("Info"), &level), -1);
    assert_int_equal(log_level_from_text(span_text(""), &level), -1);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_log, close_log)
    const struct CMUnitTest tests[] = {
        TEST(test_a_line_names_the_program_the_role_and_the_level),
        TEST(test_lines_above_the_level_are_not_written),
        TEST(test_for_the_journal_a_line_begins_with_its_priority),
        TEST(test_control_characters_and_line_ends_cannot_forge_a_line),
        TEST(test_invalid_utf_8_is_replaced_and_valid_is_kept),
        TEST(test_a_long_text_is_cut_to_one_line_that_ends),
        TEST(test_a_text_that_is_cut_in_a_character_stays_utf_8),
        TEST(test_a_role_is_cut_and_cleaned_too),
        TEST(test_a_log_that_is_full_or_gone_stops_nobody),
        cmocka_unit_test(test_every_level_has_a_name_that_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
