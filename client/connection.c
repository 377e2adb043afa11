/* See connection.h. */
#include "connection.h"

#include "deadline.h"
#include "failure.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 16384
#define LOST_NEXT "try again; if it persists look at the agent's log"

void connection_init(struct connection *c)
{
    *c = (struct connection){.fd = -1};
    buffer_init(&c->in, FRAME_MAX + READ_SIZE);
    buffer_init(&c->out, 2 * (size_t)FRAME_MAX);
}

void connection_adopt(struct connection *c, int fd)
{
    connection_close(c);
    c->fd = fd;
    c->max_frame = FRAME_MAX_BEFORE_HELLO;
    c->last_request = 0;
    c->descriptor_count = 0;
}

void connection_close(struct connection *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    c->taken = 0;
    buffer_free(&c->in);
    buffer_free(&c->out);
}

void connection_done(struct connection *c)
{
    if (c->taken > 0)
        buffer_consume(&c->in, c->taken);
    c->taken = 0;
}

static int lost(struct connection *c, struct dpop_error *err, const char *how)
{
    c->unread = c->unread || c->out.len > 0;
    connection_close(c);
    return failure_set(err, STATUS_AGENT_UNREACHABLE, LOST_NEXT, "the connection to the agent was lost: %s", how);
}

static int misbehaved(struct connection *c, struct dpop_error *err, const char *how)
{
    connection_close(c);
    return failure_set(err, STATUS_AGENT_MISBEHAVED, "check that agent and client are of fitting versions",
                       "the agent broke the protocol: %s", how);
}

/* Reads once. 1: something came, 0: nothing there, -1: the connection is lost and closed. */
static int read_some(struct connection *c, struct dpop_error *err)
{
    uint8_t *room = buffer_room(&c->in, READ_SIZE);
    if (room == NULL) {
        connection_close(c);
        (void)failure_set(err, STATUS_NO_MEMORY, NULL, "out of memory for the agent's answer");
        return -1;
    }
    ssize_t n = recv(c->fd, room, READ_SIZE, 0);
    if (n > 0) {
        buffer_added(&c->in, (size_t)n);
        return 1;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    c->unread = c->unread || (n < 0 && errno == ECONNRESET); /* so the kernel says: it was closed with bytes unread */
    (void)lost(c, err, n == 0 ? "the agent closed it" : strerrordesc_np(errno));
    return -1;
}

/* Sends what the next sendmsg may hold: bytes of one frame only if descriptors go with them. */
static ssize_t send_next(struct connection *c)
{
    union {
        char bytes[CMSG_SPACE(LIMIT_DESCRIPTORS * sizeof(int))];
        struct cmsghdr align;
    } ancillary = {.bytes = {0}};
    struct span left = buffer_span(&c->out);
    bool waiting = c->descriptor_count > 0 && c->ahead > 0;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)left.data, .iov_len = waiting ? c->ahead : left.len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (c->descriptor_count > 0 && !waiting) {
        size_t size = c->descriptor_count * sizeof(int);
        header.msg_control = ancillary.bytes;
        header.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *m = CMSG_FIRSTHDR(&header);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(m), c->descriptors, size);
    }
    ssize_t n = sendmsg(c->fd, &header, MSG_NOSIGNAL);
    if (n > 0 && waiting)
        c->ahead -= (size_t)n;
    else if (n > 0)
        c->descriptor_count = 0;
    return n;
}

/* 0, or -1: the connection is lost and closed. */
static int write_some(struct connection *c, struct dpop_error *err)
{
    ssize_t n = send_next(c);
    if (n >= 0) {
        buffer_consume(&c->out, (size_t)n);
        return 0;
    }
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    if (errno == EPIPE || errno == ECONNRESET) {
        c->unread = true;
        buffer_clear(&c->out); /* what the agent said before it closed is still there to be read */
        return 0;
    }
    (void)lost(c, err, strerrordesc_np(errno));
    return -1;
}

