/* The libraries export what their headers declare and their maps list, no more and no less; the first needs libc
 * alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64

struct names {
    char names[MOST][64];
    size_t count;
};

static void add(struct names *n, const char *name)
{
    assert_true(n->count < MOST);
    (void)snprintf(n->names[n->count++], sizeof(n->names[0]), "%s", name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void assert_same(struct names *a, struct names *b)
{
    qsort(a->names, a->count, sizeof(a->names[0]), by_name);
    qsort(b->names, b->count, sizeof(b->names[0]), by_name);
    for (size_t i = 0; i < a->count && i < b->count; i++)
        assert_string_equal(a->names[i], b->names[i]);
    assert_int_equal(a->count, b->count);
    assert_true(a->count > 0);
}

/* Every `dpop_name(` outside comments, where a declaration begins at the line's start. */
static void read_header(const char *path, struct names *out)
{
    char line[512];
    bool comment = false;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    *out = (struct names){.count = 0};
    while (fgets(line, sizeof(line), file) != NULL) {
        char name[64];
        comment = comment || strncmp(line, "/*", 2) == 0;
        const char *at = comment || line[0] == ' ' ? NULL : strstr(line, "dpop_");
        for (; at != NULL; at = strstr(at + 1, "dpop_"))
            if (sscanf(at, "%63[a-z_]", name) == 1 && at[strlen(name)] == '(')
                add(out, name);
        comment = comment && strstr(line, "*/") == NULL;
    }
    (void)fclose(file);
}

static void read_map(const char *path, struct names *out)
{
    char line[256], name[64];
    bool local = false, all_local = false;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    *out = (struct names){.count = 0};
    while (fgets(line, sizeof(line), file) != NULL) {
        local = local || strstr(line, "local:") != NULL;
        all_local = all_local || (local && strstr(line, "*;") != NULL);
        if (!local && sscanf(line, " %63[a-z_];", name) == 1 && strncmp(name, "dpop_", 5) == 0)
            add(out, name);
    }
    (void)fclose(file);
    assert_true(all_local);
}

/* The functions in what `nm` prints. */
static void read_symbols(const char *command, struct names *out)
{
    char line[512], type, name[64];
    FILE *pipe = popen(command, "re");
    assert_non_null(pipe);
    *out = (struct names){.count = 0};
    while (fgets(line, sizeof(line), pipe) != NULL)
        if (strspn(line, "0123456789abcdef") == 16 && sscanf(line, "%*x %c %63[^@ \n]", &type, name) == 2 &&
            type != 'A') {
            assert_int_equal(type, 'T');
            add(out, name);
        }
    assert_int_equal(pclose(pipe), 0);
}

static void check_library(const char *library)
{
    char path[512];
    struct names header, map, shared, archive;
    (void)snprintf(path, sizeof(path), TEST_SOURCE "/client/include/%s.h", library);
    read_header(path, &header);
    (void)snprintf(path, sizeof(path), TEST_SOURCE "/client/lib%s.map", library);
    read_map(path, &map);
    (void)snprintf(path, sizeof(path), "nm -D --defined-only " TEST_BUILD "/client/lib%s.so", library);
    read_symbols(path, &shared);
    (void)snprintf(path, sizeof(path), "nm -g --defined-only " TEST_BUILD "/client/lib%s.a", library);
    read_symbols(path, &archive);
    assert_same(&header, &map);
    assert_same(&map, &shared);
    assert_same(&map, &archive);
}

static void header_map_and_both_libraries_have_the_same_functions(void **state)
{
    (void)state;
    check_library("dpop-agent");
    check_library("dpop-agent-curl");
}

static void every_public_function_has_a_manual_page(void **state)
{
    static const char *const headers[] = {"dpop-agent", "dpop-agent-curl"};
    char path[512];
    struct names functions;
    (void)state;
    for (size_t h = 0; h < 2; h++) {
        (void)snprintf(path, sizeof(path), TEST_SOURCE "/client/include/%s.h", headers[h]);
        read_header(path, &functions);
        for (size_t i = 0; i < functions.count; i++) {
            (void)snprintf(path, sizeof(path), TEST_BUILD "/client/man/%s.3", functions.names[i]);
            FILE *page = fopen(path, "r");
            if (page == NULL)
                fail_msg("%s is missing", path);
            (void)fclose(page);
        }
    }
}

/* A sanitized build needs the sanitizers' libraries, too. */
static void the_client_library_needs_libc_alone(void **state)
{
    char line[512];
    FILE *pipe = popen("readelf -d " TEST_BUILD "/client/libdpop-agent.so", "re");
    unsigned int libc = 0;
    (void)state;
    assert_non_null(pipe);
    while (fgets(line, sizeof(line), pipe) != NULL) {
        if (strstr(line, "(NEEDED)") == NULL || strstr(line, "[libasan.") != NULL || strstr(line, "[libubsan.") != NULL)
            continue;
        if (strstr(line, "[libc.so.6]") == NULL)
            fail_msg("libdpop-agent needs more than libc: %s", line);
        libc++;
    }
    assert_int_equal(pclose(pipe), 0);
    assert_int_equal(libc, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_map_and_both_libraries_have_the_same_functions),
        cmocka_unit_test(every_public_function_has_a_manual_page),
        cmocka_unit_test(the_client_library_needs_libc_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
