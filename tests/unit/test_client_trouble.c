/* libdpop-agent against an agent that is slow, silent, broken, hostile or gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "client_calls.h"
#include "internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t milliseconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void send_byte_by_byte(int fd, const struct frame *frame)
{
    struct buffer out;
    buffer_init(&out, FRAME_MAX);
    message_put_frame(&out, frame->operation | OPERATION_ANSWER, frame->request, &message_proof_answer,
                      &(struct proof_answer){.proof = span_text("slow"), .htu = span_text(URL), .jkt = span_text("j")});
    for (size_t i = 0; i < out.len; i++) {
        fake_send(fd, out.data + i, 1);
        (void)poll(NULL, 0, 1);
    }
    buffer_free(&out);
    fake_hang(fd);
}

static void an_answer_in_pieces_is_put_together(void **state)
{
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, fake_once, (void *)(uintptr_t)send_byte_by_byte);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(ask(agent, NULL, 5000, &proof, &err), DPOP_OK);
    assert_string_equal(proof.proof, "slow");
    dpop_proof_clear(&proof);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

/* Answers the first request only when the second has come. */
static void serve_late(struct fake_agent *fake, int fd, int number)
{
    struct buffer b, second;
    struct frame frame;
    (void)fake;
    (void)number;
    buffer_init(&second, FRAME_MAX);
    if (fake_hello(fd, &b) && fake_read(fd, &b, &frame)) {
        uint32_t late = frame.request;
        if (fake_read(fd, &b, &frame)) {
            const struct frame first = {.operation = OPERATION_PROOF, .request = late};
            fake_answer(
                fd, &first, &message_proof_answer,
                &(struct proof_answer){.proof = span_text("late"), .htu = span_text(URL), .jkt = span_text("j")});
            fake_polite_answer(fd, &frame);
            while (fake_read(fd, &b, &frame))
                fake_polite_answer(fd, &frame);
        }
    }
    buffer_free(&b);
}