/*
 * Takes the frame that answers the awaited request, dropping late answers in front of it. 1: taken, 0: it is not
 * there yet, -1: the agent broke the protocol. Request 0 stands for the connection as a whole, and only errors have
 * it.
 */
static int take_answer(struct connection *c, uint32_t awaited, struct frame *answer, struct dpop_error *err)
{
    for (;;) {
        size_t size;
        switch (frame_take(buffer_span(&c->in), FRAME_MAX, answer, &size)) {
        case FRAME_INCOMPLETE:
            return 0;
        case FRAME_TOO_LARGE:
            (void)misbehaved(c, err, "a frame is larger than the limit");
            return -1;
        case FRAME_MALFORMED:
            (void)misbehaved(c, err, "a frame is malformed");
            return -1;
        case FRAME_COMPLETE:
            break;
        }
        if (awaited != 0 && (answer->request == awaited ||
                             (answer->request == 0 && answer->operation == OPERATION_ERROR))) {
            c->taken = size;
            return 1;
        }
        if (answer->request == 0 || answer->request > c->last_request) {
            (void)misbehaved(c, err, "an answer belongs to no request");
            return -1;
        }
        buffer_consume(&c->in, size);
    }
}

void connection_settle(struct connection *c)
{
    struct dpop_error err;
    struct frame late;
    int n = 1;
    connection_done(c);
    while (c->fd >= 0 && n > 0)
        if ((n = read_some(c, &err)) > 0 && take_answer(c, 0, &late, &err) < 0)
            return;
}

size_t connection_begin(struct connection *c, uint16_t operation)
{
    return frame_begin(&c->out, operation, ++c->last_request);
}

void connection_attach(struct connection *c, const int *descriptors, size_t count)
{
    memcpy(c->descriptors, descriptors, count * sizeof(int));
    c->descriptor_count = count;
}

/* Takes back the last `size` bytes to send. */
static void take_back(struct buffer *out, size_t size)
{
    wipe(out->data + out->start + out->len - size, size);
    out->len -= size;
}

static int timed_out(struct connection *c, size_t size, struct dpop_error *err)
{
    c->descriptor_count = 0;
    if (c->out.len >= size)
        take_back(&c->out, size);
    return failure_set(err, STATUS_TIMEOUT, "try again later, or allow more time (--timeout)",
                       "the agent did not answer in time");
}

int connection_exchange(struct connection *c, size_t begin, int64_t deadline, struct frame *answer,
                        struct dpop_error *err)
{
    uint32_t awaited = c->last_request;
    size_t size = c->out.len - begin;
    frame_end(&c->out, begin);
    c->ahead = begin;
    c->unread = false;
    if (c->out.failed) {
        connection_close(c);
        return failure_set(err, STATUS_NO_MEMORY, NULL, "out of memory for the request");
    }
    if (size > c->max_frame) {
        take_back(&c->out, size);
        c->descriptor_count = 0;
        return failure_set(err, STATUS_INVALID_ARGUMENT, NULL,
                           "the request has %zu bytes, the agent takes %zu at most", size, c->max_frame);
    }
    if (write_some(c, err) != 0)
        return err->status;
    for (;;) {
        struct pollfd p = {.fd = c->fd, .events = c->out.len > 0 ? POLLIN | POLLOUT : POLLIN};
        int left = deadline_left(deadline);
        int ready = poll(&p, 1, left);
        if (ready < 0 && errno != EINTR)
            return lost(c, err, strerrordesc_np(errno));
        if (ready <= 0) {
            if (left == 0)
                return timed_out(c, size, err);
            continue;
        }
        if ((p.revents & POLLOUT) && write_some(c, err) != 0)
            return err->status;
        if ((p.revents & ~POLLOUT) == 0)
            continue;
        int taken = read_some(c, err);
        if (taken > 0)
            taken = take_answer(c, awaited, answer, err);
        if (taken != 0)
            return taken > 0 ? DPOP_OK : err->status;
    }
}
