/* Messages: the byte vectors in both directions, and every rule by which a reader refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "every_message.h"
#include "wire_vectors.h"

#define WIRE TEST_VECTORS "/wire.txt"

static FILE *open_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    return file;
}

/* The value of a vector's field line as bytes. */
static void put_value(struct buffer *b, const struct wire_field *f)
{
    uint64_t n = strtoull(f->value, NULL, 10);
    if (strcmp(f->type, "text") == 0)
        buffer_put_text(b, f->value);
    else if (strcmp(f->type, "bytes") == 0)
        wire_put_hex(b, f->value);
    else if (strcmp(f->type, "u64") == 0)
        buffer_put_u64(b, n);
    else if (strcmp(f->type, "u32") == 0)
        buffer_put_u32(b, (uint32_t)n);
    else if (strcmp(f->type, "u16") == 0)
        buffer_put_u16(b, (uint16_t)n);
    else
        buffer_put(b, &(uint8_t){(uint8_t)n}, 1);
}

static void check_fields(const struct wire_vector *v, const struct message *m, struct span fields)
{
    for (size_t i = 0; i < v->field_count; i++) {
        const struct wire_field *f = &v->fields[i];
        struct span value;
        struct buffer expected;
        uint16_t tag;
        uint32_t len;
        bool named = false;
        assert_int_equal(span_take_u16(&fields, &tag), 0);
        assert_int_equal(span_take_u32(&fields, &len), 0);
        assert_int_equal(span_take(&fields, len, &value), 0);
        assert_int_equal(tag, f->tag);
        for (size_t k = 0; k < m->count; k++)
            named = named || (m->fields[k].tag == f->tag && strcmp(m->fields[k].name, f->name) == 0);
        assert_true(named);
        buffer_init(&expected, 4096);
        put_value(&expected, f);
        assert_true(span_equal(buffer_span(&expected), value));
        buffer_free(&expected);
    }
    assert_int_equal(fields.len, 0);
}

static void check_vector(const struct wire_vector *v)
{
    _Alignas(max_align_t) char decoded[EVERY_MESSAGE_LARGEST];
    const struct every_message *m = every_message_find(v->message);
    struct frame frame;
    struct buffer again;
    struct error err;
    size_t size;
    assert_non_null(m);
    assert_int_equal(frame_take(buffer_span(&v->frame), FRAME_MAX, &frame, &size), FRAME_COMPLETE);
    assert_int_equal(size, v->frame.len);
    assert_int_equal(frame.operation, v->operation);
    assert_int_equal(frame.request, v->request);
    check_fields(v, m->table, frame.fields);
    assert_int_equal(message_take(frame.fields, m->table, decoded, m->size, &err), STATUS_OK);
    buffer_init(&again, FRAME_MAX);
    message_put_frame(&again, frame.operation, frame.request, m->table, decoded);
    assert_true(span_equal(buffer_span(&again), buffer_span(&v->frame)));
    buffer_free(&again);
}

static void every_vector_decodes_to_its_fields_and_encodes_to_its_bytes(void **state)
{
    struct wire_vector v;
    unsigned int count = 0;
    FILE *file = open_file(WIRE);
    (void)state;
    for (; wire_next(file, &v); count++) {
        check_vector(&v);
        buffer_free(&v.frame);
    }
    (void)fclose(file);
    assert_int_equal(count, 58);
}

static void every_operation_has_vectors_for_request_and_answer(void **state)
{
    bool request[32] = {false}, answer[32] = {false};
    struct wire_vector v;
    FILE *file = open_file(WIRE);
    (void)state;
    for (; wire_next(file, &v); buffer_free(&v.frame)) {
        if (v.operation < 32)
            request[v.operation] = true;
        else if (v.operation != OPERATION_ERROR)
            answer[v.operation & 31] = true;
    }
    (void)fclose(file);
    for (int i = OPERATION_HELLO; i <= OPERATION_LOCK; i++)
        assert_true(request[i] && answer[i]);
}