static void a_late_answer_is_dropped_and_the_next_call_gets_its_own(void **state)
{
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, serve_late, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(ask(agent, "first", 100, &proof, &err), DPOP_TIMEOUT);
    assert_true(err.retryable);
    assert_works(agent);
    assert_works(agent);
    assert_int_equal(fake.count, 1); /* on the same connection */
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void close_it(int fd, const struct frame *frame)
{
    (void)fd;
    (void)frame;
}

static void send_garbage(int fd, const struct frame *frame)
{
    (void)frame;
    fake_send(fd, "\0\0\0\x01HTTP/1.1 400 Bad Request\r\n", 31);
    fake_hang(fd);
}

static void send_huge_frame(int fd, const struct frame *frame)
{
    (void)frame;
    fake_send(fd, "\x7f\xff\xff\xff\x80\x05\0\0", 8);
    fake_hang(fd);
}

static void send_half_an_answer(int fd, const struct frame *frame)
{
    (void)frame;
    fake_send(fd, "\0\0\0\x20\x80\x05\0\0\0\0", 10);
}

static void send_unasked_answer(int fd, const struct frame *frame)
{
    struct frame other = *frame;
    other.request += 5;
    fake_polite_answer(fd, &other);
    fake_hang(fd);
}

static void send_wrong_operation(int fd, const struct frame *frame)
{
    struct frame other = *frame;
    other.operation = OPERATION_KEYS;
    fake_polite_answer(fd, &other);
    fake_hang(fd);
}

static void send_empty_answer(int fd, const struct frame *frame)
{
    fake_answer(fd, frame, &message_empty, &(struct empty_message){false});
    fake_hang(fd);
}

static void send_error_that_is_none(int fd, const struct frame *frame)
{
    fake_error(fd, frame->request, STATUS_OK, "no error");
    fake_hang(fd);
}

static void check_bad_answer(fake_first misbehave, int expected, bool reconnects)
{
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    fake_start(&fake, fake_once, (void *)(uintptr_t)misbehave);
    struct dpop_agent *agent = connect_to(&fake);
    assert_int_equal(ask(agent, NULL, 2000, &proof, &err), expected);
    assert_null(proof.proof);
    assert_true(err.message[0] != '\0');
    if (reconnects)
        assert_works(agent);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void a_call_in_flight_when_the_connection_is_lost_fails_and_the_next_reconnects(void **state)
{
    (void)state;
    check_bad_answer(close_it, DPOP_AGENT_UNREACHABLE, true);
    check_bad_answer(send_half_an_answer, DPOP_AGENT_UNREACHABLE, true);
}

static void bytes_that_break_the_protocol_end_the_connection(void **state)
{
    (void)state;
    check_bad_answer(send_garbage, DPOP_AGENT_MISBEHAVED, true);
    check_bad_answer(send_huge_frame, DPOP_AGENT_MISBEHAVED, true);
    check_bad_answer(send_unasked_answer, DPOP_AGENT_MISBEHAVED, true);
}

static void an_answer_that_does_not_fit_its_request_is_an_error(void **state)
{
    (void)state;
    check_bad_answer(send_wrong_operation, DPOP_AGENT_MISBEHAVED, false);
    check_bad_answer(send_empty_answer, DPOP_AGENT_MISBEHAVED, false);
    check_bad_answer(send_error_that_is_none, DPOP_AGENT_MISBEHAVED, false);
}

static void serve_hello_then_close(struct fake_agent *fake, int fd, int number)
{
    struct buffer b;
    if (number > 0) {
        fake_polite(fake, fd, number);
        return;
    }
    (void)fake_hello(fd, &b);
    buffer_free(&b);
}

static void a_connection_lost_while_idle_is_opened_again_without_an_error(void **state)
{
    struct fake_agent fake;
    (void)state;
    fake_start(&fake, serve_hello_then_close, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    (void)poll(NULL, 0, 100);
    assert_works(agent);
    assert_int_equal(fake.count, 2);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void a_restarted_agent_is_found_again_and_a_missing_one_reported(void **state)
{
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, serve_hello_then_close, NULL);
    struct dpop_agent *agent = connect_to(&fake);
    fake_stop(&fake);
    assert_int_equal(ask(agent, NULL, 1000, &proof, &err), DPOP_AGENT_UNREACHABLE);
    assert_non_null(strstr(err.next, "start one"));
    assert_int_equal(ask(agent, NULL, 1000, &proof, NULL), DPOP_AGENT_UNREACHABLE);
    dpop_agent_close(&agent);
}

static void serve_silence(struct fake_agent *fake, int fd, int number)
{
    (void)fake;
    (void)number;
    fake_hang(fd);
}

static void serve_hello_then_silence(struct fake_agent *fake, int fd, int number)
{
    struct buffer b;
    (void)fake;
    (void)number;
    if (fake_hello(fd, &b))
        fake_hang(fd);
    buffer_free(&b);
}

static void a_silent_agent_costs_no_more_than_the_timeout(void **state)
{
    struct fake_agent fake;
    struct dpop_agent *agent = NULL;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    (void)state;
    fake_start(&fake, serve_silence, NULL);
    int64_t begin = milliseconds();
    assert_int_equal(dpop_agent_connect(&agent, fake.path, 200, &err), DPOP_TIMEOUT);
    assert_in_range(milliseconds() - begin, 190, 1500);
    assert_null(agent);
    fake_stop(&fake);
    fake_start(&fake, serve_hello_then_silence, NULL);
    agent = connect_to(&fake);
    begin = milliseconds();
    assert_int_equal(ask(agent, NULL, 200, &proof, &err), DPOP_TIMEOUT);
    assert_in_range(milliseconds() - begin, 190, 1500);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

static void a_full_backlog_costs_no_more_than_the_timeout(void **state)
{
    char folder[] = "/tmp/dpop-test-XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    int fds[8], count = 0;
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 0), 0);
    do
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    while (connect(fds[count++], (const struct sockaddr *)&address, sizeof(address)) == 0 && count < 8);
    int64_t begin = milliseconds();
    assert_int_equal(dpop_agent_connect(&agent, address.sun_path, 200, &err), DPOP_TIMEOUT);
    assert_in_range(milliseconds() - begin, 190, 1500);
    while (count > 0)
        (void)close(fds[--count]);
    (void)close(listener);
    (void)unlink(address.sun_path);
    (void)rmdir(folder);
}

/* Reads nothing until its context says so, then answers what is there. */
static void serve_deaf_at_first(struct fake_agent *fake, int fd, int number)
{
    struct buffer b;
    struct frame frame;
    volatile int *may_read = fake->context;
    (void)number;
    if (fake_hello(fd, &b)) {
        while (__atomic_load_n(may_read, __ATOMIC_ACQUIRE) == 0)
            (void)poll(NULL, 0, 5);
        while (fake_read(fd, &b, &frame))
            fake_polite_answer(fd, &frame);
    }
    buffer_free(&b);
}

static void a_request_that_was_sent_in_part_does_not_spoil_the_next_one(void **state)
{
    static char token[65536];
    struct fake_agent fake;
    struct dpop_proof proof = {0};
    struct dpop_error err;
    int may_read = 0, timeouts = 0;
    (void)state;
    memset(token, 't', sizeof(token) - 1);
    fake_start(&fake, serve_deaf_at_first, &may_read);
    struct dpop_agent *agent = connect_to(&fake);
    while (timeouts < 20 && agent->connection.out.len == 0) {
        assert_int_equal(dpop_agent_proof(agent,
                                          &(struct dpop_proof_request){
                                              .method = "GET", .url = URL, .access_token = token, .timeout_ms = 20},
                                          &proof, &err),
                         DPOP_TIMEOUT);
        timeouts++;
    }
    assert_in_range(agent->connection.out.len, 1, 2 * sizeof(token)); /* a frame is half sent */
    size_t unsent = agent->connection.out.len;
    assert_int_equal(ask(agent, "taken back", 20, &proof, &err), DPOP_TIMEOUT);
    assert_int_equal(agent->connection.out.len, unsent);
    __atomic_store_n(&may_read, 1, __ATOMIC_RELEASE);
    assert_works(agent);
    assert_int_equal(fake.count, 1);
    dpop_agent_close(&agent);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_in_pieces_is_put_together),
        cmocka_unit_test(a_late_answer_is_dropped_and_the_next_call_gets_its_own),
        cmocka_unit_test(a_call_in_flight_when_the_connection_is_lost_fails_and_the_next_reconnects),
        cmocka_unit_test(bytes_that_break_the_protocol_end_the_connection),
        cmocka_unit_test(an_answer_that_does_not_fit_its_request_is_an_error),
        cmocka_unit_test(a_connection_lost_while_idle_is_opened_again_without_an_error),
        cmocka_unit_test(a_restarted_agent_is_found_again_and_a_missing_one_reported),
        cmocka_unit_test(a_silent_agent_costs_no_more_than_the_timeout),
        cmocka_unit_test(a_full_backlog_costs_no_more_than_the_timeout),
        cmocka_unit_test(a_request_that_was_sent_in_part_does_not_spoil_the_next_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
