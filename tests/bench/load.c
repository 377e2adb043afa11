/*
 * bench-load: asks one agent the same thing again and again, and says how fast it answers.
 *
 *   bench-load KIND SOCKET once [SIZES]             asks once; prints the sizes of request and answer
 *   bench-load KIND SOCKET hold CLIENTS             opens connections, asks twice on each, says "open", waits for EOF
 *   bench-load KIND SOCKET CLIENTS SECONDS [SIZES]  each client asks, waits, and asks again; prints RATE P50 P99
 *
 * KIND: dialogue.h. SIZES: of request and answer, for echo. The same loop drives agents and baselines alike: one client
 * blocks in recv, as an application does; more are connections of one epoll loop in one thread.
 */
#include "dialogue.h"
#include "samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 10000
#define EVENTS 64
#define WARM_UP INT64_C(100000000) /* nanoseconds whose answers are not counted */

struct client {
    int fd;
    struct buffer in;
    int64_t asked;
};

static void ask(const struct dialogue *d, struct client *c)
{
    c->asked = samples_now();
    if (send(c->fd, d->request.data, d->request.len, MSG_NOSIGNAL) != (ssize_t)d->request.len)
        die("cannot send: %s", strerror(errno));
}

/* Reads what is there. True: the answer is whole, and taken. */
static bool answered(const struct dialogue *d, struct client *c)
{
    uint8_t *room = buffer_room(&c->in, 4096);
    ssize_t n = room != NULL ? recv(c->fd, room, c->in.capacity - c->in.start - c->in.len, 0) : -1;
    if (n <= 0)
        die("the connection ended");
    buffer_added(&c->in, (size_t)n);
    size_t size = dialogue_answer(d, buffer_span(&c->in));
    c->in.len -= size; /* not buffer_consume: wiping is the agent's business, not the bench's */
    return size > 0;
}

static void take_answer(const struct dialogue *d, struct client *c, int64_t begin, struct samples *samples)
{
    if (!answered(d, c))
        return;
    int64_t now = samples_now();
    if (now >= begin) /* whenever it was asked: with many clients of a slow token that is long ago */
        samples_add(samples, now - c->asked);
    ask(d, c);
}

static void load(const struct dialogue *d, struct client *clients, int count, double seconds)
{
    struct samples samples = {0};
    struct epoll_event events[EVENTS];
    int loop = epoll_create1(EPOLL_CLOEXEC);
    int64_t begin = samples_now() + WARM_UP, end = begin + (int64_t)(seconds * 1e9);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &clients[i]}};
        if (epoll_ctl(loop, EPOLL_CTL_ADD, clients[i].fd, &event) != 0)
            die("epoll_ctl: %s", strerror(errno));
        ask(d, &clients[i]);
    }
    while (samples_now() < end) {
        int n = count == 1 ? 0 : epoll_wait(loop, events, EVENTS, 1000);
        if (count == 1)
            take_answer(d, &clients[0], begin, &samples);
        for (int i = 0; i < n; i++)
            take_answer(d, events[i].data.ptr, begin, &samples);
    }
    samples_print(&samples, samples_now() - begin);
    samples_free(&samples);
    (void)close(loop);
}

static void hold(const struct dialogue *d, struct client *clients, int count)
{
    for (int i = 0; i < 2 * count; i++) { /* twice, since buffers may grow with the second request */
        struct client *c = &clients[i % count];
        c->in.len -= dialogue_ask(d, c->fd, &c->in);
    }
    (void)printf("open\n");
    (void)fflush(stdout);
    while (getchar() != EOF) {
    }
}

static struct client *connect_all(const struct dialogue *d, const char *socket_path, int count)
{
    struct rlimit files = {.rlim_cur = (rlim_t)count + 64, .rlim_max = (rlim_t)count + 64};
    struct client *clients = calloc((size_t)count, sizeof(*clients));
    if (count > 512 && setrlimit(RLIMIT_NOFILE, &files) != 0)
        die("%d connections are not allowed here: %s", count, strerror(errno));
    for (int i = 0; clients != NULL && i < count; i++) {
        clients[i].fd = dialogue_connect(d, socket_path);
        buffer_init(&clients[i].in, ANSWER_MAX);
    }
    return clients;
}

static int number(const char *text, int max)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end != '\0' || n < 1 || n > max)
        die("\"%s\" is not a number from 1 to %d", text, max);
    return (int)n;
}

int main(int argc, char **argv)
{
    struct dialogue d;
    if (argc < 4)
        die("usage: bench-load KIND SOCKET once|hold|CLIENTS [CLIENTS|SECONDS] [REQUEST-SIZE ANSWER-SIZE]");
    bool once = strcmp(argv[3], "once") == 0, holding = strcmp(argv[3], "hold") == 0;
    int used = once ? 4 : 5;
    if (argc < used)
        die("CLIENTS or SECONDS is missing");
    size_t sizes[2] = {argc > used ? strtoul(argv[used], NULL, 10) : 0,
                       argc > used + 1 ? strtoul(argv[used + 1], NULL, 10) : 0};
    int count = once ? 1 : number(holding ? argv[4] : argv[3], CLIENTS_MAX);

    dialogue_open(&d, argv[1], argv[2], sizes);
    struct client *clients = connect_all(&d, argv[2], count);
    if (clients == NULL)
        die("out of memory");
    if (once)
        (void)printf("%zu %zu\n", d.request.len, dialogue_ask(&d, clients[0].fd, &clients[0].in));
    else if (holding)
        hold(&d, clients, count);
    else
        load(&d, clients, count, strtod(argv[4], NULL));
    for (int i = 0; i < count; i++) {
        (void)close(clients[i].fd);
        buffer_free(&clients[i].in);
    }
    free(clients);
    dialogue_close(&d);
    return EXIT_SUCCESS;
}
