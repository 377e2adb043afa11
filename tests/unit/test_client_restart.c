/*
 * libdpop-agent while its agent restarts: what is sent again without a word, what is not, and the descriptors that a
 * request carries.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "client_calls.h"
#include "deadline.h"
#include "internal.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATIENCE 5000

/* Connections before this one do what the test says; it and those behind it are polite. */
struct script {
    int polite_from;
    void (*misbehave)(int fd);
};

static void serve(struct fake_agent *fake, int fd, int number)
{
    struct script *s = fake->context;
    if (number >= s->polite_from)
        fake_polite(fake, fd, number);
    else
        s->misbehave(fd);
}

/* Gives every request back, as an agent that reloads. */
static void give_back(int fd)
{
    struct buffer b;
    struct frame frame;
    if (fake_hello(fd, &b) && fake_read(fd, &b, &frame))
        fake_error(fd, frame.request, STATUS_RESTARTED, "the agent reloads");
    buffer_free(&b);
}

static void give_back_hello(int fd)
{
    struct buffer b;
    struct frame frame;
    buffer_init(&b, FRAME_MAX);
    if (fake_read(fd, &b, &frame))
        fake_error(fd, frame.request, STATUS_RESTARTED, "the agent reloads");
    buffer_free(&b);
}

/* Greets, and closes when the next request is there, unread; then the kernel says ECONNRESET at the other end. */
static void leave_unread(int fd)
{
    struct buffer b;
    if (fake_hello(fd, &b))
        (void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, PATIENCE);
    buffer_free(&b);
}

static void leave_hello_unread(int fd)
{
    (void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, PATIENCE);
}

static void read_and_close(int fd)
{
    struct buffer b;
    struct frame frame;
    if (fake_hello(fd, &b))
        (void)fake_read(fd, &b, &frame);
    buffer_free(&b);
}

static void close_at_once(int fd)
{
    (void)fd;
}

static void a_proof_is_asked_for_again_until_the_agent_is_back(void **state)
{
    void (*const ways[])(int) = {give_back, give_back_hello, leave_unread, leave_hello_unread};
    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct script script = {.polite_from = 3, .misbehave = ways[i]};
        struct fake_agent fake;
        struct dpop_agent *agent = NULL;
        struct dpop_error err;
        fake_start(&fake, serve, &script);
        assert_int_equal(dpop_agent_connect(&agent, fake.path, PATIENCE, &err), DPOP_OK);
        assert_works(agent);
        assert_int_equal(fake.count, 4);
        dpop_agent_close(&agent);
        fake_stop(&fake);
    }
}

static void an_agent_that_never_comes_back_costs_no_more_than_the_deadline(void **state)
{
    struct script script = {.polite_from = FAKE_MOST_CONNECTIONS, .misbehave = give_back};
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, serve, &script);
    struct dpop_agent *agent = connect_to(&fake);
    int64_t deadline = deadline_after(300);
    assert_int_equal(ask(agent, NULL, 300, &proof, &err), STATUS_RESTARTED);
    assert_true(deadline_left(deadline) < 200); /* it has tried */
    assert_string_equal(err.message, "the agent reloads");
    assert_null(proof.proof);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static int lock(struct dpop_agent *agent, struct dpop_error *err)
{
    const struct lock_request in = {.key = span_text("work")};
    struct unlock_answer answer;
    const struct call call = {.operation = OPERATION_LOCK, .request = &message_lock_request, .in = &in,
                              .answer = &message_unlock_answer, .out = &answer, .out_size = sizeof(answer),
                              .deadline = deadline_after(PATIENCE)};
    int status = call_perform(agent, &call, err);
    if (status == DPOP_OK)
        call_done(agent);
    return status;
}

static int token(struct dpop_agent *agent, const char *assertion, struct dpop_error *err)
{
    struct dpop_token out = {0};
    int status = dpop_agent_token(agent, &(struct dpop_token_request){.profile = "work", .assertion = assertion,
                                                                      .timeout_ms = PATIENCE}, &out, err);
    dpop_token_clear(&out);
    return status;
}

