/* The messages between the agent's processes: each comes back as it was sent, and their limits hold the wire's values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct buffer wire;

static int open_wire(void **state)
{
    (void)state;
    buffer_init(&wire, INTERNAL_FRAME_MAX);
    return 0;
}

static int close_wire(void **state)
{
    (void)state;
    buffer_free(&wire);
    return 0;
}

static void send_and_take(const struct message *m, const void *in, void *out, size_t size)
{
    struct error err;
    message_put(&wire, m, in);
    assert_false(wire.failed);
    if (message_take(buffer_span(&wire), m, out, size, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static enum status take(const struct message *m, const void *in, void *out, size_t size)
{
    struct error err;
    buffer_clear(&wire);
    message_put(&wire, m, in);
    return message_take(buffer_span(&wire), m, out, size, &err);
}

static void assert_list(struct list list, const char *const *expected, size_t count)
{
    struct span item;
    size_t cursor = 0;
    assert_int_equal(list.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(list_next(&list, &cursor, &item));
        assert_true(span_is(item, expected[i]));
    }
    assert_false(list_next(&list, &cursor, &item));
}

static void test_key_ready_comes_back(void **state)
{
    uint8_t x[32] = {0, 1}, y[32] = {2};
    struct key_ready in = {.x = span_of(x, 32), .y = span_of(y, 32), .attributes = KEY_SENSITIVE | KEY_ALWAYS_AUTHENTICATE,
                           .imported = true, .token = span_text("tok"), .model = span_text("SoftHSM v2")};
    struct key_ready out;
    (void)state;
    send_and_take(&message_key_ready, &in, &out, sizeof(out));
    assert_true(span_equal(out.x, in.x) && span_equal(out.y, in.y));
    assert_int_equal(out.attributes, in.attributes);
    assert_true(out.imported);
    assert_true(span_is(out.token, "tok") && span_is(out.model, "SoftHSM v2"));
}

static void test_pin_messages_come_back(void **state)
{
    uint8_t salt[PIN_SALT_SIZE] = {1};
    struct span refused[] = {span_text("one"), span_text("two")}, trying[] = {span_text("three")};
    struct pin_load load = {.token_id = span_text("/m.so\ntoken")}, load_out;
    struct pin_records in = {.salt = span_of(salt, sizeof(salt)),
                             .refused = {.items = refused, .count = 2},
                             .trying = {.items = trying, .count = 1}};
    struct pin_records out;
    (void)state;
    send_and_take(&message_pin_load, &load, &load_out, sizeof(load_out));
    assert_true(span_equal(load_out.token_id, load.token_id));
    buffer_clear(&wire);
    send_and_take(&message_pin_records, &in, &out, sizeof(out));
    assert_true(span_equal(out.salt, in.salt));
    assert_list(out.refused, (const char *[]){"one", "two"}, 2);
    assert_list(out.trying, (const char *[]){"three"}, 1);
}

static void test_a_pin_record_comes_back_and_a_verifier_of_another_size_is_refused(void **state)
{
    uint8_t verifier[PIN_VERIFIER_SIZE + 1] = {9};
    struct pin_record in = {.token_id = span_text("t"), .verifier = span_of(verifier, PIN_VERIFIER_SIZE), .verdict = PIN_REFUSED};
    struct pin_record out;
    (void)state;
    send_and_take(&message_pin_record, &in, &out, sizeof(out));
    assert_true(span_equal(out.verifier, in.verifier));
    assert_int_equal(out.verdict, PIN_REFUSED);
    in.verifier.len++;
    assert_int_equal(take(&message_pin_record, &in, &out, sizeof(out)), STATUS_MALFORMED);
}

static void test_sign_messages_come_back_and_longer_ones_are_refused(void **state)
{
    uint8_t bytes[65] = {1, 2, 3};
    struct sign_request request = {.digest = span_of(bytes, 32)}, request_out;
    struct sign_answer answer = {.signature = span_of(bytes, 64)}, answer_out;
    (void)state;
    send_and_take(&message_sign_request, &request, &request_out, sizeof(request_out));
    assert_true(span_equal(request_out.digest, request.digest));
    buffer_clear(&wire);
    send_and_take(&message_sign_answer, &answer, &answer_out, sizeof(answer_out));
    assert_true(span_equal(answer_out.signature, answer.signature));
    request.digest.len = 33;
    assert_int_equal(take(&message_sign_request, &request, &request_out, sizeof(request_out)), STATUS_MALFORMED);
    answer.signature.len = 65;
    assert_int_equal(take(&message_sign_answer, &answer, &answer_out, sizeof(answer_out)), STATUS_MALFORMED);
    request.digest = span_text(NULL);
    assert_int_equal(take(&message_sign_request, &request, &request_out, sizeof(request_out)), STATUS_MALFORMED);
}

static void test_a_fetch_request_comes_back_and_an_empty_form_is_not_an_absent_one(void **state)
{
    struct fetch_request in = {.profile = span_text("p"), .url = span_text("https://as.example/token"), .form = span_text(""),
                               .dpop = span_text("a.b.c"), .authenticate = true, .timeout = 1234};
    struct fetch_request out;
    (void)state;
    send_and_take(&message_fetch_request, &in, &out, sizeof(out));
    assert_true(span_is(out.profile, "p") && span_is(out.url, "https://as.example/token") && span_is(out.dpop, "a.b.c"));
    assert_non_null(out.form.data);
    assert_true(out.authenticate);
    assert_int_equal(out.timeout, 1234);
    in.form = span_text(NULL);
    assert_int_equal(take(&message_fetch_request, &in, &out, sizeof(out)), STATUS_OK);
    assert_null(out.form.data);
}

static void test_a_fetch_answer_comes_back_with_its_lists(void **state)
{
    struct span nonces[] = {span_text("n1"), span_text("n2")}, challenges[] = {span_text("DPoP error=\"x\"")};
    struct fetch_answer in = {.http_status = 401, .date = span_text("Sat, 21 Nov 2026 09:00:00 GMT"),
                              .nonces = {.items = nonces, .count = 2}, .retry_after = 7, .json_error = span_text("no JSON"),
                              .jwt = true, .cnf_jkt = span_text("jkt"), .lifetime = 60,
                              .challenges = {.items = challenges, .count = 1}};
    struct fetch_answer out;
    (void)state;
    send_and_take(&message_fetch_answer, &in, &out, sizeof(out));
    assert_int_equal(out.http_status, 401);
    assert_true(span_equal(out.date, in.date));
    assert_list(out.nonces, (const char *[]){"n1", "n2"}, 2);
    assert_list(out.challenges, (const char *[]){"DPoP error=\"x\""}, 1);
    assert_int_equal(out.retry_after, 7);
    assert_true(span_is(out.json_error, "no JSON") && span_is(out.cnf_jkt, "jkt"));
    assert_true(out.jwt);
    assert_int_equal(out.lifetime, 60);
}

static void test_the_longest_token_fits_into_an_answer(void **state)
{
    size_t size = LIMIT_ACCESS_TOKEN;
    char *token = malloc(size);
    struct list_builder members;
    struct fetch_answer out;
    struct span item;
    struct json_member member;
    struct error err;
    size_t cursor = 0;
    (void)state;
    assert_non_null(token);
    memset(token, 't', size);
    struct json_member in = {.name = span_text("access_token"), .kind = JSON_KIND_TEXT, .text = span_of(token, size)};
    list_builder_init(&members, INTERNAL_FRAME_MAX);
    list_builder_add(&members, &message_json_member, &in);
    struct fetch_answer answer = {.http_status = 200, .members = list_builder_list(&members)};
    send_and_take(&message_fetch_answer, &answer, &out, sizeof(out));
    assert_true(list_next(&out.members, &cursor, &item));
    assert_int_equal(message_take(item, &message_json_member, &member, sizeof(member), &err), STATUS_OK);
    assert_int_equal(member.text.len, size);
    list_builder_free(&members);
    free(token);
}

static void test_messages_of_the_control_channel_come_back(void **state)
{
    struct child_message in = {.id = 0xffffffff, .role = 4, .name = span_text("work"), .worker = 63, .pid = 1, .starts = 2,
                               .reason = span_text("was ended by signal 9 (Killed)")};
    struct child_message out;
    struct kill_message kill = {.id = 7, .reason = span_text("it did not sign in time")}, kill_out;
    (void)state;
    send_and_take(&message_child_message, &in, &out, sizeof(out));
    assert_true(out.id == 0xffffffff && out.role == 4 && out.worker == 63 && out.pid == 1 && out.starts == 2);
    assert_true(span_is(out.name, "work") && span_equal(out.reason, in.reason));
    buffer_clear(&wire);
    send_and_take(&message_kill_message, &kill, &kill_out, sizeof(kill_out));
    assert_int_equal(kill_out.id, 7);
    assert_true(span_equal(kill_out.reason, kill.reason));
}

/* message_take keeps seen tags in one word, and decodes into an array of its own: every table must fit both. */
static void test_every_table_has_tags_that_are_unique_and_small(void **state)
{
    static const struct message *const all[] = {
        &message_key_ready,    &message_pin_load,     &message_pin_records, &message_pin_record,    &message_sign_request,
        &message_sign_answer,  &message_fetch_request, &message_fetch_answer, &message_json_member, &message_child_message,
        &message_kill_message, &message_init_request, &message_init_answer, &message_error};
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        uint64_t seen = 0;
        for (size_t f = 0; f < all[i]->count; f++) {
            assert_in_range(all[i]->fields[f].tag, 1, MESSAGE_MAX_FIELDS);
            assert_false(seen & (UINT64_C(1) << all[i]->fields[f].tag));
            seen |= UINT64_C(1) << all[i]->fields[f].tag;
        }
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_wire, close_wire)
    const struct CMUnitTest tests[] = {
        TEST(test_key_ready_comes_back),
        TEST(test_pin_messages_come_back),
        TEST(test_a_pin_record_comes_back_and_a_verifier_of_another_size_is_refused),
        TEST(test_sign_messages_come_back_and_longer_ones_are_refused),
        TEST(test_a_fetch_request_comes_back_and_an_empty_form_is_not_an_absent_one),
        TEST(test_a_fetch_answer_comes_back_with_its_lists),
        TEST(test_the_longest_token_fits_into_an_answer),
        TEST(test_messages_of_the_control_channel_come_back),
        TEST(test_every_table_has_tags_that_are_unique_and_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