/* A vector cut at any byte is refused, unless the cut falls between two fields and no required one is lost. */
static void a_message_cut_inside_a_field_is_malformed(void **state)
{
    struct wire_vector v;
    FILE *file = open_file(WIRE);
    (void)state;
    for (; wire_next(file, &v); buffer_free(&v.frame)) {
        _Alignas(max_align_t) char decoded[EVERY_MESSAGE_LARGEST];
        const struct every_message *m = every_message_find(v.message);
        struct span all = span_of(buffer_span(&v.frame).data + FRAME_HEADER_SIZE, v.frame.len - FRAME_HEADER_SIZE);
        struct error err;
        size_t border = 0;
        for (size_t len = 1; len < all.len; len++) {
            struct span rest = span_of(all.data + border, all.len - border);
            uint16_t tag;
            uint32_t value;
            if (span_take_u16(&rest, &tag) == 0 && span_take_u32(&rest, &value) == 0 && border + 6 + value == len)
                border = len;
            enum status status = message_take(span_of(all.data, len), m->table, decoded, m->size, &err);
            if (border != len)
                assert_int_equal(status, STATUS_MALFORMED);
        }
    }
    (void)fclose(file);
}

/* --- single rules, on a message made by hand --- */

static void put_field(struct buffer *b, uint16_t tag, const void *value, size_t len)
{
    buffer_put_u16(b, tag);
    buffer_put_u32(b, (uint32_t)len);
    buffer_put(b, value, len);
}

static enum status take_proof_request(struct buffer *b, struct proof_request *out, struct error *err)
{
    return message_take(buffer_span(b), &message_proof_request, out, sizeof(*out), err);
}

static void begin_proof_request(struct buffer *b)
{
    buffer_init(b, 1 << 20);
    put_field(b, 3, "GET", 3);
    put_field(b, 4, "https://a", 9);
}

static void a_field_twice_is_malformed_unless_it_is_a_list(void **state)
{
    struct buffer b;
    struct proof_request p;
    struct outcome_request o;
    struct error err;
    struct span item;
    size_t cursor = 0;
    (void)state;
    begin_proof_request(&b);
    put_field(&b, 3, "GET", 3);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_MALFORMED);
    assert_string_equal(err.message, "proof_request: field htm stands twice");
    buffer_clear(&b);
    put_field(&b, 1, "a", 1);
    put_field(&b, 4, "n1", 2);
    put_field(&b, 2, "\x01\x91", 2);
    put_field(&b, 4, "", 0);
    put_field(&b, 4, "n3", 2);
    assert_int_equal(message_take(buffer_span(&b), &message_outcome_request, &o, sizeof(o), &err), STATUS_OK);
    assert_int_equal(o.http_status, 401);
    assert_int_equal(o.nonces.count, 3);
    assert_true(list_next(&o.nonces, &cursor, &item) && span_is(item, "n1"));
    assert_true(list_next(&o.nonces, &cursor, &item) && item.len == 0);
    assert_true(list_next(&o.nonces, &cursor, &item) && span_is(item, "n3"));
    assert_false(list_next(&o.nonces, &cursor, &item));
    cursor = 0;
    assert_false(list_next(&o.challenges, &cursor, &item));
    buffer_free(&b);
}

static void a_missing_required_field_is_malformed_and_named(void **state)
{
    struct buffer b;
    struct proof_request p = {.timeout = 99};
    struct error err;
    (void)state;
    buffer_init(&b, 64);
    put_field(&b, 3, "GET", 3);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_MALFORMED);
    assert_string_equal(err.message, "proof_request: field htu is missing");
    assert_int_equal(p.timeout, 99);
    buffer_free(&b);
}

static void a_value_over_its_limit_is_malformed(void **state)
{
    static char long_name[LIMIT_NAME + 1];
    struct buffer b;
    struct proof_request p;
    struct error err;
    (void)state;
    memset(long_name, 'x', sizeof(long_name));
    begin_proof_request(&b);
    put_field(&b, 1, long_name, LIMIT_NAME);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_OK);
    assert_int_equal(p.key.len, LIMIT_NAME);
    put_field(&b, 2, long_name, LIMIT_NAME + 1);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_MALFORMED);
    assert_string_equal(err.message, "proof_request: field profile is longer than its limit");
    buffer_free(&b);
}

