/*
 * The front's channels to the other processes, with the test in the place of the supervisor and of every process: who
 * gets which call when profiles have net processes of their own, what a process's end or silence costs, and whose turn
 * it is to log in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "children.h"
#include "keys.h"
#include "pin_turns.h"

#define SECOND UINT64_C(1000000)
#define TOKEN "/module.so\ntoken"

/* --- what children.c sees instead of the rest of the front --- */

static uint64_t now = SECOND;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return now;
}

void front_wait(struct front *f)
{
    (void)f;
}

static struct front front;
static struct pin_turns *turns;

struct pin_turns *keys_pin_turns(struct keys *keys)
{
    (void)keys;
    return turns;
}

bool keys_frame(struct keys *keys, struct child *child, const struct frame *frame)
{
    (void)keys;
    return pin_turns_frame(turns, child, frame);
}

void keys_attached(struct keys *keys, struct child *child)
{
    (void)keys;
    (void)child;
}

void keys_ended(struct keys *keys, struct child *child)
{
    (void)keys;
    pin_turns_over(turns, child);
}

/* --- the world --- */

static int supervisor; /* our end of the control channel */
static uint32_t last_id;

static struct profile_config one = {.name = (char[]){"one"}, .client_authentication = TLS_CLIENT_AUTH};
static struct profile_config two = {.name = (char[]){"two"}, .client_authentication = SELF_SIGNED_TLS_CLIENT_AUTH};
static struct profile_config plain = {.name = (char[]){"plain"}, .client_authentication = CLIENT_SECRET_BASIC};

struct process {
    uint32_t id;
    struct channel channel; /* its own end */
};

static void let_it_work(void)
{
    for (int i = 0; i < 20; i++)
        assert_true(sd_event_run(front.event, 1000) >= 0);
}

