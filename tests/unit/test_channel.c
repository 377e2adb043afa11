/* A child's end of its channel: whole frames in and out, however the bytes come, and the end of the front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "internal.h"

struct world {
    struct channel channel;
    int front;
};
static struct world world;

static int make_world(void **state)
{
    int ends[2];
    *state = &world;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return -1;
    channel_init(&world.channel, ends[0]);
    world.front = ends[1];
    return 0;
}

static int free_world(void **state)
{
    (void)state;
    (void)close(world.channel.fd);
    if (world.front >= 0)
        (void)close(world.front);
    channel_free(&world.channel);
    return 0;
}

static void put_frame(struct buffer *b, uint16_t operation, uint32_t request, size_t len)
{
    size_t begin = frame_begin(b, operation, request);
    for (size_t i = 0; i < len; i++)
        buffer_put(b, "x", 1);
    frame_end(b, begin);
    assert_false(b->failed);
}

static void write_all(const void *data, size_t len)
{
    assert_int_equal(send(world.front, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void assert_frame(const struct frame *f, uint16_t operation, uint32_t request, size_t len)
{
    assert_int_equal(f->operation, operation);
    assert_int_equal(f->request, request);
    assert_int_equal(f->fields.len, len);
}

static void test_frames_that_come_together_are_taken_one_by_one(void **state)
{
    struct buffer b;
    struct frame f;
    (void)state;
    buffer_init(&b, 4096);
    for (uint32_t i = 1; i <= 3; i++)
        put_frame(&b, 1, i, i);
    write_all(buffer_span(&b).data, b.len);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(channel_read(&world.channel, &f), 1);
        assert_frame(&f, 1, i, i);
    }
    assert_int_equal(channel_take(&world.channel, &f), 0);
    buffer_free(&b);
}

static void test_a_frame_that_comes_byte_by_byte_is_one_frame(void **state)
{
    struct buffer b;
    struct frame f;
    (void)state;
    buffer_init(&b, 4096);
    put_frame(&b, 7, 9, 20);
    for (size_t i = 0; i < b.len; i++) {
        assert_int_equal(channel_take(&world.channel, &f), 0);
        write_all(buffer_span(&b).data + i, 1);
        assert_int_equal(channel_fill(&world.channel), 1);
    }
    assert_int_equal(channel_take(&world.channel, &f), 1);
    assert_frame(&f, 7, 9, 20);
    buffer_free(&b);
}

static void test_the_fronts_end_is_told_apart_from_an_error(void **state)
{
    struct frame f;
    (void)state;
    (void)close(world.front);
    world.front = -1;
    assert_int_equal(channel_read(&world.channel, &f), 0);
}

static void test_an_end_in_the_middle_of_a_frame_is_an_end(void **state)
{
    struct frame f;
    (void)state;
    write_all("\0\0\0\x20\0\1", 6);
    (void)close(world.front);
    world.front = -1;
    assert_int_equal(channel_read(&world.channel, &f), 0);
}

static void test_a_malformed_or_oversized_length_is_an_error(void **state)
{
    struct frame f;
    (void)state;
    write_all("\0\0\0\7", 4);
    assert_int_equal(channel_read(&world.channel, &f), -1);
    buffer_clear(&world.channel.in);
    write_all("\0\x40\0\0", 4); /* 4 MiB, and 4 bytes for the length itself */
    assert_int_equal(channel_read(&world.channel, &f), -1);
    buffer_clear(&world.channel.in);
    write_all("\xff\xff\xff\xff", 4);
    assert_int_equal(channel_read(&world.channel, &f), -1);
}

/* Both directions at once need somebody at the other end: a child that sends back what it reads. */
static pid_t start_echo(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    struct channel echo;
    struct frame f;
    (void)close(world.channel.fd);
    channel_init(&echo, world.front);
    while (channel_read(&echo, &f) == 1) {
        size_t begin = frame_begin(&echo.out, f.operation, f.request);
        buffer_put(&echo.out, f.fields.data, f.fields.len);
        frame_end(&echo.out, begin);
        if (channel_flush(&echo) != 0)
            break;
    }
    channel_free(&echo);
    _exit(0);
}

static void test_the_largest_frame_passes_both_ways_also_over_a_descriptor_that_does_not_block(void **state)
{
    struct frame f;
    uint8_t *room;
    size_t size = INTERNAL_FRAME_MAX - FRAME_HEADER_SIZE;
    (void)state;
    assert_int_equal(fcntl(world.channel.fd, F_SETFL, O_NONBLOCK), 0);
    pid_t pid = start_echo();
    (void)close(world.front);
    world.front = -1;
    for (uint32_t i = 0; i < 3; i++) {
        size_t begin = frame_begin(&world.channel.out, 5, i);
        assert_non_null(room = buffer_room(&world.channel.out, size));
        memset(room, (int)i, size);
        buffer_added(&world.channel.out, size);
        frame_end(&world.channel.out, begin);
        assert_int_equal(channel_flush(&world.channel), 0);
        assert_int_equal(world.channel.out.len, 0);
        assert_int_equal(channel_read(&world.channel, &f), 1);
        assert_frame(&f, 5, i, size);
        assert_true(f.fields.data[0] == i && f.fields.data[size - 1] == i);
    }
    (void)shutdown(world.channel.fd, SHUT_RDWR);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_writing_to_a_front_that_is_gone_is_an_error_and_no_signal(void **state)
{
    (void)state;
    (void)close(world.front);
    world.front = -1;
    put_frame(&world.channel.out, 1, 1, 10);
    assert_int_equal(channel_flush(&world.channel), -1);
}

static void test_more_than_can_be_held_is_an_error_when_it_is_sent(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        (void)buffer_room(&world.channel.out, INTERNAL_FRAME_MAX);
        if (!world.channel.out.failed)
            buffer_added(&world.channel.out, INTERNAL_FRAME_MAX);
    }
    assert_int_equal(channel_flush(&world.channel), -1);
    buffer_clear(&world.channel.out);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, make_world, free_world)
    const struct CMUnitTest tests[] = {
        TEST(test_frames_that_come_together_are_taken_one_by_one),
        TEST(test_a_frame_that_comes_byte_by_byte_is_one_frame),
        TEST(test_the_fronts_end_is_told_apart_from_an_error),
        TEST(test_an_end_in_the_middle_of_a_frame_is_an_end),
        TEST(test_a_malformed_or_oversized_length_is_an_error),
        TEST(test_the_largest_frame_passes_both_ways_also_over_a_descriptor_that_does_not_block),
        TEST(test_writing_to_a_front_that_is_gone_is_an_error_and_no_signal),
        TEST(test_more_than_can_be_held_is_an_error_when_it_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
