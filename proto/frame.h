/*
 * Frames: how messages follow each other on a stream (PROTOCOL.md, "Frames").
 *
 *   uint32 length    of everything behind it: 8 + the fields
 *   uint16 operation
 *   uint16 reserved  zero when sent, ignored when read
 *   uint32 request   an answer carries its request's number
 *   fields           see message.h
 *
 * The same frames run between applications and the agent and between the agent's own processes.
 */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "buffer.h"

#define FRAME_HEADER_SIZE 12
#define FRAME_MAX_BEFORE_HELLO 4096
#define FRAME_MAX 1048576 /* the whole frame, header included; the agent states it in its hello */

struct frame {
    uint16_t operation;
    uint32_t request;
    struct span fields;
};

enum frame_result { FRAME_INCOMPLETE = 0, FRAME_COMPLETE = 1, FRAME_TOO_LARGE = -1, FRAME_MALFORMED = -2 };

/* Reads one frame from the front of `in`, of at most `max` bytes; `*size` is then the number of bytes it took. */
enum frame_result frame_take(struct span in, size_t max, struct frame *out, size_t *size) MUST_CHECK;

/* Writes the header; the fields are put behind it, then frame_end is given what frame_begin returned. */
size_t frame_begin(struct buffer *b, uint16_t operation, uint32_t request);
void frame_end(struct buffer *b, size_t begin);

#endif
