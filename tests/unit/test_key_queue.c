/* The queue of one key: turns of client processes, limits, what comes back, what is too late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "key_queue.h"

#define ITEMS (2 * KEY_QUEUE_MAX)
#define OWNERS 64

static struct queued items[ITEMS];
static struct key_queue queue;

static int set_up(void **state)
{
    (void)state;
    memset(items, 0, sizeof(items));
    queue = (struct key_queue){0};
    return 0;
}

static int drain(void **state)
{
    (void)state;
    while (key_queue_take(&queue) != NULL) {
    }
    return queue.waiting == 0 && queue.turn == NULL && queue.last == NULL ? 0 : -1;
}

static bool add(size_t i, uint32_t owner, bool *own)
{
    items[i].owner = owner;
    return key_queue_add(&queue, &items[i], own);
}

static void must_add(size_t i, uint32_t owner)
{
    bool own;
    assert_true(add(i, owner, &own));
}

static size_t taken(void)
{
    struct queued *item = key_queue_take(&queue);
    assert_non_null(item);
    return (size_t)(item - items);
}

static void test_one_owner_is_served_in_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < 100; i++)
        must_add(i, 7);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(taken(), i);
    assert_null(key_queue_take(&queue));
}

static void test_owners_take_turns(void **state)
{
    (void)state;
    for (size_t i = 0; i < 100; i++)
        must_add(i, 1);
    must_add(200, 2);
    must_add(300, 3);
    must_add(201, 2);
    const size_t wanted[] = {0, 200, 300, 1, 201, 2, 3};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        assert_int_equal(taken(), wanted[i]);
    must_add(301, 3); /* behind who waits already */
    assert_int_equal(taken(), 4);
    assert_int_equal(taken(), 301);
    assert_int_equal(taken(), 5);
}

static void test_the_limits(void **state)
{
    bool own;
    size_t n = 0;
    (void)state;
    for (; n < KEY_QUEUE_OWNER_MAX; n++)
        must_add(n, 1);
    assert_false(add(n, 1, &own));
    assert_true(own);
    must_add(n++, 2);
    for (; n < KEY_QUEUE_MAX; n++) /* the agent itself has no limit of its own */
        must_add(n, 0);
    assert_false(add(n, 3, &own));
    assert_false(own);
    assert_int_equal(queue.waiting, KEY_QUEUE_MAX);
    assert_int_equal(taken(), 0);
    must_add(n, 3);
}

static void test_what_comes_back_goes_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++)
        must_add(i, 1 + (uint32_t)i % 2);
    size_t first = taken(), second = taken();
    key_queue_return(&queue, &items[second]);
    key_queue_return(&queue, &items[first]);
    assert_int_equal(queue.waiting, 4);
    assert_int_equal(taken(), first);
    assert_int_equal(taken(), second);
    assert_int_equal(taken(), 2);
    assert_int_equal(taken(), 3);
}

static bool is_odd(const struct queued *item, void *context)
{
    (void)context;
    return (item - items) % 2 == 1;
}

static void test_some_are_taken_out_of_their_turn(void **state)
{
    struct queued *item;
    size_t n = 0;
    (void)state;
    for (size_t i = 0; i < 30; i++)
        must_add(i, 1 + (uint32_t)i % 3);
    must_add(31, 9); /* the only one of its owner, who goes with it */
    key_queue_return(&queue, key_queue_take(&queue));
    while ((item = key_queue_take_if(&queue, is_odd, NULL)) != NULL) {
        assert_true(is_odd(item, NULL));
        n++;
    }
    assert_int_equal(n, 16);
    assert_int_equal(queue.waiting, 15);
    must_add(40, 2); /* an owner whose last one was taken out goes on behind its others */
    for (size_t i = 0; i < 16; i++)
        assert_false(is_odd(&items[taken()], NULL));
}

/* Owners come and go at random: nothing is lost, and nobody who waits is passed over more often than there are
   others. */
static void test_at_random(void **state)
{
    unsigned int passed[OWNERS] = {0}, waiting[OWNERS] = {0};
    size_t n = 0, out = 0;
    bool own;
    (void)state;
    srand(4);
    while (n < ITEMS || queue.waiting > 0) {
        uint32_t owner = (uint32_t)rand() % OWNERS;
        if (n < ITEMS && rand() % 2 == 0) {
            if (add(n, owner + 1, &own) && waiting[owner]++ == 0)
                passed[owner] = 0;
            else if (own)
                assert_int_equal(waiting[owner], KEY_QUEUE_OWNER_MAX);
            n++;
            continue;
        }
        struct queued *item = key_queue_take(&queue);
        if (item == NULL)
            continue;
        out++;
        for (size_t i = 0; i < OWNERS; i++)
            if (waiting[i] > 0 && i + 1 != item->owner)
                assert_true(++passed[i] < OWNERS);
        passed[item->owner - 1] = 0;
        waiting[item->owner - 1]--;
    }
    assert_true(out > ITEMS / 2);
    for (size_t i = 0; i < OWNERS; i++)
        assert_int_equal(waiting[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_owner_is_served_in_order, set_up, drain),
        cmocka_unit_test_setup_teardown(test_owners_take_turns, set_up, drain),
        cmocka_unit_test_setup_teardown(test_the_limits, set_up, drain),
        cmocka_unit_test_setup_teardown(test_what_comes_back_goes_first, set_up, drain),
        cmocka_unit_test_setup_teardown(test_some_are_taken_out_of_their_turn, set_up, drain),
        cmocka_unit_test_setup_teardown(test_at_random, set_up, drain),
    };
    return cmocka_run_group_tests_name("key_queue", tests, NULL, NULL);
}
