/* The status codes: every one has a name, a text and a class, and PROTOCOL.md and the public header say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "dpop-agent.h"
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HIGHEST 0xffff

static void every_status_has_a_name_a_text_and_a_class(void **state)
{
    unsigned int count = 0;
    (void)state;
    for (unsigned int s = 0; s <= HIGHEST; s++) {
        if (!status_listed(s))
            continue;
        count++;
        assert_true(strlen(status_name(s)) > 1);
        assert_true(strlen(status_text(s)) > 1);
        assert_true(status_text(s)[strlen(status_text(s)) - 1] != '.');
        assert_true(s == 0 ? status_class(s) == STATUS_CLASS_OK : status_class(s) != STATUS_CLASS_OK);
        assert_true(status_class(s) <= STATUS_CLASS_PROTOCOL);
    }
    assert_true(count > 30);
}

static void no_two_statuses_share_a_name_or_a_text(void **state)
{
    (void)state;
    for (unsigned int a = 0; a <= 200; a++)
        for (unsigned int b = a + 1; b <= 200; b++)
            if (status_listed(a) && status_listed(b)) {
                assert_string_not_equal(status_name(a), status_name(b));
                assert_string_not_equal(status_text(a), status_text(b));
            }
}

static void an_unlisted_status_is_of_class_protocol_and_not_retryable(void **state)
{
    (void)state;
    assert_false(status_listed(999));
    assert_string_equal(status_name(999), "unknown");
    assert_int_equal(status_class(999), STATUS_CLASS_PROTOCOL);
    assert_false(status_retryable(999));
    assert_string_equal(dpop_status_name(-1), "unknown");
}

/* Every line `STATUS_NAME = n,` of status.h, so that a new code cannot be forgotten in the table. */
static void every_number_in_the_header_is_listed(void **state)
{
    char line[256];
    unsigned int number, count = 0;
    FILE *file = fopen(TEST_SOURCE "/proto/status.h", "r");
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, " STATUS_%*[A-Z_] = %u,", &number) == 1 && strstr(line, "STATUS_CLASS_") == NULL) {
            count++;
            assert_true(status_listed(number));
        }
    (void)fclose(file);
    assert_true(count > 30);
}

static const char *class_name(enum status_class class)
{
    static const char *const names[] = {"ok", "internal", "usage", "refused", "unavailable", "login", "protocol"};
    return names[class];
}

static void protocol_md_lists_the_same_status_codes(void **state)
{
    char line[512], name[64], class[32], retryable[16], text[256];
    unsigned int number, documented = 0, listed = 0;
    FILE *file = fopen(TEST_SOURCE "/proto/PROTOCOL.md", "r");
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL && strcmp(line, "## Status codes\n") != 0)
        ;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "| %u | %63[^|] | %31[^|] |%15[^|]| %255[^|]|", &number, name, class, retryable, text) != 5)
            continue;
        documented++;
        name[strcspn(name, " ")] = '\0';
        class[strcspn(class, " ")] = '\0';
        text[strlen(text) - 1] = '\0';
        assert_true(status_listed(number));
        assert_string_equal(name, status_name(number));
        assert_string_equal(class, class_name(status_class(number)));
        assert_int_equal(strstr(retryable, "yes") != NULL, status_retryable(number));
        assert_string_equal(text, status_text(number));
    }
    (void)fclose(file);
    for (unsigned int s = 0; s <= HIGHEST; s++)
        listed += status_listed(s);
    assert_int_equal(documented, listed);
}

/* DPOP_NAME = n of the public header is STATUS_NAME = n of the protocol. */
static void the_public_header_has_the_protocols_numbers(void **state)
{
    char line[256], name[64], dashed[64];
    unsigned int number, count = 0;
    FILE *file = fopen(TEST_SOURCE "/client/include/dpop-agent.h", "r");
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL && strstr(line, "enum dpop_status {") == NULL)
        ;
    while (fgets(line, sizeof(line), file) != NULL && sscanf(line, " DPOP_%63[A-Z_] = %u", name, &number) == 2) {
        size_t i = 0;
        for (; name[i] != '\0'; i++)
            dashed[i] = name[i] == '_' ? '-' : (char)(name[i] - 'A' + 'a');
        dashed[i] = '\0';
        assert_string_equal(dashed, status_name(number));
        count++;
    }
    (void)fclose(file);
    assert_true(count > 20);
    assert_int_equal(DPOP_CLASS_INTERNAL, STATUS_CLASS_INTERNAL);
    assert_int_equal(DPOP_CLASS_USAGE, STATUS_CLASS_USAGE);
    assert_int_equal(DPOP_CLASS_REFUSED, STATUS_CLASS_REFUSED);
    assert_int_equal(DPOP_CLASS_UNAVAILABLE, STATUS_CLASS_UNAVAILABLE);
    assert_int_equal(DPOP_CLASS_LOGIN, STATUS_CLASS_LOGIN);
    assert_int_equal(DPOP_CLASS_PROTOCOL, STATUS_CLASS_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_a_text_and_a_class),
        cmocka_unit_test(no_two_statuses_share_a_name_or_a_text),
        cmocka_unit_test(an_unlisted_status_is_of_class_protocol_and_not_retryable),
        cmocka_unit_test(every_number_in_the_header_is_listed),
        cmocka_unit_test(protocol_md_lists_the_same_status_codes),
        cmocka_unit_test(the_public_header_has_the_protocols_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