static void an_unknown_field_is_skipped_but_refused_when_critical(void **state)
{
    struct buffer b;
    struct proof_request p;
    struct error err;
    (void)state;
    begin_proof_request(&b);
    put_field(&b, 40, "new", 3);
    put_field(&b, 40, "new", 3);
    put_field(&b, 0x7fff, "new", 3);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_OK);
    put_field(&b, 0x8000 | 39, "new", 3);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_UNSUPPORTED_FIELD);
    buffer_free(&b);
}

static void the_critical_bit_does_not_change_a_known_field(void **state)
{
    struct buffer b;
    struct proof_request p;
    struct error err;
    (void)state;
    begin_proof_request(&b);
    put_field(&b, 0x8000 | 1, "work", 4);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_OK);
    assert_true(span_is(p.key, "work"));
    put_field(&b, 1, "work", 4);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_MALFORMED);
    buffer_free(&b);
}

static void numbers_have_exactly_their_size(void **state)
{
    struct buffer b;
    struct token_request t;
    struct error err;
    (void)state;
    for (size_t len = 0; len <= 8; len++) {
        buffer_init(&b, 256);
        put_field(&b, 1, "work", 4);
        put_field(&b, 4, "\0\0\0\0\0\0\0\x01", len);
        assert_int_equal(message_take(buffer_span(&b), &message_token_request, &t, sizeof(t), &err),
                         len == 4 ? STATUS_OK : STATUS_MALFORMED);
        buffer_free(&b);
    }
    for (int value = 0; value <= 3; value++) {
        buffer_init(&b, 256);
        put_field(&b, 1, "work", 4);
        put_field(&b, 5, &(uint8_t){(uint8_t)value}, 1);
        assert_int_equal(message_take(buffer_span(&b), &message_token_request, &t, sizeof(t), &err),
                         value <= 1 ? STATUS_OK : STATUS_MALFORMED);
        buffer_free(&b);
    }
}

static void text_is_utf8_without_control_characters(void **state)
{
    static const struct {
        const char *text;
        enum status status;
    } cases[] = {
        {"plain", STATUS_OK},         {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91", STATUS_OK}, {"", STATUS_OK},
        {"a\nb", STATUS_MALFORMED},   {"\x1b[2J", STATUS_MALFORMED},       {"\x7f", STATUS_MALFORMED},
        {"\xff", STATUS_MALFORMED},   {"\xc3", STATUS_MALFORMED},          {"\xc0\x80", STATUS_MALFORMED},
        {"\xed\xa0\x80", STATUS_MALFORMED}, {"\xf4\x90\x80\x80", STATUS_MALFORMED}, {"\xe0\x80\x80", STATUS_MALFORMED},
    };
    struct buffer b;
    struct proof_request p;
    struct error err;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin_proof_request(&b);
        put_field(&b, 1, cases[i].text, strlen(cases[i].text));
        assert_int_equal(take_proof_request(&b, &p, &err), cases[i].status);
        buffer_free(&b);
    }
    begin_proof_request(&b);
    put_field(&b, 1, "a\0b", 3);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_MALFORMED);
    buffer_free(&b);
}

static void an_empty_text_is_present_and_an_absent_one_is_not(void **state)
{
    struct buffer b, again;
    struct proof_request p;
    struct error err;
    (void)state;
    begin_proof_request(&b);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_OK);
    assert_null(p.nonce.data);
    put_field(&b, 5, "", 0);
    assert_int_equal(take_proof_request(&b, &p, &err), STATUS_OK);
    assert_non_null(p.nonce.data);
    buffer_init(&again, 1024);
    message_put(&again, &message_proof_request, &p);
    assert_true(span_equal(buffer_span(&again), buffer_span(&b)));
    buffer_free(&again);
    buffer_free(&b);
}