/* What changes something is not asked for twice, unless the agent cannot have read it; nor is an assertion. */
static void what_may_have_been_done_is_not_done_again(void **state)
{
    struct script script = {.polite_from = 1, .misbehave = give_back};
    struct fake_agent fake;
    struct dpop_error err;
    (void)state;
    for (int i = 0; i < 4; i++) {
        script.misbehave = i == 0 || i == 2 ? give_back : i == 1 ? leave_unread : read_and_close;
        fake_start(&fake, serve, &script);
        struct dpop_agent *agent = connect_to(&fake);
        if (i == 0)
            assert_int_equal(lock(agent, &err), STATUS_RESTARTED);
        else if (i == 1)
            assert_int_equal(lock(agent, &err), DPOP_OK);
        else if (i == 2)
            assert_int_equal(token(agent, "an.assertion.once", &err), STATUS_RESTARTED);
        else
            assert_int_equal(token(agent, NULL, &err), DPOP_AGENT_UNREACHABLE);
        assert_int_equal(token(agent, "an.assertion.more", &err), DPOP_OK);
        dpop_agent_close(&agent);
        fake_stop(&fake);
    }
}

static void an_agent_that_drops_connections_unasked_is_not_tried_for_ever(void **state)
{
    struct script script = {.polite_from = FAKE_MOST_CONNECTIONS, .misbehave = close_at_once};
    struct fake_agent fake;
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    (void)state;
    fake_start(&fake, serve, &script);
    assert_int_equal(dpop_agent_connect(&agent, fake.path, 400, &err), DPOP_AGENT_UNREACHABLE);
    assert_null(agent);
    fake_stop(&fake);
}

/* --- descriptors --- */

/* What one recvmsg brought: the bytes' number, and what the descriptors in it say when they are read. */
struct parcel {
    size_t bytes;
    char texts[LIMIT_DESCRIPTORS][16];
    size_t count;
};

static struct parcel receive(int fd, uint8_t *room, size_t size)
{
    union {
        char bytes[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {.iov_base = room, .iov_len = size};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes,
                            .msg_controllen = sizeof(ancillary.bytes)};
    ssize_t n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    struct parcel p = {.bytes = n > 0 ? (size_t)n : 0};
    for (struct cmsghdr *m = CMSG_FIRSTHDR(&header); n > 0 && m != NULL; m = CMSG_NXTHDR(&header, m))
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= m->cmsg_len; at += sizeof(int)) {
            int came;
            memcpy(&came, CMSG_DATA(m) + at, sizeof(came));
            assert_true(p.count < LIMIT_DESCRIPTORS);
            ssize_t len = read(came, p.texts[p.count], sizeof(p.texts[0]) - 1);
            p.texts[p.count++][len > 0 ? len : 0] = '\0';
            assert_int_equal(close(came), 0);
        }
    return p;
}

struct parcels {
    struct parcel items[64];
    size_t count;
    int may_read; /* 0: not yet */
};

/* Greets; then notes what came with which bytes, until it has answered two requests. */
static void serve_parcels(struct fake_agent *fake, int fd, int number)
{
    struct parcels *p = fake->context;
    struct buffer b;
    struct frame frame;
    size_t size;
    (void)number;
    if (!fake_hello(fd, &b))
        return;
    while (__atomic_load_n(&p->may_read, __ATOMIC_ACQUIRE) == 0)
        (void)poll(NULL, 0, 5);
    buffer_clear(&b);
    while (p->count < 64) {
        uint8_t *room = buffer_room(&b, 65536);
        struct parcel came = receive(fd, room, 65536);
        if (came.bytes == 0)
            break;
        buffer_added(&b, came.bytes);
        p->items[p->count++] = came;
        while (frame_take(buffer_span(&b), FRAME_MAX, &frame, &size) == FRAME_COMPLETE) {
            if (frame.operation == OPERATION_UNLOCK)
                fake_answer(fd, &frame, &message_unlock_answer, &(struct unlock_answer){.token = span_text("t")});
            else
                fake_polite_answer(fd, &frame);
            buffer_consume(&b, size);
        }
    }
    buffer_free(&b);
}

static int pipe_with(const char *text)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
    (void)close(ends[1]);
    return ends[0];
}

