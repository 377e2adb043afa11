/* Session logs in memory: entries in their order, the oldest lost first, readers who wait, and what is handed to the store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "children.h"
#include "trace.h"

#define SECOND UINT64_C(1000000)

static const char text[] = "[key k]\nuri = pkcs11:object=k\n"
                           "[profile one]\nkey = k\nissuer = https://as\nclient-id = a\nclient-secret-file = /s\norigins = https://a\n"
                           "[profile two]\nkey = k\nissuer = https://as\nclient-id = a\nclient-secret-file = /s\norigins = https://a\n"
                           "trace-file = /trace\n";

static struct front front;
static uint64_t now;
static unsigned int waits;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return now;
}

void front_wait(struct front *f)
{
    (void)f;
    waits++;
}

static struct written {
    char profile[64];
    size_t len;
    char begin[64], end[16];
    call_done done;
    void *context;
} written[8];
static size_t written_count;

void children_call(struct children *c, enum role role, uint16_t operation, const struct message *m, const void *in,
                   uint64_t deadline, call_done done, void *context)
{
    const struct trace_write *w = in;
    struct written *to = &written[written_count++];
    (void)c;
    assert_int_equal(role, ROLE_STORE);
    assert_int_equal(operation, INTERNAL_TRACE_WRITE);
    assert_ptr_equal(m, &message_trace_write);
    assert_true(deadline > now);
    assert_true(w->text.len <= LIMIT_TRACE);
    *to = (struct written){.len = w->text.len, .done = done, .context = context};
    assert_int_equal(span_copy(w->profile, to->profile, sizeof(to->profile)), 0);
    size_t shown = w->text.len < 60 ? w->text.len : 60;
    memcpy(to->begin, w->text.data, shown);
    memcpy(to->end, w->text.data + w->text.len - 5, 5);
}

static struct reading {
    unsigned int calls;
    size_t count, bytes, longest;
    uint64_t first, last;
    char newest[64];
} reading;

static void on_entries(void *context, const struct list *entries)
{
    struct reading *r = context;
    struct trace_entry e;
    struct error err;
    struct span item;
    struct buffer wire;
    size_t cursor = 0;
    r->calls++;
    while (list_next(entries, &cursor, &item)) {
        assert_int_equal(message_take(item, &message_trace_entry, &e, sizeof(e), &err), STATUS_OK);
        assert_true(e.sequence > r->last);
        assert_true(e.time > 1700000000);
        r->first = r->count == 0 ? e.sequence : r->first;
        r->last = e.sequence;
        r->count++;
        r->bytes += e.text.len;
        r->longest = item.len > r->longest ? item.len : r->longest;
        size_t shown = e.text.len < 63 ? e.text.len : 63;
        memcpy(r->newest, e.text.data, shown);
        r->newest[shown] = '\0';
    }
    buffer_init(&wire, FRAME_MAX); /* the answer must be one that a client takes */
    struct trace_answer answer = {.entries = *entries}, back;
    message_put(&wire, &message_trace_answer, &answer);
    assert_false(wire.failed);
    assert_int_equal(message_take(buffer_span(&wire), &message_trace_answer, &back, sizeof(back), &err), STATUS_OK);
    buffer_free(&wire);
}

static const struct profile_config *profile(const char *name)
{
    return config_profile(front.config, span_text(name));
}

static void read_for(const char *name, uint64_t after, unsigned int seconds)
{
    reading = (struct reading){.calls = 0};
    trace_get(&front, profile(name), after, now + seconds * SECOND, on_entries, &reading);
}

static void add(const char *name, const char *words)
{
    trace_add(&front, profile(name), span_text(words));
}

static int open_world(void **state)
{
    struct config *config;
    struct error err;
    (void)state;
    now = 1000 * SECOND;
    waits = 0;
    written_count = 0;
    front = (struct front){.started = 0};
    if (config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &config, &err) != STATUS_OK)
        return -1;
    front.config = config;
    return traces_open(&front);
}

static int close_world(void **state)
{
    (void)state;
    traces_free(front.traces);
    config_free((struct config *)(uintptr_t)front.config);
    return 0;
}

static void test_entries_come_back_in_their_order_after_a_number(void **state)
{
    (void)state;
    read_for("one", 0, 0);
    assert_int_equal(reading.calls, 1);
    assert_int_equal(reading.count, 0);
    add("one", "first\n");
    add("two", "of another profile\n");
    add("one", "second\n");
    add("one", "");
    trace_add(&front, profile("one"), span_text(NULL));
    read_for("one", 0, 30); /* there are some: nobody waits */
    assert_int_equal(reading.calls, 1);
    assert_int_equal(reading.count, 2);
    assert_string_equal(reading.newest, "second\n");
    uint64_t last = reading.last;
    read_for("one", reading.first, 0);
    assert_int_equal(reading.count, 1);
    assert_int_equal(reading.last, last);
}

