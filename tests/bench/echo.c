/*
 * bench-echo SOCKET: the least that an agent can do. It reads frames (uint32 length, body) and answers each with as
 * many bytes as the body's first uint32 says: the cost of the socket and of two context switches, with nothing behind it.
 *
 * One epoll loop, one recv and one send for each request, as in the agent's front; what is held is never wiped.
 */
#include "buffer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EVENTS 64
#define READ_SIZE 16384
#define ANSWER_MAX 262144

struct peer {
    int fd;
    struct buffer in;
};

static void add(int loop, int fd, struct peer *peer)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = peer}};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("bench-echo: epoll_ctl");
        exit(EXIT_FAILURE);
    }
}

static void welcome(int loop, int listener)
{
    struct peer *peer = malloc(sizeof(*peer));
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || peer == NULL) {
        free(peer);
        return;
    }
    peer->fd = fd;
    buffer_init(&peer->in, 4 * READ_SIZE);
    add(loop, fd, peer);
}

/* Answers the whole frames that are there. -1: the peer is gone. */
static int answer(struct peer *peer)
{
    static uint8_t bytes[ANSWER_MAX];
    for (;;) {
        struct span rest = buffer_span(&peer->in);
        uint32_t length, wanted;
        if (span_take_u32(&rest, &length) != 0 || rest.len < length)
            return 0;
        if (length < 4 || span_take_u32(&rest, &wanted) != 0 || wanted < 4 || wanted > sizeof(bytes))
            return -1;
        for (int i = 0; i < 4; i++)
            bytes[i] = (uint8_t)((wanted - 4) >> (24 - 8 * i));
        if (send(peer->fd, bytes, wanted, MSG_NOSIGNAL) != (ssize_t)wanted)
            return -1;
        peer->in.start += 4 + (size_t)length;
        peer->in.len -= 4 + (size_t)length;
        if (peer->in.len == 0)
            peer->in.start = 0;
    }
}

static void serve(struct peer *peer)
{
    uint8_t *room = buffer_room(&peer->in, READ_SIZE);
    ssize_t n = room != NULL ? recv(peer->fd, room, READ_SIZE, 0) : -1;
    if (n > 0) {
        buffer_added(&peer->in, (size_t)n);
        if (answer(peer) == 0)
            return;
    }
    (void)close(peer->fd);
    buffer_free(&peer->in);
    free(peer);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct epoll_event events[EVENTS];
    int loop = epoll_create1(EPOLL_CLOEXEC), listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path)) {
        (void)fprintf(stderr, "usage: bench-echo SOCKET\n");
        return EXIT_FAILURE;
    }
    memcpy(address.sun_path, argv[1], strlen(argv[1]));
    if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 128) != 0) {
        (void)fprintf(stderr, "bench-echo: %s: %s\n", argv[1], strerror(errno));
        return EXIT_FAILURE;
    }
    add(loop, listener, NULL);
    for (;;) {
        int n = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                welcome(loop, listener);
            else
                serve(events[i].data.ptr);
        }
    }
}
