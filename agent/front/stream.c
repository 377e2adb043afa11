/* See stream.h. */
#include "stream.h"

#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 16384
#define FLUSH_EVERY 32           /* events after which is flushed even if more wait */
#define OUT_PAUSE (256 * 1024)   /* unsent bytes from which on a peer is not read from */

struct streams {
    struct front *front;
    struct stream *dirty;
    sd_event_source *flush;
    unsigned int events;
};

static int on_flush(sd_event_source *source, void *userdata)
{
    (void)source;
    streams_flush(userdata);
    return 0;
}

struct streams *streams_new(struct front *f)
{
    struct streams *streams = calloc(1, sizeof(*streams));
    if (streams == NULL)
        return NULL;
    streams->front = f;
    if (sd_event_add_defer(f->event, &streams->flush, on_flush, streams) < 0 ||
        sd_event_source_set_priority(streams->flush, SD_EVENT_PRIORITY_IDLE) < 0 ||
        sd_event_source_set_enabled(streams->flush, SD_EVENT_OFF) < 0) {
        streams_free(streams);
        return NULL;
    }
    return streams;
}

void streams_free(struct streams *streams)
{
    if (streams == NULL)
        return;
    (void)sd_event_source_disable_unref(streams->flush);
    free(streams);
}

static void watch(struct stream *s, uint32_t events)
{
    if (s->events == events)
        return;
    s->events = events;
    (void)sd_event_source_set_io_events(s->source, events);
}

static void closed(struct stream *s)
{
    stream_close(s);
    s->on_closed(s);
}

/* Sends what it can. -1: the peer is gone, or too much waits for it. */
static int flush(struct stream *s)
{
    if (s->out.failed)
        return -1;
    while (s->out.len > 0) {
        struct span rest = buffer_span(&s->out);
        ssize_t n = send(s->fd, rest.data, rest.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            buffer_consume(&s->out, (size_t)n);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return -1;
    }
    if (s->out.len == 0 && s->out.capacity > READ_SIZE)
        buffer_free(&s->out);
    if (s->out.len == 0 && s->closing)
        return -1;
    watch(s, (s->closing || s->out.len > OUT_PAUSE ? 0 : EPOLLIN) | (s->out.len > 0 ? EPOLLOUT : 0));
    return 0;
}

static void forget_dirty(struct stream *s)
{
    struct stream **p = &s->front->streams->dirty;
    if (!s->dirty)
        return;
    while (*p != s)
        p = &(*p)->next_dirty;
    *p = s->next_dirty;
    s->dirty = false;
}

void streams_flush(struct streams *streams)
{
    streams->events = 0;
    while (streams->dirty != NULL) {
        struct stream *s = streams->dirty;
        forget_dirty(s);
        if (flush(s) != 0)
            closed(s);
    }
}

void stream_send(struct stream *s)
{
    struct streams *streams = s->front->streams;
    if (s->dirty || s->fd < 0)
        return;
    s->dirty = true;
    s->next_dirty = streams->dirty;
    streams->dirty = s;
    (void)sd_event_source_set_enabled(streams->flush, SD_EVENT_ONESHOT);
}

void stream_end(struct stream *s)
{
    s->closing = true;
    stream_send(s);
}

/* Hands on the frames that have come. -1: the stream is to be closed. */
static int take_frames(struct stream *s)
{
    struct frame frame;
    size_t size;
    while (s->fd >= 0 && !s->closing) {
        enum frame_result result = frame_take(buffer_span(&s->in), s->max_frame, &frame, &size);
        switch (result) {
        case FRAME_INCOMPLETE:
            if (s->in.len == 0 && s->in.capacity > 2 * READ_SIZE)
                buffer_free(&s->in);
            return 0;
        case FRAME_COMPLETE:
            if (!s->on_frame(s, &frame))
                return -1;
            buffer_consume(&s->in, size);
            break;
        default:
            if (s->on_broken == NULL)
                return -1;
            s->on_broken(s, result);
            stream_end(s);
            break;
        }
    }
    return 0;
}

static int read_some(struct stream *s)
{
    uint8_t *room = buffer_room(&s->in, s->in.capacity == 0 ? 1024 : READ_SIZE);
    if (room == NULL)
        return -1;
    size_t size = s->in.capacity - s->in.start - s->in.len;
    ssize_t n = recv(s->fd, room, size, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    buffer_added(&s->in, (size_t)n);
    return take_frames(s);
}

static int on_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct stream *s = userdata;
    struct streams *streams = s->front->streams;
    int r = 0;
    (void)source;
    (void)fd;
    if (revents & EPOLLOUT)
        r = flush(s);
    if (r == 0 && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        r = s->events & EPOLLIN ? read_some(s) : revents & (EPOLLHUP | EPOLLERR) ? -1 : 0;
    if (r != 0)
        closed(s);
    if (++streams->events >= FLUSH_EVERY)
        streams_flush(streams);
    return 0;
}

int stream_open(struct stream *s, struct front *f, int fd, size_t max_frame, size_t out_max)
{
    s->front = f;
    s->fd = fd;
    s->max_frame = max_frame;
    s->events = EPOLLIN;
    buffer_init(&s->in, FRAME_MAX > max_frame ? FRAME_MAX + READ_SIZE : max_frame + READ_SIZE);
    buffer_init(&s->out, out_max);
    if (sd_event_add_io(f->event, &s->source, fd, EPOLLIN, on_event, s) < 0) {
        stream_close(s);
        return -1;
    }
    return 0;
}

void stream_close(struct stream *s)
{
    if (s->fd < 0)
        return;
    forget_dirty(s);
    s->source = sd_event_source_disable_unref(s->source);
    (void)close(s->fd);
    s->fd = -1;
    buffer_free(&s->in);
    buffer_free(&s->out);
}
