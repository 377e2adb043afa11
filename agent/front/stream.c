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
#define EVENTS 64                /* that one round handles at the most, before its answers are sent */
#define FRAMES_A_TURN 32
#define OUT_PAUSE (256 * 1024)   /* unsent bytes from which on a client is not read from */

struct streams {
    struct front *front;
    struct stream *dirty;
    struct stream *behind, **behind_end; /* in the order of their turns */
    int epoll; /* of all streams; it is one source of the event loop, which asks the kernel anew after every source */
    sd_event_source *round, *turn;
    struct epoll_event events[EVENTS]; /* of the round at work; a stream that is closed meanwhile is taken out */
    int count;
};

static int on_round(sd_event_source *source, int fd, uint32_t revents, void *userdata);
static int on_turn(sd_event_source *source, void *userdata);

/* The event loop is about to wait. */
static int on_wait(sd_event_source *source, void *userdata)
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
    streams->behind_end = &streams->behind;
    streams->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (streams->epoll < 0 ||
        sd_event_add_io(f->event, &streams->round, streams->epoll, EPOLLIN, on_round, streams) < 0 ||
        sd_event_source_set_prepare(streams->round, on_wait) < 0 ||
        sd_event_add_defer(f->event, &streams->turn, on_turn, streams) < 0 ||
        sd_event_source_set_priority(streams->turn, SD_EVENT_PRIORITY_NORMAL + 1) < 0 ||
        sd_event_source_set_enabled(streams->turn, SD_EVENT_OFF) < 0) {
        streams_free(streams);
        return NULL;
    }
    return streams;
}

void streams_free(struct streams *streams)
{
    if (streams == NULL)
        return;
    (void)sd_event_source_disable_unref(streams->round);
    (void)sd_event_source_disable_unref(streams->turn);
    if (streams->epoll >= 0)
        (void)close(streams->epoll);
    free(streams);
}

static bool paused(const struct stream *s)
{
    return !s->child && s->out.len > OUT_PAUSE;
}

static void watch(struct stream *s)
{
    uint32_t events = (s->closing || s->stopped || s->behind ||
                       paused(s) ? 0 : EPOLLIN) | (s->out.len > 0 ? EPOLLOUT : 0);
    if (s->events == events)
        return;
    s->events = events;
    struct epoll_event event = {.events = events, .data = {.ptr = s}};
    (void)epoll_ctl(s->front->streams->epoll, EPOLL_CTL_MOD, s->fd, &event);
}

/* The stream has frames that it may take in its next turn. */
static void queue_turn(struct stream *s)
{
    struct streams *streams = s->front->streams;
    if (s->behind)
        return;
    s->behind = true;
    s->next_behind = NULL;
    *streams->behind_end = s;
    streams->behind_end = &s->next_behind;
    (void)sd_event_source_set_enabled(streams->turn, SD_EVENT_ON);
}

static void leave_turns(struct stream *s)
{
    struct streams *streams = s->front->streams;
    struct stream **p = &streams->behind;
    if (!s->behind)
        return;
    while (*p != s)
        p = &(*p)->next_behind;
    *p = s->next_behind;
    if (*p == NULL)
        streams->behind_end = p;
    s->behind = false;
}

static void closed(struct stream *s)
{
    stream_close(s);
    s->on_closed(s);
}

/* One write: up to where descriptors go out, or from there on with them. */
static ssize_t send_some(struct stream *s)
{
    struct span rest = buffer_span(&s->out);
    union {
        char bytes[CMSG_SPACE(LIMIT_DESCRIPTORS * sizeof(int))];
        struct cmsghdr align;
    } ancillary = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)rest.data, .iov_len = rest.len};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    bool with_descriptors = s->out_descriptors.count > 0 && s->out_descriptors_at == 0;
    if (with_descriptors) {
        header.msg_control = ancillary.bytes;
        header.msg_controllen = CMSG_SPACE(s->out_descriptors.count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(s->out_descriptors.count * sizeof(int));
        memcpy(CMSG_DATA(c), s->out_descriptors.fds, s->out_descriptors.count * sizeof(int));
    } else if (s->out_descriptors.count > 0) {
        iov.iov_len = s->out_descriptors_at;
    }
    ssize_t n = sendmsg(s->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0 && with_descriptors)
        descriptors_close(&s->out_descriptors);
    else if (n > 0 && s->out_descriptors.count > 0)
        s->out_descriptors_at -= (size_t)n;
    return n;
}