static void tell(uint16_t operation, const struct child_message *m, int fd)
{
    struct buffer packet;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary = {0};
    buffer_init(&packet, 4096);
    message_put_frame(&packet, operation, 0, &message_child_message, m);
    struct iovec iov = {.iov_base = packet.data, .iov_len = packet.len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = ancillary.bytes;
        header.msg_controllen = sizeof(ancillary.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    assert_true(sendmsg(supervisor, &header, 0) > 0);
    buffer_free(&packet);
    let_it_work();
}

static struct process start(enum role role, const char *name)
{
    int ends[2];
    struct process p = {.id = ++last_id};
    struct child_message m = {.id = p.id, .role = (uint16_t)role, .name = span_text(name), .pid = 1, .starts = 1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    channel_init(&p.channel, ends[0]);
    tell(INTERNAL_CHILD, &m, ends[1]);
    (void)close(ends[1]);
    return p;
}

static void stop(struct process *p)
{
    (void)close(p->channel.fd);
    channel_free(&p->channel);
    let_it_work();
}

/* The next frame for a process; its operation 0: nothing has come. */
static struct frame received(struct process *p)
{
    struct frame frame = {0};
    char byte;
    let_it_work();
    int r = channel_take(&p->channel, &frame);
    if (r == 0 && recv(p->channel.fd, &byte, 1, MSG_PEEK) == 1) {
        assert_int_equal(channel_fill(&p->channel), 1);
        r = channel_take(&p->channel, &frame);
    }
    assert_true(r >= 0);
    return r == 1 ? frame : (struct frame){0};
}

static void put(struct process *p, uint16_t operation, uint32_t request, const struct message *m, const void *in)
{
    message_put_frame(&p->channel.out, operation, request, m, in);
    assert_int_equal(channel_flush(&p->channel), 0);
    let_it_work();
}

static void answer_fetch(struct process *p, uint32_t request)
{
    struct fetch_answer a = {.http_status = 200, .sent = true};
    put(p, INTERNAL_FETCH | OPERATION_ANSWER, request, &message_fetch_answer, &a);
}

/* How a call ended. */
struct told {
    unsigned int times;
    enum status status;
};

static void on_done(void *context, const struct error *err, struct span fields)
{
    struct told *t = context;
    (void)fields;
    t->times++;
    t->status = err != NULL ? err->status : STATUS_OK;
}

static void fetch(const struct profile_config *profile, struct told *t)
{
    struct fetch_request m = {.url = span_text("https://as.example/token"), .timeout = 1000};
    *t = (struct told){0};
    children_fetch(front.children, profile, &m, now + 10 * SECOND, on_done, t);
}

static int set_up(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    supervisor = fcntl(ends[0], F_DUPFD_CLOEXEC, 64);
    (void)close(ends[0]);
    assert_int_equal(dup2(ends[1], CHANNEL_FD), CHANNEL_FD);
    if (ends[1] != CHANNEL_FD)
        (void)close(ends[1]);
    front = (struct front){0};
    now = SECOND;
    assert_true(sd_event_new(&front.event) >= 0);
    front.streams = streams_new(&front);
    turns = pin_turns_new(&front);
    assert_non_null(front.streams);
    assert_non_null(turns);
    return children_open(&front);
}

static int tear_down(void **state)
{
    (void)state;
    children_end(front.children);
    children_free(front.children);
    pin_turns_free(turns);
    streams_free(front.streams);
    sd_event_unref(front.event);
    (void)close(supervisor);
    (void)close(CHANNEL_FD);
    return 0;
}

/* --- tests --- */

static void a_fetch_goes_to_the_profiles_own_net_process_if_it_has_one(void **state)
{
    struct told first, second, third, fourth;
    (void)state;
    struct process net = start(ROLE_NET, NULL), b = start(ROLE_NET_TLS, "two"), a = start(ROLE_NET_TLS, "one");
    fetch(&one, &first);
    assert_int_equal(received(&b).operation, 0);
    assert_int_equal(received(&net).operation, 0);
    struct frame frame = received(&a);
    assert_int_equal(frame.operation, INTERNAL_FETCH);
    answer_fetch(&a, frame.request);
    assert_int_equal(first.times, 1);
    assert_int_equal(first.status, STATUS_OK);
    fetch(&two, &second);
    assert_int_equal(received(&a).operation, 0);
    assert_int_equal(received(&b).operation, INTERNAL_FETCH);
    fetch(&plain, &third);
    assert_int_equal(received(&net).operation, INTERNAL_FETCH);
    fetch(NULL, &fourth);
    assert_int_equal(received(&net).operation, INTERNAL_FETCH);
    assert_int_equal(received(&a).operation, 0);
    stop(&net);
    stop(&a);
    stop(&b);
}

static void a_fetch_waits_for_its_own_process_and_takes_no_other(void **state)
{
    struct told t;
    (void)state;
    struct process net = start(ROLE_NET, NULL), a = start(ROLE_NET_TLS, "one");
    fetch(&two, &t);
    assert_int_equal(received(&net).operation, 0);
    assert_int_equal(received(&a).operation, 0);
    struct process b = start(ROLE_NET_TLS, "two");
    struct frame frame = received(&b);
    assert_int_equal(frame.operation, INTERNAL_FETCH);
    answer_fetch(&b, frame.request);
    assert_int_equal(t.times, 1);
    assert_int_equal(t.status, STATUS_OK);
    stop(&net);
    stop(&a);
    stop(&b);
}

static void the_end_of_a_process_fails_its_own_calls_and_the_next_one_serves(void **state)
{
    struct told first, second, third;
    (void)state;
    struct process a = start(ROLE_NET_TLS, "one"), b = start(ROLE_NET_TLS, "two");
    fetch(&one, &first);
    fetch(&two, &second);
    assert_int_equal(received(&a).operation, INTERNAL_FETCH);
    struct frame frame = received(&b);
    stop(&a);
    assert_int_equal(first.times, 1);
    assert_int_equal(first.status, STATUS_RESTARTED);
    assert_int_equal(second.times, 0);
    answer_fetch(&b, frame.request);
    assert_int_equal(second.status, STATUS_OK);
    fetch(&one, &third);
    a = start(ROLE_NET_TLS, "one");
    frame = received(&a);
    assert_int_equal(frame.operation, INTERNAL_FETCH);
    answer_fetch(&a, frame.request);
    assert_int_equal(third.times, 1);
    stop(&a);
    stop(&b);
}

static void a_process_that_hangs_is_killed_and_no_other(void **state)
{
    uint8_t packet[4096];
    struct told first, second;
    struct frame frame;
    struct kill_message kill;
    struct error err;
    size_t size;
    (void)state;
    struct process a = start(ROLE_NET_TLS, "one"), b = start(ROLE_NET_TLS, "two");
    fetch(&one, &first);
    fetch(&two, &second);
    struct frame asked = received(&b);
    answer_fetch(&b, asked.request);
    now += 11 * SECOND;
    children_tick(front.children, now);
    assert_int_equal(first.times, 1);
    assert_int_equal(first.status, STATUS_TIMEOUT);
    assert_int_equal(recv(supervisor, packet, sizeof(packet), 0), -1); /* its answer may still come */
    now += 6 * SECOND;
    children_tick(front.children, now);
    children_tick(front.children, now + SECOND);
    ssize_t n = recv(supervisor, packet, sizeof(packet), 0);
    assert_true(n > 0);
    assert_int_equal(frame_take(span_of(packet, (size_t)n), sizeof(packet), &frame, &size), FRAME_COMPLETE);
    assert_int_equal(frame.operation, INTERNAL_KILL);
    assert_int_equal(message_take(frame.fields, &message_kill_message, &kill, sizeof(kill), &err), STATUS_OK);
    assert_int_equal(kill.id, a.id);
    assert_int_equal(recv(supervisor, packet, sizeof(packet), 0), -1);
    assert_int_equal(first.times, 1);
    assert_int_equal(second.status, STATUS_OK);
    stop(&a);
    stop(&b);
}

static void ask_turn(struct process *p, uint32_t request)
{
    struct pin_load m = {.token_id = span_text(TOKEN)};
    put(p, INTERNAL_PIN_LOAD, request, &message_pin_load, &m);
}

static void grant(struct process *store, uint32_t request)
{
    static const uint8_t salt[PIN_SALT_SIZE] = {1};
    struct pin_records records = {.salt = span_of(salt, sizeof(salt))};
    put(store, INTERNAL_PIN_LOAD | OPERATION_ANSWER, request, &message_pin_records, &records);
}

static void report(struct process *p, struct process *store, enum pin_verdict verdict)
{
    static const uint8_t verifier[PIN_VERIFIER_SIZE] = {2};
    struct pin_record m = {
        .token_id = span_text(TOKEN), .verifier = span_of(verifier, sizeof(verifier)), .verdict = (uint16_t)verdict};
    put(p, INTERNAL_PIN_RECORD, 90, &message_pin_record, &m);
    struct frame frame = received(store);
    assert_int_equal(frame.operation, INTERNAL_PIN_RECORD);
    put(store, INTERNAL_PIN_RECORD | OPERATION_ANSWER, frame.request, &message_empty, &(struct empty_message){false});
    frame = received(p);
    assert_int_equal(frame.operation, INTERNAL_PIN_RECORD | OPERATION_ANSWER);
    assert_int_equal(frame.request, 90);
}

static void net_and_key_processes_log_in_one_after_the_other(void **state)
{
    (void)state;
    struct process store = start(ROLE_STORE, NULL), key = start(ROLE_KEY, "work"), a = start(ROLE_NET_TLS, "one");
    ask_turn(&a, 41);
    ask_turn(&key, 42);
    struct frame frame = received(&store);
    assert_int_equal(frame.operation, INTERNAL_PIN_LOAD);
    grant(&store, frame.request);
    frame = received(&a);
    assert_int_equal(frame.operation, INTERNAL_PIN_LOAD | OPERATION_ANSWER);
    assert_int_equal(frame.request, 41);
    assert_int_equal(received(&store).operation, 0);
    report(&a, &store, PIN_TRYING);
    assert_int_equal(received(&store).operation, 0); /* the key process waits still */
    report(&a, &store, PIN_ACCEPTED);
    frame = received(&store);
    assert_int_equal(frame.operation, INTERNAL_PIN_LOAD);
    grant(&store, frame.request);
    assert_int_equal(received(&key).request, 42);
    stop(&a);
    stop(&key);
    stop(&store);
}

static void a_net_process_that_does_not_log_in_gives_its_turn_away(void **state)
{
    struct told t;
    (void)state;
    struct process store = start(ROLE_STORE, NULL), a = start(ROLE_NET_TLS, "one"), b = start(ROLE_NET_TLS, "two"),
                   key = start(ROLE_KEY, "work");
    fetch(&one, &t);
    struct frame asked = received(&a);
    ask_turn(&a, 41);
    ask_turn(&b, 42);
    ask_turn(&key, 43);
    grant(&store, received(&store).request);
    assert_int_equal(received(&a).request, 41);
    assert_int_equal(received(&store).operation, 0);
    answer_fetch(&a, asked.request); /* the PIN was refused before, say: the fetch has failed, and that is all */
    assert_int_equal(t.times, 1);
    grant(&store, received(&store).request);
    assert_int_equal(received(&b).request, 42);
    stop(&b); /* it crashed */
    grant(&store, received(&store).request);
    assert_int_equal(received(&key).request, 43);
    stop(&a);
    stop(&key);
    stop(&store);
}

static void a_process_that_says_that_it_ends_gets_nothing_more(void **state)
{
    struct told first, second;
    (void)state;
    struct process a = start(ROLE_NET_TLS, "one");
    fetch(&one, &first);
    struct frame asked = received(&a);
    put(&a, INTERNAL_ENDING, 0, &message_empty, &(struct empty_message){false});
    assert_int_equal(received(&a).operation, INTERNAL_ENDING | OPERATION_ANSWER);
    fetch(&one, &second);
    assert_int_equal(received(&a).operation, 0);
    answer_fetch(&a, asked.request); /* what it had before, it may still finish */
    assert_int_equal(first.status, STATUS_OK);
    stop(&a);
    assert_int_equal(second.times, 0);
    a = start(ROLE_NET_TLS, "one");
    asked = received(&a);
    assert_int_equal(asked.operation, INTERNAL_FETCH);
    answer_fetch(&a, asked.request);
    assert_int_equal(second.times, 1);
    assert_int_equal(second.status, STATUS_OK);
    stop(&a);
}

#define WITH_FRONT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FRONT(a_fetch_goes_to_the_profiles_own_net_process_if_it_has_one),
        WITH_FRONT(a_fetch_waits_for_its_own_process_and_takes_no_other),
        WITH_FRONT(the_end_of_a_process_fails_its_own_calls_and_the_next_one_serves),
        WITH_FRONT(a_process_that_hangs_is_killed_and_no_other),
        WITH_FRONT(a_process_that_says_that_it_ends_gets_nothing_more),
        WITH_FRONT(net_and_key_processes_log_in_one_after_the_other),
        WITH_FRONT(a_net_process_that_does_not_log_in_gives_its_turn_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
