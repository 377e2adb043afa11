/* A reload in two steps, with the supervisor replaced by the test: who asked is told once, and only a good configuration is
   used, after that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <string.h>

#include "children.h"
#include "reload.h"

static struct {
    call_done done; /* of the question that the supervisor has not answered yet */
    void *context;
    unsigned int asked, used, told;
    unsigned int used_when_told;
    bool good;
    struct error err;
} world;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return 1000;
}

void children_ask(struct children *c, uint16_t operation, uint64_t deadline, call_done done, void *context)
{
    (void)c;
    assert_int_equal(operation, INTERNAL_RELOAD);
    assert_true(deadline > 1000);
    world.asked++;
    world.done = done;
    world.context = context;
}

void children_command(struct children *c, uint16_t operation)
{
    (void)c;
    assert_int_equal(operation, INTERNAL_RELOAD_GO);
    world.used++;
}

static void on_told(void *context, const struct error *err)
{
    assert_ptr_equal(context, &world);
    world.told++;
    world.used_when_told = world.used;
    world.good = err == NULL;
    if (err != NULL)
        world.err = *err;
}

static int begin(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    static struct front f; /* lives as long as the reload */
    reload_start(&f, on_told, &world);
    assert_int_equal(world.asked, 1);
    assert_int_equal(world.told, 0);
    return 0;
}

/* The supervisor's answer; `err` NULL: the configuration is good. */
static void answer(const struct error *err)
{
    struct reload_checked checked = {{0}};
    struct buffer text, fields;
    struct frame frame;
    size_t size;
    buffer_init(&text, 4096);
    buffer_init(&fields, 4096);
    if (err != NULL) {
        messages_put_error(&text, 1, err);
        assert_int_equal(frame_take(buffer_span(&text), 4096, &frame, &size), FRAME_COMPLETE);
        checked.error = frame.fields;
    }
    message_put(&fields, &message_reload_checked, &checked);
    world.done(world.context, NULL, buffer_span(&fields));
    buffer_free(&text);
    buffer_free(&fields);
    assert_int_equal(world.told, 1);
}

static void a_good_configuration_is_used_after_the_answer(void **state)
{
    (void)state;
    answer(NULL);
    assert_true(world.good);
    assert_int_equal(world.used_when_told, 0);
    assert_int_equal(world.used, 1);
}

static void a_mistake_is_told_with_its_line_and_next_step_and_nothing_is_used(void **state)
{
    struct error err;
    (void)state;
    (void)error_set(&err, STATUS_CONFIGURATION, "correct it", "agent.conf:3: unknown option");
    answer(&err);
    assert_false(world.good);
    assert_int_equal(world.err.status, STATUS_CONFIGURATION);
    assert_string_equal(world.err.message, "agent.conf:3: unknown option");
    assert_string_equal(world.err.next, "correct it");
    assert_int_equal(world.used, 0);
}

static void a_supervisor_that_does_not_answer_is_an_error(void **state)
{
    struct error err;
    (void)state;
    (void)error_set(&err, STATUS_TIMEOUT, "try again", "no answer");
    world.done(world.context, &err, span_of("", 0));
    assert_int_equal(world.told, 1);
    assert_int_equal(world.err.status, STATUS_TIMEOUT);
    assert_int_equal(world.used, 0);
}

static void an_answer_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    world.done(world.context, NULL, span_of("nonsense", 8));
    assert_int_equal(world.told, 1);
    assert_false(world.good);
    assert_int_equal(world.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_good_configuration_is_used_after_the_answer, begin),
        cmocka_unit_test_setup(a_mistake_is_told_with_its_line_and_next_step_and_nothing_is_used, begin),
        cmocka_unit_test_setup(a_supervisor_that_does_not_answer_is_an_error, begin),
        cmocka_unit_test_setup(an_answer_that_cannot_be_read_is_an_error, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