static void test_the_oldest_is_lost_when_there_is_no_more_room(void **state)
{
    char line[1001];
    (void)state;
    memset(line, 'x', sizeof(line) - 1);
    line[999] = '\n';
    line[1000] = '\0';
    for (unsigned int i = 0; i < 1000; i++) {
        (void)snprintf(line, sizeof(line), "%04u", i);
        line[4] = ' ';
        add("one", line);
    }
    read_for("one", 0, 0);
    assert_int_equal(reading.bytes, 131000);
    assert_memory_equal(reading.newest, "0999 ", 5);
}

static void test_a_long_text_is_cut_behind_a_line_into_entries_that_fit(void **state)
{
    size_t size = 200000;
    char *words = malloc(size + 1);
    (void)state;
    assert_non_null(words);
    for (size_t i = 0; i < size; i++)
        words[i] = i % 100 == 99 ? '\n' : 'y';
    words[size] = '\0';
    add("two", words);
    read_for("two", 0, 0);
    assert_true(reading.longest <= LIMIT_NESTED);
    assert_true(reading.bytes <= TRACE_BYTES_MAX);
    assert_int_equal(reading.bytes % 100, 0);
    assert_int_equal(written_count, 4);
    size_t sum = 0;
    for (size_t i = 0; i < written_count; i++) {
        sum += written[i].len;
        assert_int_equal(written[i].end[4], '\n');
    }
    assert_int_equal(sum, size + 4 * strlen("--- 2026-11-21T12:00:00Z\n"));
    free(words);
}

static void test_a_reader_waits_for_the_next_entry_or_its_deadline(void **state)
{
    (void)state;
    add("one", "old\n");
    read_for("one", 0, 0);
    read_for("one", reading.last, 10);
    assert_int_equal(reading.calls, 0);
    assert_true(traces_waiting(front.traces));
    assert_true(waits > 0);
    add("two", "elsewhere\n");
    assert_int_equal(reading.calls, 0);
    add("one", "new\n");
    assert_int_equal(reading.calls, 1);
    assert_string_equal(reading.newest, "new\n");
    assert_false(traces_waiting(front.traces));
    read_for("one", reading.last, 10);
    now += 9 * SECOND;
    traces_tick(front.traces, now);
    assert_int_equal(reading.calls, 0);
    now += 2 * SECOND;
    traces_tick(front.traces, now);
    assert_int_equal(reading.calls, 1);
    assert_int_equal(reading.count, 0);
}

static void test_who_waits_at_the_end_is_told(void **state)
{
    (void)state;
    read_for("one", 0, 10);
    assert_int_equal(reading.calls, 0);
    traces_free(front.traces);
    front.traces = NULL;
    assert_int_equal(reading.calls, 1);
}

static void test_a_note_is_one_clean_line(void **state)
{
    (void)state;
    trace_note(&front, profile("one"), "The server says: %s", "a\nb\x1b[31m\xff");
    read_for("one", 0, 0);
    assert_string_equal(reading.newest, "The server says: a?b?[31m?\n");
}

static void test_a_trace_file_gets_each_entry_with_its_time_and_a_failure_disturbs_nobody(void **state)
{
    struct error err;
    (void)state;
    add("one", "not written\n");
    add("two", "written\n");
    assert_int_equal(written_count, 1);
    assert_string_equal(written[0].profile, "two");
    assert_memory_equal(written[0].begin, "--- 2", 5);
    assert_string_equal(strchr(written[0].begin, '\n'), "\nwritten\n");
    (void)error_set(&err, STATUS_STORE_FAILED, NULL, "the disk is full");
    written[0].done(written[0].context, &err, span_of("", 0));
    add("two", "again\n");
    written[1].done(written[1].context, &err, span_of("", 0));
    written[1].done(written[1].context, NULL, span_of("", 0));
    read_for("two", 0, 0);
    assert_int_equal(reading.count, 2);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_entries_come_back_in_their_order_after_a_number),
        TEST(test_the_oldest_is_lost_when_there_is_no_more_room),
        TEST(test_a_long_text_is_cut_behind_a_line_into_entries_that_fit),
        TEST(test_a_reader_waits_for_the_next_entry_or_its_deadline),
        TEST(test_who_waits_at_the_end_is_told),
        TEST(test_a_note_is_one_clean_line),
        TEST(test_a_trace_file_gets_each_entry_with_its_time_and_a_failure_disturbs_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
