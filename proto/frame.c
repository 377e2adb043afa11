/* See frame.h. */
#include "frame.h"

#define AFTER_LENGTH (FRAME_HEADER_SIZE - 4)

enum frame_result frame_take(struct span in, size_t max, struct frame *out, size_t *size)
{
    struct frame frame;
    struct span rest = in;
    uint32_t length;
    uint16_t reserved;

    if (span_take_u32(&rest, &length) != 0)
        return FRAME_INCOMPLETE;
    if (length < AFTER_LENGTH)
        return FRAME_MALFORMED;
    if (length > max - 4)
        return FRAME_TOO_LARGE;
    if (rest.len < length)
        return FRAME_INCOMPLETE;
    rest.len = length;
    if (span_take_u16(&rest, &frame.operation) != 0 || span_take_u16(&rest, &reserved) != 0 ||
        span_take_u32(&rest, &frame.request) != 0)
        return FRAME_MALFORMED;
    frame.fields = rest;
    *out = frame;
    *size = 4 + (size_t)length;
    return FRAME_COMPLETE;
}

size_t frame_begin(struct buffer *b, uint16_t operation, uint32_t request)
{
    size_t begin = b->len;
    buffer_put_u32(b, 0);
    buffer_put_u16(b, operation);
    buffer_put_u16(b, 0);
    buffer_put_u32(b, request);
    return begin;
}

void frame_end(struct buffer *b, size_t begin)
{
    if (!b->failed)
        buffer_set_u32(b, begin, (uint32_t)(b->len - begin - 4));
}