/* Sends what it can. -1: the peer is gone, or too much waits for it. */
static int flush(struct stream *s)
{
    bool was_paused = paused(s);
    if (s->out.failed)
        return -1;
    while (s->out.len > 0) {
        ssize_t n = send_some(s);
        if (n >= 0) {
            buffer_consume(&s->out, (size_t)n);
            s->unread_since = 0;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    if (s->out.len == 0 && s->out.capacity > READ_SIZE)
        buffer_free(&s->out);
    if (s->out.len == 0 && s->closing)
        return -1;
    if (s->out.len > 0 && s->unread_since == 0) {
        s->unread_since = front_now(s->front);
        front_wait(s->front);
    }
    if (was_paused && !paused(s) && s->in.len > 0)
        queue_turn(s);
    watch(s);
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
}

void stream_end(struct stream *s)
{
    s->closing = true;
    stream_send(s);
}

static void note_partial(struct stream *s)
{
    if (s->in.len == 0)
        descriptors_close(&s->in_descriptors);
    if (s->in.len == 0 && s->in.capacity > 2 * READ_SIZE)
        buffer_free(&s->in);
    if (s->in.len > 0 && s->partial_since == 0) {
        s->partial_since = front_now(s->front);
        front_wait(s->front);
    }
}

/* Hands on the frames that have come, as many as one turn allows. -1: the stream is to be closed. */
static int take_frames(struct stream *s)
{
    struct frame frame;
    size_t size;
    for (unsigned int taken = 0; s->fd >= 0 && !s->closing && !paused(s); taken++) {
        enum frame_result result = frame_take(buffer_span(&s->in), s->max_frame, &frame, &size);
        switch (result) {
        case FRAME_INCOMPLETE:
            note_partial(s);
            return 0;
        case FRAME_COMPLETE:
            s->partial_since = 0;
            if (taken == FRAMES_A_TURN && !s->child) {
                queue_turn(s);
                watch(s);
                return 0;
            }
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

/* One stream's turn; what it still has then waits behind the others'. After every event there is one, so that those who
   wait for a turn and those who have something to read share the loop. */
static void give_turn(struct streams *streams)
{
    struct stream *s = streams->behind;
    if (s != NULL) {
        leave_turns(s);
        if (take_frames(s) != 0)
            closed(s);
        else
            watch(s);
    }
}

/* Nothing else is to be done. */
static int on_turn(sd_event_source *source, void *userdata)
{
    struct streams *streams = userdata;
    give_turn(streams);
    if (streams->behind == NULL)
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return 0;
}

int stream_take_descriptor(struct stream *s)
{
    return descriptors_take(&s->in_descriptors);
}

int stream_put_descriptors(struct stream *s, const int *descriptors, size_t count)
{
    if (s->out_descriptors.count > 0 || count > LIMIT_DESCRIPTORS)
        return -1;
    memcpy(s->out_descriptors.fds, descriptors, count * sizeof(int));
    s->out_descriptors.count = count;
    s->out_descriptors_at = s->out.len;
    return 0;
}

static int read_some(struct stream *s)
{
    uint8_t *room = buffer_room(&s->in, s->in.capacity == 0 ? 1024 : READ_SIZE);
    if (room == NULL)
        return -1;
    size_t size = s->in.capacity - s->in.start - s->in.len;
    ssize_t n = descriptors_receive(s->fd, room, size, MSG_DONTWAIT, &s->in_descriptors);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    buffer_added(&s->in, (size_t)n);
    return take_frames(s);
}

void stream_stop_reading(struct stream *s)
{
    s->stopped = true;
    do
        leave_turns(s);
    while (s->fd >= 0 && take_frames(s) == 0 && s->behind);
    leave_turns(s);
    if (s->fd >= 0)
        watch(s);
}

static void on_event(struct stream *s, uint32_t revents)
{
    struct streams *streams = s->front->streams;
    int r = 0;
    if (revents & EPOLLOUT)
        r = flush(s);
    if (r == 0 && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        r = s->events & EPOLLIN ? read_some(s) : revents & (EPOLLHUP | EPOLLERR) ? -1 : 0;
    if (r != 0)
        closed(s);
    give_turn(streams);
}

static int on_round(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct streams *streams = userdata;
    (void)source;
    (void)revents;
    streams->count = epoll_wait(fd, streams->events, EVENTS, 0);
    for (int i = 0; i < streams->count; i++)
        if (streams->events[i].data.ptr != NULL)
            on_event(streams->events[i].data.ptr, streams->events[i].events);
    streams->count = 0;
    return 0;
}

int stream_open(struct stream *s, struct front *f, int fd, size_t max_frame, size_t out_max)
{
    s->front = f;
    s->fd = fd;
    s->max_frame = max_frame;
    s->events = EPOLLIN;
    s->closing = s->stopped = s->behind = s->dirty = false;
    s->partial_since = s->unread_since = 0;
    s->in_descriptors.count = s->out_descriptors.count = 0;
    buffer_init(&s->in, FRAME_MAX > max_frame ? FRAME_MAX + READ_SIZE : max_frame + READ_SIZE);
    buffer_init(&s->out, out_max);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = s}};
    if (epoll_ctl(f->streams->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        stream_close(s);
        return -1;
    }
    return 0;
}

/* close() alone would not do while another process holds a copy of the descriptor. */
static void stop_watching(const struct stream *s)
{
    struct streams *streams = s->front->streams;
    (void)epoll_ctl(streams->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    for (int i = 0; i < streams->count; i++)
        if (streams->events[i].data.ptr == s)
            streams->events[i].data.ptr = NULL;
}

void stream_close(struct stream *s)
{
    if (s->fd < 0)
        return;
    forget_dirty(s);
    leave_turns(s);
    stop_watching(s);
    (void)close(s->fd);
    s->fd = -1;
    descriptors_close(&s->in_descriptors);
    descriptors_close(&s->out_descriptors);
    buffer_free(&s->in);
    buffer_free(&s->out);
}
