/* PROTOCOL.md is normative: its tables of fields, its bytes and its operations are those of the code and of the
 * vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "every_message.h"
#include "wire_vectors.h"

#include <inttypes.h>

#define WIRE TEST_VECTORS "/wire.txt"
#define DOCUMENT TEST_SOURCE "/proto/PROTOCOL.md"

static FILE *open_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    return file;
}

/* Reads the vector of this name; the caller frees its frame. */
static void find_vector(const char *name, struct wire_vector *v)
{
    FILE *file = open_file(WIRE);
    while (wire_next(file, v)) {
        if (strcmp(v->name, name) == 0) {
            (void)fclose(file);
            return;
        }
        buffer_free(&v->frame);
    }
    fail_msg("there is no vector \"%s\"", name);
}

static const char *type_name(enum field_type type)
{
    static const char *const names[] = {"bool", "u16", "u32", "u64", "bytes", "text", "bytes, list", "text, list"};
    return names[type];
}

static void trim(char *text)
{
    size_t lead = strspn(text, " ");
    memmove(text, text + lead, strlen(text + lead) + 1);
    for (size_t len = strlen(text); len > 0 && text[len - 1] == ' '; len--)
        text[len - 1] = '\0';
}

/* One row of a table of fields. False: the line is none. */
static bool check_row(const char *line, const struct message *m, size_t row)
{
    unsigned int tag;
    char name[64], type[32], limit[16], required[16], expected[16] = "";
    if (sscanf(line, "| %u |%63[^|]|%31[^|]|%15[^|]|%15[^|]|", &tag, name, type, limit, required) != 5)
        return false;
    trim(name);
    trim(type);
    trim(limit);
    trim(required);
    assert_true(row < m->count);
    const struct field *f = &m->fields[row];
    if (f->type > FIELD_U64)
        (void)snprintf(expected, sizeof(expected), "%" PRIu32, f->max);
    assert_int_equal(tag, f->tag);
    assert_string_equal(name, f->name);
    assert_string_equal(type, type_name(f->type));
    assert_string_equal(limit, expected);
    assert_string_equal(required, f->flags & FIELD_REQUIRED ? "yes" : "");
    return true;
}

static void protocol_md_has_every_field_of_every_message(void **state)
{
    char line[1024], name[64];
    size_t documented = 0, row = 0;
    const struct every_message *m = NULL;
    FILE *file = open_file(DOCUMENT);
    (void)state;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Fields of `%63[a-z_]`:", name) == 1) {
            m = every_message_find(name);
            assert_non_null(m);
            documented++;
            row = 0;
        } else if (m != NULL && line[0] == '|') {
            row += check_row(line, m->table, row);
        } else if (m != NULL && row > 0) {
            assert_int_equal(row, m->table->count);
            m = NULL;
        }
    }
    (void)fclose(file);
    assert_int_equal(documented, EVERY_MESSAGE_COUNT - 1); /* `empty` has no fields */
}

static void protocol_md_shows_the_vectors_bytes(void **state)
{
    char line[1024], name[64];
    struct buffer shown;
    struct wire_vector v;
    unsigned int count = 0;
    bool inside = false;
    FILE *file = open_file(DOCUMENT);
    (void)state;
    buffer_init(&shown, 1 << 16);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "```vector %63[^\n]", name) == 1) {
            inside = true;
            buffer_clear(&shown);
        } else if (inside && strncmp(line, "```", 3) == 0) {
            find_vector(name, &v);
            assert_true(span_equal(buffer_span(&shown), buffer_span(&v.frame)));
            buffer_free(&v.frame);
            inside = false;
            count++;
        } else if (inside) {
            wire_put_hex(&shown, line);
        }
    }
    (void)fclose(file);
    buffer_free(&shown);
    assert_int_equal(count, 58);
}

static void protocol_md_numbers_every_operation(void **state)
{
    static const struct {
        unsigned int number;
        const char *name;
    } operations[] = {{OPERATION_HELLO, "hello"},       {OPERATION_STATUS, "status"},       {OPERATION_KEYS, "keys"},
                      {OPERATION_PROFILES, "profiles"}, {OPERATION_PROOF, "proof"},         {OPERATION_TOKEN, "token"},
                      {OPERATION_AUTHORIZE, "authorize"}, {OPERATION_OUTCOME, "outcome"},   {OPERATION_INIT, "init"},
                      {OPERATION_LOGIN_BEGIN, "login begin"}, {OPERATION_LOGIN_WAIT, "login wait"},
                      {OPERATION_LOGIN_REDIRECT, "login redirect"}, {OPERATION_LOGIN_CANCEL, "login cancel"},
                      {OPERATION_LOGOUT, "logout"},     {OPERATION_INTROSPECT, "introspect"},
                      {OPERATION_PROFILE_TEST, "profile test"}, {OPERATION_TRACE, "trace"},
                      {OPERATION_REGISTER, "register"}, {OPERATION_KEY_CSR, "key csr"},
                      {OPERATION_KEY_CERT, "key cert"}, {OPERATION_RELOAD, "reload"},
                      {OPERATION_KEY_GENERATE, "key generate"}, {OPERATION_KEY_IMPORT, "key import"},
                      {OPERATION_KEY_DELETE, "key delete"}, {OPERATION_KEY_PREPARE, "key prepare"},
                      {OPERATION_KEY_COMMIT, "key commit"}, {OPERATION_UNLOCK, "unlock"}, {OPERATION_LOCK, "lock"},
                      {OPERATION_ERROR, "error"}};
    char line[1024], name[64];
    unsigned int number, count = 0;
    FILE *file = open_file(DOCUMENT);
    (void)state;
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "### %63[a-z ](%u)", name, &number) == 2) {
            trim(name);
            assert_string_equal(name, operations[count].name);
            assert_int_equal(number, operations[count].number);
            count++;
        }
    (void)fclose(file);
    assert_int_equal(count, sizeof(operations) / sizeof(operations[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protocol_md_has_every_field_of_every_message),
        cmocka_unit_test(protocol_md_shows_the_vectors_bytes),
        cmocka_unit_test(protocol_md_numbers_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
