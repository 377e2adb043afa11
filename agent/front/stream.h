/*
 * A stream of frames in the event loop: the front's side of every connection and channel.
 *
 * What is put into `out` is sent before the loop waits again, so that the frames of one round go out in one write. A
 * client that does not read is not read from either, until it has taken what it was sent; a child is always read from,
 * or the two could wait for each other. However many frames came at once, a stream takes a few in a turn and then
 * waits for its next.
 */
#ifndef FRONT_STREAM_H
#define FRONT_STREAM_H

#include "descriptors.h"
#include "front.h"

struct stream {
    struct front *front;
    int fd;
    struct buffer in, out;
    size_t max_frame;
    uint32_t events; /* what the event loop watches */
    bool dirty;      /* in the list of streams to flush */
    bool closing;    /* closed once `out` is empty */
    bool stopped;    /* is not read from any more */
    bool behind;     /* frames that have come wait in `in` for the stream's next turn */
    bool child;      /* the other end is one of our own processes */
    uint64_t partial_since; /* when the first part of an unfinished frame came; 0: there is none */
    uint64_t unread_since;  /* when the peer last took something of what waits in `out`; 0: nothing waits */
    struct descriptors in_descriptors;  /* that came and were not taken yet */
    struct descriptors out_descriptors; /* that go with the byte of `out` at */
    size_t out_descriptors_at;
    struct stream *next_dirty, *next_behind;
    /* A frame came: false closes the stream. Then `closed` is called, as on the peer's end; it may free the stream. */
    bool (*on_frame)(struct stream *s, const struct frame *frame);
    /* What came is no frame, and the stream will be closed: last words may be put. NULL: none. */
    void (*on_broken)(struct stream *s, enum frame_result why);
    void (*on_closed)(struct stream *s);
    void *context;
};

struct streams;

struct streams *streams_new(struct front *f);
void streams_free(struct streams *streams);
void streams_flush(struct streams *streams); /* sends what waits, at once */

/* Takes the descriptor. `out_max`: more unsent bytes than this close the stream. */
int stream_open(struct stream *s, struct front *f, int fd, size_t max_frame, size_t out_max) MUST_CHECK;
void stream_close(struct stream *s); /* without calling on_closed; wipes the buffers */
void stream_send(struct stream *s);  /* after putting frames into s->out */
void stream_end(struct stream *s);   /* closes it after what is in `out` has been sent */
/* The oldest descriptor (SCM_RIGHTS) that has come and was not taken; the caller's from now on. -1: there is none.
   Those that no frame has taken when all that came with them is read are closed. */
int stream_take_descriptor(struct stream *s) MUST_CHECK;
/* They go out with the frame that is put into `out` next, and are closed then. -1, and nothing is taken over: others
   wait. */
int stream_put_descriptors(struct stream *s, const int *descriptors, size_t count) MUST_CHECK;
/* Hands on the frames that have been read, and reads no more: a peer whose frames are unread when the stream is closed
   learns it (ECONNRESET), and so does one that writes after that (EPIPE). */
void stream_stop_reading(struct stream *s);

#endif
