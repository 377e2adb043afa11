/* The syntax of the configuration: what is a section, an option, a comment, and which lines are wrong, with their number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ini.h"

static struct ini_line lines[32];
static size_t count;

static void read_bytes(const void *text, size_t len)
{
    struct ini_reader reader = {.rest = span_of(text, len)};
    for (count = 0; count < sizeof(lines) / sizeof(lines[0]) && ini_next(&reader, &lines[count]);)
        count++;
}

static void read_text(const char *text)
{
    read_bytes(text, strlen(text));
}

static void assert_option(size_t i, unsigned int number, const char *option, const char *value)
{
    assert_true(i < count);
    assert_null(lines[i].wrong);
    assert_int_equal(lines[i].number, number);
    assert_true(span_is(lines[i].option, option));
    assert_non_null(lines[i].value.data);
    assert_true(span_is(lines[i].value, value));
}

static void assert_section(size_t i, unsigned int number, const char *section, const char *name)
{
    assert_true(i < count);
    assert_null(lines[i].wrong);
    assert_int_equal(lines[i].number, number);
    assert_null(lines[i].option.data);
    assert_true(span_is(lines[i].section, section));
    assert_true(span_is(lines[i].name, name));
}

static void assert_wrong(size_t i, unsigned int number)
{
    assert_true(i < count);
    assert_non_null(lines[i].wrong);
    assert_int_equal(lines[i].number, number);
}

static void test_sections_options_and_line_numbers_are_read(void **state)
{
    (void)state;
    read_text("[agent]\n\nlog-level = debug\n[key work]\nuri=pkcs11:object=work\n");
    assert_int_equal(count, 4);
    assert_section(0, 1, "agent", "");
    assert_option(1, 3, "log-level", "debug");
    assert_section(2, 4, "key", "work");
    assert_option(3, 5, "uri", "pkcs11:object=work");
}

static void test_an_empty_text_has_no_lines(void **state)
{
    (void)state;
    read_text("");
    assert_int_equal(count, 0);
    read_text("\n \n\t\n# only\n  ; comments\n");
    assert_int_equal(count, 0);
}

static void test_blanks_around_everything_are_dropped(void **state)
{
    (void)state;
    read_text(" \t[ key \t work ] \n\t option \t = \t a  b \t\n");
    assert_section(0, 1, "key", "work");
    assert_option(1, 2, "option", "a  b");
}

static void test_comments_are_whole_lines_only(void **state)
{
    (void)state;
    read_text("# c = d\n\t; e = f\na = 1 # 2 ; 3\nb = #\nc = ;\nd = x;y?z#q\n");
    assert_int_equal(count, 4);
    assert_option(0, 3, "a", "1 # 2 ; 3");
    assert_option(1, 4, "b", "#");
    assert_option(2, 5, "c", ";");
    assert_option(3, 6, "d", "x;y?z#q");
}

static void test_a_value_may_hold_equals_signs_quotes_and_brackets(void **state)
{
    (void)state;
    read_text("environment = A=b=c\nform = x=\"[y]\" 'z' \\n\nuri = pkcs11:a=%5b;b=c?module-path=/x&pin-source=|y\n");
    assert_option(0, 1, "environment", "A=b=c");
    assert_option(1, 2, "form", "x=\"[y]\" 'z' \\n");
    assert_option(2, 3, "uri", "pkcs11:a=%5b;b=c?module-path=/x&pin-source=|y");
}

static void test_an_option_may_have_an_empty_value(void **state)
{
    (void)state;
    read_text("a =\nb = \t \n");
    assert_option(0, 1, "a", "");
    assert_option(1, 2, "b", "");
}

static void test_lines_may_end_in_cr_lf_and_the_last_in_nothing(void **state)
{
    (void)state;
    read_text("[agent]\r\n\r\na = 1\r\nb = 2");
    assert_section(0, 1, "agent", "");
    assert_option(1, 3, "a", "1");
    assert_option(2, 4, "b", "2");
    assert_int_equal(count, 3);
}

static void test_values_of_4_kib_and_of_60_kib_come_whole(void **state)
{
    static const size_t sizes[] = {196, 197, 4096, 60000};
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i];
        char *text = malloc(size + 16);
        assert_non_null(text);
        memcpy(text, "uri = ", 6);
        memset(text + 6, 'x', size);
        memcpy(text + 6 + size, "\nb = 1", 7);
        read_text(text);
        assert_int_equal(count, 2);
        assert_null(lines[0].wrong);
        assert_int_equal(lines[0].value.len, size);
        assert_option(1, 2, "b", "1");
        free(text);
    }
}

static void test_a_line_over_64_kib_is_wrong_and_the_next_is_read(void **state)
{
    size_t size = LIMIT_CONFIG_LINE + 1;
    char *text = malloc(size + 16);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', size);
    memcpy(text, "a = ", 4);
    memcpy(text + size, "\nb = 1\n", 8);
    read_text(text);
    assert_wrong(0, 1);
    assert_option(1, 2, "b", "1");
    free(text);
}

static void test_a_line_that_is_neither_section_option_nor_comment_is_wrong(void **state)
{
    (void)state;
    read_text("word\n= value\n  = value\n[agent\n[]\nagent]\n[agent] x\n");
    assert_int_equal(count, 7);
    for (unsigned int i = 0; i < 7; i++)
        assert_wrong(i, i + 1);
}

static void test_control_characters_and_nul_are_wrong(void **state)
{
    static const char nul[] = "a = 1\nb = x\0y\nc = 3\n";
    (void)state;
    read_bytes(nul, sizeof(nul) - 1);
    assert_option(0, 1, "a", "1");
    assert_wrong(1, 2);
    assert_option(2, 3, "c", "3");
    read_text("a = \x01\nb = \x1b[31m\nc = \x7f\nd = x\ry\ne = a\tb\n");
    for (unsigned int i = 0; i < 4; i++)
        assert_wrong(i, i + 1);
    assert_option(4, 5, "e", "a\tb");
}

static void test_invalid_utf_8_is_wrong_and_valid_is_kept(void **state)
{
    (void)state;
    read_text("a = \xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91\nb = \xff\nc = \xc0\xaf\nd = \xed\xa0\x80\ne = \xc3\n[key \xc3]\n");
    assert_option(0, 1, "a", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91");
    for (unsigned int i = 1; i < 6; i++)
        assert_wrong(i, i + 1);
}

static void test_a_byte_order_mark_is_wrong_rather_than_part_of_a_name(void **state)
{
    (void)state;
    read_text("\xef\xbb\xbf[agent]\n");
    assert_wrong(0, 1);
}

static void test_a_section_name_of_200_characters_comes_whole(void **state)
{
    char name[201], text[256];
    (void)state;
    memset(name, 'n', 200);
    name[200] = '\0';
    (void)snprintf(text, sizeof(text), "[key %s]\n", name);
    read_text(text);
    assert_section(0, 1, "key", name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections_options_and_line_numbers_are_read),
        cmocka_unit_test(test_an_empty_text_has_no_lines),
        cmocka_unit_test(test_blanks_around_everything_are_dropped),
        cmocka_unit_test(test_comments_are_whole_lines_only),
        cmocka_unit_test(test_a_value_may_hold_equals_signs_quotes_and_brackets),
        cmocka_unit_test(test_an_option_may_have_an_empty_value),
        cmocka_unit_test(test_lines_may_end_in_cr_lf_and_the_last_in_nothing),
        cmocka_unit_test(test_values_of_4_kib_and_of_60_kib_come_whole),
        cmocka_unit_test(test_a_line_over_64_kib_is_wrong_and_the_next_is_read),
        cmocka_unit_test(test_a_line_that_is_neither_section_option_nor_comment_is_wrong),
        cmocka_unit_test(test_control_characters_and_nul_are_wrong),
        cmocka_unit_test(test_invalid_utf_8_is_wrong_and_valid_is_kept),
        cmocka_unit_test(test_a_byte_order_mark_is_wrong_rather_than_part_of_a_name),
        cmocka_unit_test(test_a_section_name_of_200_characters_comes_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