static int unlock_with(struct dpop_agent *agent, const int *descriptors, size_t count, uint32_t timeout_ms)
{
    const struct unlock_request in = {.key = span_text("work")};
    struct unlock_answer answer;
    struct dpop_error err;
    struct call call = {.operation = OPERATION_UNLOCK, .request = &message_unlock_request, .in = &in,
                        .answer = &message_unlock_answer, .out = &answer, .out_size = sizeof(answer),
                        .deadline = deadline_after(timeout_ms), .descriptor_count = count};
    memcpy(call.descriptors, descriptors, count * sizeof(int));
    int status = call_perform(agent, &call, &err);
    if (status == DPOP_OK)
        call_done(agent);
    return status;
}

static void descriptors_come_with_their_request_and_no_other(void **state)
{
    struct parcels parcels = {.may_read = 1};
    struct fake_agent fake;
    (void)state;
    fake_start(&fake, serve_parcels, &parcels);
    struct dpop_agent *agent = connect_to(&fake);
    const int fds[2] = {pipe_with("one"), pipe_with("two")};
    assert_works(agent);
    assert_int_equal(unlock_with(agent, fds, 2, PATIENCE), DPOP_OK);
    assert_works(agent);
    dpop_agent_close(&agent);
    fake_stop(&fake);
    assert_int_equal(parcels.count, 3);
    assert_int_equal(parcels.items[0].count, 0);
    assert_int_equal(parcels.items[1].count, 2);
    assert_string_equal(parcels.items[1].texts[0], "one");
    assert_string_equal(parcels.items[1].texts[1], "two");
    assert_int_equal(parcels.items[2].count, 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* Behind a frame that is half sent: not with its bytes. And those of a request that was taken back are not sent. */
static void descriptors_wait_for_the_bytes_in_front_of_their_request(void **state)
{
    static char token_text[65536];
    struct parcels parcels = {.may_read = 0};
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    size_t with = 0;
    (void)state;
    memset(token_text, 't', sizeof(token_text) - 1);
    fake_start(&fake, serve_parcels, &parcels);
    struct dpop_agent *agent = connect_to(&fake);
    const int lost[1] = {pipe_with("lost")}, kept[1] = {pipe_with("kept")};
    for (int i = 0; i < 20 && agent->connection.out.len == 0; i++)
        assert_int_equal(dpop_agent_proof(agent,
                                          &(struct dpop_proof_request){.method = "GET", .url = URL,
                                                                       .access_token = token_text, .timeout_ms = 20},
                                          &proof, &err),
                         DPOP_TIMEOUT);
    assert_true(agent->connection.out.len > 0);
    assert_int_equal(unlock_with(agent, lost, 1, 20), DPOP_TIMEOUT);
    __atomic_store_n(&parcels.may_read, 1, __ATOMIC_RELEASE);
    assert_int_equal(unlock_with(agent, kept, 1, PATIENCE), DPOP_OK);
    dpop_agent_close(&agent);
    fake_stop(&fake);
    for (size_t i = 0; i < parcels.count; i++)
        if (parcels.items[i].count > 0) {
            with++;
            assert_string_equal(parcels.items[i].texts[0], "kept");
        }
    assert_int_equal(with, 1);
    (void)close(lost[0]);
    (void)close(kept[0]);
}

/* An agent that had not read the request gives the descriptor to nobody: it is sent again with the request. */
static void descriptors_are_sent_again_with_a_request_that_nobody_read(void **state)
{
    struct script script = {.polite_from = 1, .misbehave = leave_unread};
    struct fake_agent fake;
    (void)state;
    fake_start(&fake, serve, &script);
    struct dpop_agent *agent = connect_to(&fake);
    const int fds[1] = {pipe_with("1234\n")};
    assert_int_equal(unlock_with(agent, fds, 1, PATIENCE), DPOP_OK);
    assert_int_equal(fake.count, 2);
    dpop_agent_close(&agent);
    fake_stop(&fake);
    (void)close(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proof_is_asked_for_again_until_the_agent_is_back),
        cmocka_unit_test(an_agent_that_never_comes_back_costs_no_more_than_the_deadline),
        cmocka_unit_test(what_may_have_been_done_is_not_done_again),
        cmocka_unit_test(an_agent_that_drops_connections_unasked_is_not_tried_for_ever),
        cmocka_unit_test(descriptors_come_with_their_request_and_no_other),
        cmocka_unit_test(descriptors_wait_for_the_bytes_in_front_of_their_request),
        cmocka_unit_test(descriptors_are_sent_again_with_a_request_that_nobody_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
