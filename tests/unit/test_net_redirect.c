/* The redirect listener in the net process: the test is the front, and the browser. */
#include "test_net_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t milliseconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void send_frame(uint16_t operation, const struct message *m, const void *in)
{
    message_put_frame(&world.channel.out, operation, ++world.request, m, in);
    assert_int_equal(channel_flush(&world.channel), 0);
}

static struct listening {
    uint32_t number;
    unsigned int port;
    char uri[256];
} opened;

static void open_uri(const char *uri, uint32_t timeout)
{
    struct redirect_open m = {.profile = span_text("jwt"), .redirect_uri = span_text(uri), .timeout = timeout};
    struct redirect_opened a;
    struct error err;
    send_frame(INTERNAL_REDIRECT_OPEN, &message_redirect_open, &m);
    struct frame frame = world_next_frame();
    assert_int_equal(frame.request, world.request);
    if (frame.operation == OPERATION_ERROR && messages_take_error(frame.fields, &err) == STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(message_take(frame.fields, &message_redirect_opened, &a, sizeof(a), &err), STATUS_OK);
    opened.number = a.listener;
    assert_int_equal(span_copy(a.redirect_uri, opened.uri, sizeof(opened.uri)), 0);
    opened.port = (unsigned int)strtoul(strrchr(opened.uri, ':') + 1, NULL, 10);
}

static uint32_t begin_wait(void)
{
    send_frame(INTERNAL_REDIRECT_WAIT, &message_redirect_wait, &(struct redirect_wait){.listener = opened.number});
    return world.request;
}

static void assert_came(uint32_t request, const char *query)
{
    struct redirect_came came;
    struct error err;
    struct frame frame = world_next_frame();
    assert_int_equal(frame.request, request);
    assert_int_equal(frame.operation, INTERNAL_REDIRECT_WAIT | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_redirect_came, &came, sizeof(came), &err), STATUS_OK);
    assert_true(span_is(came.query, query));
}

static void assert_error(uint32_t request, enum status status)
{
    struct error err;
    struct frame frame = world_next_frame();
    assert_int_equal(frame.request, request);
    assert_int_equal(frame.operation, OPERATION_ERROR);
    assert_int_equal(messages_take_error(frame.fields, &err), STATUS_OK);
    assert_int_equal(err.status, status);
}

static void close_with(bool success, const char *text)
{
    struct redirect_close m = {.listener = opened.number, .success = success, .text = span_text(text)};
    send_frame(INTERNAL_REDIRECT_CLOSE, &message_redirect_close, &m);
    struct frame frame = world_next_frame();
    assert_int_equal(frame.request, world.request);
    assert_int_equal(frame.operation, INTERNAL_REDIRECT_CLOSE | OPERATION_ANSWER);
}

