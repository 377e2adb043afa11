/* A server's answer as the net process hands it on: members by name, with their kinds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "answer.h"

struct world {
    struct list_builder members;
    struct buffer bytes;
    struct fetch_answer answer;
};
static struct world world;

static void add(const char *name, enum json_kind kind, struct span text)
{
    struct json_member m = {.name = span_text(name), .kind = (uint16_t)kind, .text = text};
    list_builder_add(&world.members, &message_json_member, &m);
}

/* The answer goes over the wire once, as it does in the agent. */
static int make_world(void **state)
{
    struct error err;
    *state = &world;
    list_builder_init(&world.members, 65536);
    add("access_token", JSON_KIND_TEXT, span_text("abc"));
    add("empty", JSON_KIND_TEXT, span_text(NULL));
    add("other", JSON_KIND_OTHER, span_text("{\"a\":1}"));
    add("null", JSON_KIND_NULL, span_text(NULL));
    add("access", JSON_KIND_TEXT, span_text("prefix"));
    struct span texts[] = {span_text("ES256"), span_text(""), span_text("RS256")};
    struct json_member list = {.name = span_text("algs"), .kind = JSON_KIND_TEXTS, .texts = {.items = texts, .count = 3}};
    list_builder_add(&world.members, &message_json_member, &list);
    struct json_member number = {.name = span_text("expires_in"), .kind = JSON_KIND_INTEGER, .integer = (uint64_t)-5};
    list_builder_add(&world.members, &message_json_member, &number);
    struct fetch_answer a = {.http_status = 200, .members = list_builder_list(&world.members)};
    buffer_init(&world.bytes, 65536);
    message_put(&world.bytes, &message_fetch_answer, &a);
    return message_take(buffer_span(&world.bytes), &message_fetch_answer, &world.answer, sizeof(world.answer), &err) == STATUS_OK
               ? 0
               : -1;
}

static int free_world(void **state)
{
    (void)state;
    list_builder_free(&world.members);
    buffer_free(&world.bytes);
    return 0;
}

static void test_a_member_is_found_by_its_whole_name(void **state)
{
    struct json_member m = {.kind = 99};
    (void)state;
    assert_true(answer_member(&world.answer, "access", &m));
    assert_true(span_is(m.text, "prefix"));
    assert_true(answer_member(&world.answer, "other", &m));
    assert_int_equal(m.kind, JSON_KIND_OTHER);
    m.kind = 99;
    assert_false(answer_member(&world.answer, "access_", &m));
    assert_false(answer_member(&world.answer, "", &m));
    assert_int_equal(m.kind, 99);
}

static void test_a_text_is_given_only_for_a_member_that_is_text(void **state)
{
    (void)state;
    assert_true(span_is(answer_text(&world.answer, "access_token"), "abc"));
    assert_null(answer_text(&world.answer, "other").data);
    assert_null(answer_text(&world.answer, "null").data);
    assert_null(answer_text(&world.answer, "expires_in").data);
    assert_null(answer_text(&world.answer, "algs").data);
    assert_null(answer_text(&world.answer, "missing").data);
}

static void test_an_empty_text_is_present(void **state)
{
    (void)state;
    assert_non_null(answer_text(&world.answer, "empty").data);
    assert_int_equal(answer_text(&world.answer, "empty").len, 0);
}

static void test_numbers_and_lists_of_texts_come_whole(void **state)
{
    struct json_member m;
    struct span item;
    size_t cursor = 0;
    (void)state;
    assert_true(answer_member(&world.answer, "expires_in", &m));
    assert_true((int64_t)m.integer == -5);
    assert_true(answer_member(&world.answer, "algs", &m));
    assert_int_equal(m.texts.count, 3);
    static const char *const expected[] = {"ES256", "", "RS256"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(list_next(&m.texts, &cursor, &item));
        assert_true(span_is(item, expected[i]));
    }
    assert_false(list_next(&m.texts, &cursor, &item));
}

static void test_an_answer_without_members_has_none(void **state)
{
    struct fetch_answer none = {.http_status = 204};
    struct json_member m;
    (void)state;
    assert_false(answer_member(&none, "access_token", &m));
    assert_null(answer_text(&none, "access_token").data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_member_is_found_by_its_whole_name),
        cmocka_unit_test(test_a_text_is_given_only_for_a_member_that_is_text),
        cmocka_unit_test(test_an_empty_text_is_present),
        cmocka_unit_test(test_numbers_and_lists_of_texts_come_whole),
        cmocka_unit_test(test_an_answer_without_members_has_none),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
