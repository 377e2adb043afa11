/* What a user said about a token: kept by the front, added to the store's answer, and told to the supervisor. The test
   is in the place of the other processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "pin_turns.h"

#define TOKEN "/x.so\none"

static struct front front;
static struct pin_turns *turns;
static struct error err;
static unsigned int told;
static struct kept_pin last_told;
static uint8_t told_sealed[SEALED_PIN_MAX];
static struct child child = {.id = 3, .stream = {.fd = -1}};

/* In the place of children.c and stream.c. */
void children_tell(struct children *c, uint16_t operation, const struct message *m, const void *in)
{
    (void)c;
    assert_int_equal(operation, INTERNAL_KEEP_PIN);
    assert_ptr_equal(m, &message_kept_pin);
    last_told = *(const struct kept_pin *)in;
    if (last_told.sealed.len > 0)
        memcpy(told_sealed, last_told.sealed.data, last_told.sealed.len);
    told++;
}

void children_kill(struct children *c, struct child *which, const char *reason)
{
    (void)c, (void)which;
    fail_msg("%s", reason);
}

/* The store answers at once. */
void children_call(struct children *c, enum role role, uint16_t operation, const struct message *m, const void *in,
                   uint64_t deadline, call_done done, void *context)
{
    static const uint8_t salt[PIN_SALT_SIZE] = {1}, verifier[PIN_VERIFIER_SIZE] = {2};
    struct span refused = span_of(verifier, sizeof(verifier));
    struct pin_records records = {.salt = span_of(salt, sizeof(salt)), .refused = {.items = &refused, .count = 1}};
    struct buffer fields;
    (void)c, (void)m, (void)in, (void)deadline;
    assert_int_equal(role, ROLE_STORE);
    assert_int_equal(operation, INTERNAL_PIN_LOAD);
    buffer_init(&fields, 4096);
    message_put(&fields, &message_pin_records, &records);
    done(context, NULL, buffer_span(&fields));
    buffer_free(&fields);
}

void stream_send(struct stream *s)
{
    (void)s;
}

uint64_t front_now(const struct front *f)
{
    (void)f;
    return 1;
}

/* A process asks; what it is answered. */
static struct pin_records ask(const char *token)
{
    struct buffer fields;
    struct frame frame;
    struct pin_records records;
    struct pin_load m = {.token_id = span_text(token)};
    size_t size;
    buffer_init(&fields, 4096);
    message_put(&fields, &message_pin_load, &m);
    frame = (struct frame){.operation = INTERNAL_PIN_LOAD, .request = 9, .fields = buffer_span(&fields)};
    buffer_clear(&child.stream.out);
    assert_true(pin_turns_frame(turns, &child, &frame));
    buffer_free(&fields);
    assert_int_equal(frame_take(buffer_span(&child.stream.out), 4096, &frame, &size), FRAME_COMPLETE);
    assert_int_equal(frame.operation, INTERNAL_PIN_LOAD | OPERATION_ANSWER);
    assert_int_equal(frame.request, 9);
    assert_int_equal(message_take(frame.fields, &message_pin_records, &records, sizeof(records), &err), STATUS_OK);
    assert_int_equal(records.refused.count, 1); /* the store's are there as they were */
    pin_turns_over(turns, &child);
    return records;
}

static void the_answer_has_what_was_said_about_that_token_and_no_other(void **state)
{
    bool locked;
    (void)state;
    struct pin_records records = ask(TOKEN);
    assert_null(records.kept.data);
    assert_false(records.locked);
    pin_turns_keep(turns, span_text(TOKEN), span_text("sealed"), false);
    assert_int_equal(told, 1);
    assert_int_equal(last_told.sealed.len, 6);
    assert_memory_equal(told_sealed, "sealed", 6);
    records = ask(TOKEN);
    assert_true(span_is(records.kept, "sealed"));
    assert_null(ask("/x.so\nother").kept.data);
    pin_turns_keep(turns, span_text(TOKEN), span_text(NULL), true);
    assert_int_equal(told, 2);
    records = ask(TOKEN);
    assert_null(records.kept.data);
    assert_true(records.locked);
    assert_false(pin_turns_kept(turns, span_text(TOKEN), &locked));
    assert_true(locked);
    assert_false(pin_turns_kept(turns, span_text("unheard of"), &locked));
    assert_false(locked);
}

static void what_the_supervisor_gives_back_is_not_told_to_it_again(void **state)
{
    bool locked;
    const struct kept_pin m = {.token_id = span_text("restored"), .sealed = span_text("s"), .locked = true};
    unsigned int before = told;
    (void)state;
    pin_turns_restore(turns, &m);
    assert_int_equal(told, before);
    assert_true(pin_turns_kept(turns, span_text("restored"), &locked));
    assert_true(locked);
    assert_true(span_is(ask("restored").kept, "s"));
}

static void the_token_of_a_process_is_known_over_its_lives(void **state)
{
    struct child other = {.id = 4};
    (void)state;
    (void)ask(TOKEN);
    child.id = 7;
    assert_true(span_is(pin_turns_token_of(turns, &child), TOKEN));
    (void)ask("now another");
    assert_true(span_is(pin_turns_token_of(turns, &child), "now another"));
    assert_null(pin_turns_token_of(turns, &other).data);
}

static int open_turns(void **state)
{
    (void)state;
    buffer_init(&child.stream.out, 65536);
    turns = pin_turns_new(&front);
    return turns != NULL ? 0 : -1;
}

static int close_turns(void **state)
{
    (void)state;
    pin_turns_free(turns);
    buffer_free(&child.stream.out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_has_what_was_said_about_that_token_and_no_other),
        cmocka_unit_test(what_the_supervisor_gives_back_is_not_told_to_it_again),
        cmocka_unit_test(the_token_of_a_process_is_known_over_its_lives),
    };
    return cmocka_run_group_tests(tests, open_turns, close_turns);
}