/* -1: refused. */
static int browse_at(int family)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opened.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)opened.port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
                family == AF_INET ? sizeof(v4) : sizeof(v6)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void ask(int fd, const char *method, const char *target)
{
    char text[1024];
    int n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", method, target, opened.port);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

/* All that comes until the end. */
static const char *answer_of(int fd)
{
    static char text[65536];
    size_t len = 0;
    ssize_t n;
    while ((n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
        len += (size_t)n;
    assert_int_equal(n, 0);
    text[len] = '\0';
    (void)close(fd);
    return text;
}

static void test_one_redirect_is_handed_over_and_its_browser_gets_the_page(void **state)
{
    (void)state;
    open_uri("http://127.0.0.1/callback", 20000);
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "http://127.0.0.1:%u/callback", opened.port);
    assert_string_equal(opened.uri, expected);
    uint32_t wait = begin_wait();
    int other = browse_at(AF_INET), browser = browse_at(AF_INET);
    ask(other, "GET", "/favicon.ico");
    assert_non_null(strstr(answer_of(other), "HTTP/1.1 404 "));
    other = browse_at(AF_INET);
    ask(browser, "GET", "/callback?code=CANARYCODE&state=s");
    assert_came(wait, "code=CANARYCODE&state=s");
    assert_int_equal(browse_at(AF_INET), -1); /* connection refused */
    char byte;
    assert_true(recv(other, &byte, 1, 0) <= 0); /* who had connected and not asked is let go */
    (void)close(other);
    close_with(true, "Done, <b>you</b> may close this.");
    const char *page = answer_of(browser);
    assert_non_null(strstr(page, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(page, "<h1>You are logged in</h1>"));
    assert_non_null(strstr(page, "Done, &lt;b&gt;you&lt;/b&gt; may close this."));
    int log = open(world.log_path, O_RDONLY | O_CLOEXEC);
    char text[4096];
    ssize_t n = read(log, text, sizeof(text) - 1);
    (void)close(log);
    assert_true(n >= 0);
    text[n] = '\0';
    assert_null(strstr(text, "CANARY"));
}

static void test_a_redirect_before_the_wait_is_kept_for_it(void **state)
{
    (void)state;
    open_uri("http://[::1]:0/cb?fixed=1", 20000);
    int browser = browse_at(AF_INET6);
    ask(browser, "GET", "/cb?fixed=1&error=access_denied");
    (void)usleep(200000);
    assert_came(begin_wait(), "fixed=1&error=access_denied");
    close_with(false, "No.");
    assert_non_null(strstr(answer_of(browser), "<h1>You are not logged in</h1>"));
}

static void test_localhost_listens_on_both_families_with_one_port(void **state)
{
    (void)state;
    open_uri("http://localhost/callback", 20000);
    int four = browse_at(AF_INET), six = browse_at(AF_INET6);
    assert_true(four >= 0 && six >= 0);
    uint32_t wait = begin_wait();
    ask(six, "GET", "/callback?code=6");
    assert_came(wait, "code=6");
    assert_int_equal(browse_at(AF_INET), -1);
    assert_int_equal(browse_at(AF_INET6), -1);
    (void)close(four);
    close_with(true, "x");
    (void)answer_of(six);
}

static void test_a_port_of_its_own_is_kept_and_one_in_use_is_an_error(void **state)
{
    (void)state;
    int fd;
    char uri[64];
    (void)snprintf(uri, sizeof(uri), "http://127.0.0.1:%u/callback", world_listen(&fd));
    struct redirect_open m = {.profile = span_text("jwt"), .redirect_uri = span_text(uri), .timeout = 1000};
    send_frame(INTERNAL_REDIRECT_OPEN, &message_redirect_open, &m);
    assert_error(world.request, STATUS_CONFIGURATION);
    (void)close(fd);
    open_uri(uri, 20000);
    assert_string_equal(opened.uri, uri);
    close_with(false, "x");
    assert_int_equal(browse_at(AF_INET), -1);
    open_uri(uri, 20000); /* at once again */
    m.redirect_uri = span_text("http://192.0.2.1/callback");
    send_frame(INTERNAL_REDIRECT_OPEN, &message_redirect_open, &m);
    assert_error(world.request, STATUS_INVALID_ARGUMENT);
}

static void test_other_methods_and_hosts_are_refused_and_listening_goes_on(void **state)
{
    (void)state;
    open_uri("http://127.0.0.1/callback", 20000);
    uint32_t wait = begin_wait();
    int fd = browse_at(AF_INET);
    ask(fd, "HEAD", "/callback?code=1");
    assert_non_null(strstr(answer_of(fd), "HTTP/1.1 405 "));
    fd = browse_at(AF_INET);
    const char *rebound = "GET /callback?code=1 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n";
    assert_int_equal(send(fd, rebound, strlen(rebound), MSG_NOSIGNAL), (ssize_t)strlen(rebound));
    assert_non_null(strstr(answer_of(fd), "HTTP/1.1 400 "));
    fd = browse_at(AF_INET);
    for (int i = 0; i < 24576 / 16; i++)
        (void)send(fd, "XXXXXXXXXXXXXXXX", 16, MSG_NOSIGNAL);
    assert_non_null(strstr(answer_of(fd), "HTTP/1.1 431 "));
    fd = browse_at(AF_INET);
    ask(fd, "GET", "/callback?code=2");
    assert_came(wait, "code=2");
    (void)close(fd); /* a browser that does not wait for its page */
    close_with(true, "x");
    assert_int_equal(world_answered((struct fetch){.path = "/json"}).http_status, 200);
}

static void test_without_a_redirect_the_wait_ends_at_the_time_out(void **state)
{
    (void)state;
    int64_t begin = milliseconds();
    open_uri("http://127.0.0.1/callback", 700);
    assert_error(begin_wait(), STATUS_TIMEOUT);
    assert_true(milliseconds() - begin >= 690 && milliseconds() - begin < 5000);
    assert_int_equal(browse_at(AF_INET), -1);
    assert_error(begin_wait(), STATUS_TIMEOUT);
    close_with(false, "x");
}

static void test_a_close_ends_the_wait_and_nobody_waits_twice(void **state)
{
    (void)state;
    open_uri("http://127.0.0.1/callback", 20000);
    uint32_t wait = begin_wait();
    assert_error(begin_wait(), STATUS_INTERNAL);
    send_frame(INTERNAL_REDIRECT_CLOSE, &message_redirect_close, &(struct redirect_close){.listener = opened.number});
    assert_error(wait, STATUS_TIMEOUT);
    assert_int_equal(world_next_frame().operation, INTERNAL_REDIRECT_CLOSE | OPERATION_ANSWER);
    assert_int_equal(browse_at(AF_INET), -1);
}

static void test_half_requests_block_nobody_and_are_dropped(void **state)
{
    (void)state;
    open_uri("http://127.0.0.1/callback", 20000);
    uint32_t wait = begin_wait();
    int slow[40];
    int64_t begin = milliseconds();
    for (int i = 0; i < 40; i++) {
        slow[i] = browse_at(AF_INET);
        assert_true(slow[i] >= 0);
        (void)send(slow[i], "GET /callback?co", 16, MSG_NOSIGNAL);
    }
    assert_int_equal(world_answered((struct fetch){.path = "/json"}).http_status, 200);
    char rest[8];
    while (recv(slow[39], rest, sizeof(rest), 0) > 0)
        continue;
    assert_true(milliseconds() - begin >= 4900 && milliseconds() - begin < 9000);
    for (int i = 0; i < 40; i++)
        (void)close(slow[i]);
    int fd = browse_at(AF_INET);
    for (const char *c = "GET /callback?code=3 HTTP/1.1\r\nHost: localhost:"; *c != '\0'; c++)
        (void)send(fd, c, 1, MSG_NOSIGNAL);
    char tail[32];
    (void)snprintf(tail, sizeof(tail), "%u\r\n\r\n", opened.port);
    (void)send(fd, tail, strlen(tail), MSG_NOSIGNAL);
    assert_came(wait, "code=3");
    close_with(true, "x");
    assert_non_null(strstr(answer_of(fd), "200 OK"));
}

static void test_sixteen_listen_at_once_and_no_more(void **state)
{
    (void)state;
    uint32_t numbers[16];
    for (int i = 0; i < 16; i++) {
        open_uri("http://127.0.0.1/callback", 20000);
        numbers[i] = opened.number;
    }
    struct redirect_open m = {.profile = span_text("jwt"), .redirect_uri = span_text("http://127.0.0.1/"), .timeout = 1000};
    send_frame(INTERNAL_REDIRECT_OPEN, &message_redirect_open, &m);
    assert_error(world.request, STATUS_BUSY);
    for (int i = 0; i < 16; i++) {
        opened.number = numbers[i];
        close_with(false, "x");
    }
    (void)usleep(100000);
    open_uri("http://127.0.0.1/callback", 20000);
}

/* Processor time that the net process has used, in hundredths of a second. */
static unsigned long ticks(void)
{
    char path[64];
    unsigned long user = 0, kernel = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)world.pid);
    FILE *stat = fopen(path, "re");
    assert_non_null(stat);
    int n = fscanf(stat, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    (void)fclose(stat);
    assert_int_equal(n, 2);
    return user + kernel;
}

static void test_a_browser_that_is_told_nothing_gets_a_neutral_page_after_30_seconds(void **state)
{
    (void)state;
    open_uri("http://127.0.0.1/callback", 1000);
    uint32_t wait = begin_wait();
    int fd = browse_at(AF_INET);
    struct timeval limit = {.tv_sec = 45};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    int64_t begin = milliseconds();
    unsigned long used = ticks();
    ask(fd, "GET", "/callback?code=4");
    assert_came(wait, "code=4");
    const char *page = answer_of(fd);
    assert_true(milliseconds() - begin >= 29900 && milliseconds() - begin < 40000);
    assert_non_null(strstr(page, "has not said yet"));
    assert_true(ticks() - used < 50); /* it waits, it does not spin */
    close_with(true, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_one_redirect_is_handed_over_and_its_browser_gets_the_page),
        WORLD_TEST(test_a_redirect_before_the_wait_is_kept_for_it),
        WORLD_TEST(test_localhost_listens_on_both_families_with_one_port),
        WORLD_TEST(test_a_port_of_its_own_is_kept_and_one_in_use_is_an_error),
        WORLD_TEST(test_other_methods_and_hosts_are_refused_and_listening_goes_on),
        WORLD_TEST(test_without_a_redirect_the_wait_ends_at_the_time_out),
        WORLD_TEST(test_a_close_ends_the_wait_and_nobody_waits_twice),
        WORLD_TEST(test_half_requests_block_nobody_and_are_dropped),
        WORLD_TEST(test_sixteen_listen_at_once_and_no_more),
        WORLD_TEST(test_a_browser_that_is_told_nothing_gets_a_neutral_page_after_30_seconds),
    };
    return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
