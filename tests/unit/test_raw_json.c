/* A server's answer as JSON again: every kind of member, read back by another parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "raw_json.h"
#include "text.h"

static struct list_builder members;

static void add(const char *name, enum json_kind kind, struct span text, int64_t integer)
{
    struct json_member m = {.name = span_text(name), .kind = (uint16_t)kind, .text = text, .integer = (uint64_t)integer};
    list_builder_add(&members, &message_json_member, &m);
}

static int open_world(void **state)
{
    (void)state;
    list_builder_init(&members, 1 << 20);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    list_builder_free(&members);
    return 0;
}

/* The answer goes over the wire, as it does in the agent. */
static void make(const char *const *without, struct buffer *out)
{
    struct fetch_answer a = {.http_status = 200, .members = list_builder_list(&members)}, taken;
    struct buffer wire;
    struct error err;
    buffer_init(&wire, INTERNAL_FRAME_MAX);
    message_put(&wire, &message_fetch_answer, &a);
    assert_int_equal(message_take(buffer_span(&wire), &message_fetch_answer, &taken, sizeof(taken), &err), STATUS_OK);
    raw_json_put(out, &taken, without);
    buffer_free(&wire);
}

static void assert_json(const char *const *without, const char *expected)
{
    struct buffer out;
    json_error_t error;
    buffer_init(&out, LIMIT_NESTED);
    make(without, &out);
    assert_false(out.failed);
    struct span text = buffer_span(&out);
    assert_true(text_valid(text));
    json_t *got = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error), *want = json_loads(expected, 0, &error);
    assert_non_null(want);
    if (got == NULL || !json_equal(got, want))
        fail_msg("%.*s", (int)text.len, (const char *)text.data);
    json_decref(got);
    json_decref(want);
    buffer_free(&out);
}

static void test_every_kind_of_member_comes_back(void **state)
{
    static const char *const without[] = {"access_token", "refresh_token", NULL};
    struct span items[] = {span_text("a"), span_text("\"b\"")};
    struct json_member list = {.name = span_text("list"), .kind = JSON_KIND_TEXTS, .texts = {.items = items, .count = 2}};
    struct json_member empty = {.name = span_text("empty_list"), .kind = JSON_KIND_TEXTS};
    (void)state;
    add("access_token", JSON_KIND_TEXT, span_text("secret"), 0);
    add("text", JSON_KIND_TEXT, span_text("\"quoted\" \\ \n\t é \x7f"), 0);
    add("empty", JSON_KIND_TEXT, span_text(NULL), 0);
    add("negative", JSON_KIND_INTEGER, span_text(NULL), -9223372036854775807);
    add("yes", JSON_KIND_TRUE, span_text(NULL), 0);
    add("no", JSON_KIND_FALSE, span_text(NULL), 0);
    add("nothing", JSON_KIND_NULL, span_text(NULL), 0);
    add("object", JSON_KIND_OTHER, span_text("{\"a\":[1,2.5,{\"b\":\"\x7f\"}]}"), 0);
    add("cnf", JSON_KIND_OTHER, span_text("{\"jkt\":\"x\"}"), 0);
    add("cnf.jkt", JSON_KIND_TEXT, span_text("x"), 0);
    add("refresh_token", JSON_KIND_TEXT, span_text("secret"), 0);
    add("with \"quotes\"", JSON_KIND_TRUE, span_text(NULL), 0);
    list_builder_add(&members, &message_json_member, &list);
    list_builder_add(&members, &message_json_member, &empty);
    assert_json(without, "{\"text\":\"\\\"quoted\\\" \\\\ \\n\\t \xc3\xa9 \\u007f\",\"empty\":\"\",\"negative\":-9223372036854775807,"
                         "\"yes\":true,\"no\":false,\"nothing\":null,\"object\":{\"a\":[1,2.5,{\"b\":\"\\u007f\"}]},"
                         "\"cnf\":{\"jkt\":\"x\"},\"with \\\"quotes\\\"\":true,\"list\":[\"a\",\"\\\"b\\\"\"],\"empty_list\":[]}");
}

static void test_no_members_are_an_empty_object(void **state)
{
    static const char *const without[] = {"scope", NULL}, *const nothing[] = {NULL};
    (void)state;
    assert_json(nothing, "{}");
    add("scope", JSON_KIND_TEXT, span_text("a"), 0);
    assert_json(without, "{}");
}

static void test_what_does_not_fit_is_a_failure(void **state)
{
    static const char *const nothing[] = {NULL};
    static char big[LIMIT_NESTED + 1];
    struct buffer out;
    (void)state;
    memset(big, 'a', LIMIT_NESTED);
    add("big", JSON_KIND_TEXT, span_text(big), 0);
    buffer_init(&out, LIMIT_NESTED);
    make(nothing, &out);
    assert_true(out.failed);
    buffer_free(&out);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_every_kind_of_member_comes_back),
        TEST(test_no_members_are_an_empty_object),
        TEST(test_what_does_not_fit_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
