/* See channel.h. */
#include "channel.h"

#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 65536

void channel_init(struct channel *c, int fd)
{
    *c = (struct channel){.fd = fd};
    buffer_init(&c->in, INTERNAL_FRAME_MAX + READ_SIZE);
    buffer_init(&c->out, 2 * (size_t)INTERNAL_FRAME_MAX);
}

void channel_free(struct channel *c)
{
    channel_close_descriptors(c);
    buffer_free(&c->in);
    buffer_free(&c->out);
}

int channel_take(struct channel *c, struct frame *out)
{
    size_t size;
    if (c->taken > 0) {
        buffer_consume(&c->in, c->taken);
        c->taken = 0;
    }
    switch (frame_take(buffer_span(&c->in), INTERNAL_FRAME_MAX, out, &size)) {
    case FRAME_COMPLETE:
        c->taken = size;
        return 1;
    case FRAME_INCOMPLETE:
        return 0;
    default:
        return -1;
    }
}

/* The descriptor may be non-blocking (the net process polls it): then wait here. */
static int wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    for (;;) {
        if (poll(&p, 1, -1) >= 0)
            return 0;
        if (errno != EINTR)
            return -1;
    }
}

int channel_take_descriptor(struct channel *c)
{
    return descriptors_take(&c->descriptors);
}

void channel_close_descriptors(struct channel *c)
{
    descriptors_close(&c->descriptors);
}

int channel_fill(struct channel *c)
{
    for (;;) {
        uint8_t *room = buffer_room(&c->in, READ_SIZE);
        if (room == NULL)
            return -1;
        ssize_t n = descriptors_receive(c->fd, room, READ_SIZE, 0, &c->descriptors);
        if (n > 0) {
            buffer_added(&c->in, (size_t)n);
            return 1;
        }
        if (n == 0 || errno == ECONNRESET)
            return 0;
        if (errno == EAGAIN) {
            if (wait_for(c->fd, POLLIN) != 0)
                return -1;
        } else if (errno != EINTR) {
            return -1;
        }
    }
}

int channel_read(struct channel *c, struct frame *out)
{
    for (;;) {
        int r = channel_take(c, out);
        if (r == 0)
            r = channel_fill(c);
        else
            return r;
        if (r <= 0)
            return r;
    }
}

int channel_flush(struct channel *c)
{
    if (c->out.failed)
        return -1;
    while (c->out.len > 0) {
        struct span rest = buffer_span(&c->out);
        ssize_t n = send(c->fd, rest.data, rest.len, MSG_NOSIGNAL);
        if (n >= 0)
            buffer_consume(&c->out, (size_t)n);
        else if (errno == EAGAIN && wait_for(c->fd, POLLOUT) == 0)
            continue;
        else if (errno != EINTR)
            return -1;
    }
    return 0;
}
