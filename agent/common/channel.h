/*
 * A child's end of its channel to the front: blocking reads and writes of whole frames on a stream socket.
 * The front's end of the same socket is non-blocking and lives in front/stream.c.
 */
#ifndef AGENT_CHANNEL_H
#define AGENT_CHANNEL_H

#include "descriptors.h"
#include "frame.h"

#define CHANNEL_FD 3 /* in every child */
#define CONFIG_FD 4  /* a memfd with the child's slice of the configuration */
#define LISTEN_FD 5  /* the front only */

struct channel {
    int fd;
    struct buffer in, out;
    size_t taken; /* bytes of the frame that channel_take gave last, freed by the next call */
    struct descriptors descriptors; /* that came with frames and were not taken yet */
};

void channel_init(struct channel *c, int fd);
void channel_free(struct channel *c);

/* The next frame if a whole one is there already; its spans live until the next call. 1: a frame, 0: none, -1:
   malformed. */
int channel_take(struct channel *c, struct frame *out) MUST_CHECK;
/* Reads once, waiting for it. 1: something came, 0: the front is gone, -1: an error. */
int channel_fill(struct channel *c) MUST_CHECK;
/* Waits for the next frame. 1: a frame, 0: the front is gone, -1: an error. */
int channel_read(struct channel *c, struct frame *out) MUST_CHECK;
/* The oldest descriptor that came (SCM_RIGHTS) with the frame taken last, which its message promises; -1: none came. */
int channel_take_descriptor(struct channel *c) MUST_CHECK;
void channel_close_descriptors(struct channel *c); /* those that nobody took */
/* Writes all that was put into c->out. */
int channel_flush(struct channel *c) MUST_CHECK;

#endif
