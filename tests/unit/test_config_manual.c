/* dpop-agent.conf(5) beside the table of options: each has its entry with an example in its own section, every example is a
   good line, and the examples at the end are together one good configuration with every grant and client authentication. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_check.h"
#include "config_option.h"

#define PAGE_MAX 131072

static char page[PAGE_MAX];

static int read_page(void **state)
{
    FILE *f = fopen(TEST_SOURCE "/agent/man/dpop-agent.conf.5", "r");
    (void)state;
    if (f == NULL)
        return -1;
    size_t n = fread(page, 1, sizeof(page) - 1, f);
    page[n] = '\0';
    return fclose(f) == 0 && n > 0 && n < sizeof(page) - 1 ? 0 : -1;
}

/* Where the options of a section stand: from its .Sh to the next. */
static char *section_of_page(const char *section)
{
    char heading[32] = "";
    (void)snprintf(heading, sizeof(heading), "\n.Sh %s OPTIONS\n", section);
    for (char *p = heading + 5; *p != ' ' && *p != '\0'; p++)
        *p = (char)toupper((unsigned char)*p);
    char *begin = strstr(page, heading);
    assert_non_null(begin);
    char *end = strstr(begin + 1, "\n.Sh ");
    assert_non_null(end);
    return strndup(begin, (size_t)(end - begin));
}

static void parse_example(const char *section, const char *line)
{
    struct config *c = NULL;
    struct error err;
    char text[1024];
    (void)snprintf(text, sizeof(text), "[%s%s]\n%s\n", section, strcmp(section, "agent") == 0 ? "" : " x", line);
    if (config_parse(span_text(text), "page", ROLE_SUPERVISOR, &c, &err) != STATUS_OK)
        fail_msg("the example \"%s\" is refused: %s", line, err.message);
    assert_int_equal(c->entry_count, 1);
    config_free(c);
}

static void every_option_has_its_entry_with_an_example_that_is_taken(void **state)
{
    FILE *f = fopen(TEST_SOURCE "/agent/common/config_option.c", "r");
    char row[512], section[16], option[64], wanted[96];
    unsigned int count = 0;
    (void)state;
    assert_non_null(f);
    while (fgets(row, sizeof(row), f) != NULL) {
        if (sscanf(row, " {\"%15[a-z]\", \"%63[a-z0-9-]\", KIND_", section, option) != 2)
            continue;
        char *text = section_of_page(section);
        (void)snprintf(wanted, sizeof(wanted), "\n.It Ic %s = ", option);
        char *entry = strstr(text, wanted);
        if (entry == NULL)
            fail_msg("[%s] %s has no entry", section, option);
        char *next = strstr(entry + 1, "\n.It Ic ");
        (void)snprintf(wanted, sizeof(wanted), "\n.Dl %s = ", option);
        char *example = strstr(entry, wanted);
        if (example == NULL || (next != NULL && example > next))
            fail_msg("[%s] %s has no example", section, option);
        example += strlen("\n.Dl ");
        example[strcspn(example, "\n")] = '\0';
        parse_example(section, example);
        free(text);
        count++;
    }
    assert_int_equal(fclose(f), 0);
    assert_true(count > 50);
}

static void the_page_has_no_option_that_the_table_has_not(void **state)
{
    static const char *const sections[] = {"agent", "key", "profile"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char *text = section_of_page(sections[i]), option[64];
        for (char *p = strstr(text, "\n.It Ic "); p != NULL; p = strstr(p + 1, "\n.It Ic ")) {
            assert_int_equal(sscanf(p, "\n.It Ic %63[a-z0-9-]", option), 1);
            if (config_option_find(sections[i], option) == NULL)
                fail_msg("[%s] %s is no option", sections[i], option);
        }
        free(text);
    }
}

static void the_examples_are_a_good_configuration_with_every_grant_and_client_authentication(void **state)
{
    struct buffer text;
    struct config *c = NULL;
    struct error err;
    bool grants[5] = {false}, authentications[6] = {false};
    (void)state;
    buffer_init(&text, PAGE_MAX);
    for (char *p = strstr(page, "\n.Bd -literal\n"); p != NULL; p = strstr(p, "\n.Bd -literal\n")) {
        p += strlen("\n.Bd -literal\n");
        char *end = strstr(p, "\n.Ed\n");
        assert_non_null(end);
        buffer_put(&text, p, (size_t)(end - p) + 1);
    }
    if (config_parse(buffer_span(&text), "examples", ROLE_SUPERVISOR, &c, &err) != STATUS_OK || config_check(c, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < c->profile_count; i++) {
        grants[c->profiles[i].grant] = true;
        authentications[c->profiles[i].client_authentication] = true;
    }
    for (size_t i = 0; i < 5; i++)
        assert_true(grants[i]);
    for (size_t i = 0; i < 6; i++)
        assert_true(authentications[i]);
    config_free(c);
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_has_its_entry_with_an_example_that_is_taken),
        cmocka_unit_test(the_page_has_no_option_that_the_table_has_not),
        cmocka_unit_test(the_examples_are_a_good_configuration_with_every_grant_and_client_authentication),
    };
    return cmocka_run_group_tests(tests, read_page, NULL);
}