static void lists_of_messages_survive_the_round_trip(void **state)
{
    struct list_builder builder;
    struct buffer b;
    struct keys_answer answer, decoded;
    struct error err;
    struct span item;
    size_t cursor = 0;
    char name[16];
    int i = 0;
    (void)state;
    list_builder_init(&builder, 100000);
    for (; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "key %d", i);
        list_builder_add(
            &builder, &message_key_info,
            &(struct key_info){.name = span_text(name), .state = span_text("ready"), .waiting = (uint32_t)i});
    }
    answer.keys = list_builder_list(&builder);
    buffer_init(&b, 100000);
    message_put(&b, &message_keys_answer, &answer);
    assert_int_equal(message_take(buffer_span(&b), &message_keys_answer, &decoded, sizeof(decoded), &err), STATUS_OK);
    assert_int_equal(decoded.keys.count, 100);
    for (i = 0; list_next(&decoded.keys, &cursor, &item); i++) {
        struct key_info key;
        assert_int_equal(message_take(item, &message_key_info, &key, sizeof(key), &err), STATUS_OK);
        (void)snprintf(name, sizeof(name), "key %d", i);
        assert_true(span_is(key.name, name));
        assert_int_equal(key.waiting, i);
    }
    assert_int_equal(i, 100);
    buffer_free(&b);
    list_builder_free(&builder);
}

static void errors_survive_the_round_trip(void **state)
{
    struct error e, back;
    struct buffer b;
    struct frame frame;
    size_t size;
    (void)state;
    (void)error_set(&e, STATUS_SERVER_REFUSED, "look", "profile \"%s\": refused", "work");
    e.http_status = 400;
    e.retry_after = 30;
    (void)snprintf(e.oauth_error, sizeof(e.oauth_error), "invalid_client");
    (void)snprintf(e.stage, sizeof(e.stage), "token request");
    buffer_init(&b, 4096);
    messages_put_error(&b, 9, &e);
    assert_int_equal(frame_take(buffer_span(&b), FRAME_MAX, &frame, &size), FRAME_COMPLETE);
    assert_int_equal(frame.operation, OPERATION_ERROR);
    assert_int_equal(frame.request, 9);
    assert_int_equal(messages_take_error(frame.fields, &back), STATUS_OK);
    assert_int_equal(back.status, STATUS_SERVER_REFUSED);
    assert_int_equal(back.http_status, 400);
    assert_int_equal(back.retry_after, 30);
    assert_string_equal(back.message, "profile \"work\": refused");
    assert_string_equal(back.next, "look");
    assert_string_equal(back.oauth_error, "invalid_client");
    assert_string_equal(back.oauth_uri, "");
    assert_string_equal(back.stage, "token request");
    buffer_free(&b);
}

static void tags_are_unique_and_within_their_range(void **state)
{
    (void)state;
    for (size_t i = 0; i < EVERY_MESSAGE_COUNT; i++) {
        uint64_t seen = 0;
        assert_true(every_message[i].size <= EVERY_MESSAGE_LARGEST);
        for (size_t k = 0; k < every_message[i].table->count; k++) {
            const struct field *f = &every_message[i].table->fields[k];
            assert_in_range(f->tag, 1, MESSAGE_MAX_FIELDS);
            assert_false(seen & UINT64_C(1) << f->tag);
            seen |= UINT64_C(1) << f->tag;
            assert_true(f->offset < every_message[i].size);
            assert_true(f->type <= FIELD_U64 || f->max > 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_decodes_to_its_fields_and_encodes_to_its_bytes),
        cmocka_unit_test(every_operation_has_vectors_for_request_and_answer),
        cmocka_unit_test(a_message_cut_inside_a_field_is_malformed),
        cmocka_unit_test(a_field_twice_is_malformed_unless_it_is_a_list),
        cmocka_unit_test(a_missing_required_field_is_malformed_and_named),
        cmocka_unit_test(a_value_over_its_limit_is_malformed),
        cmocka_unit_test(an_unknown_field_is_skipped_but_refused_when_critical),
        cmocka_unit_test(the_critical_bit_does_not_change_a_known_field),
        cmocka_unit_test(numbers_have_exactly_their_size),
        cmocka_unit_test(text_is_utf8_without_control_characters),
        cmocka_unit_test(an_empty_text_is_present_and_an_absent_one_is_not),
        cmocka_unit_test(lists_of_messages_survive_the_round_trip),
        cmocka_unit_test(errors_survive_the_round_trip),
        cmocka_unit_test(tags_are_unique_and_within_their_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
