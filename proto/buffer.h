/*
 * A growable byte buffer with a limit, and a read-only span of bytes.
 *
 * Everything that crosses a process boundary is written into a `struct buffer` and read from a `struct span`.
 *  - A put that fails (limit or memory) sticks: later puts do nothing, and `failed` is asked about once at the end.
 *  - A take that fails moves nothing.
 *  - All memory that a buffer has held is wiped when it grows, is consumed to the end, or is freed: frames carry tokens.
 * Numbers are big-endian.
 */
#ifndef PROTO_BUFFER_H
#define PROTO_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))

struct span {
    const uint8_t *data; /* NULL: absent. A present empty string has data != NULL and len 0. */
    size_t len;
};

struct buffer {
    uint8_t *data;
    size_t start; /* bytes before it are consumed */
    size_t len;   /* bytes held, counted from start */
    size_t capacity;
    size_t max; /* most bytes it will hold */
    bool failed;
};

void buffer_init(struct buffer *b, size_t max);
void buffer_free(struct buffer *b);  /* wipes; the buffer may be used again with the same limit */
void buffer_clear(struct buffer *b); /* wipes what is held, keeps the memory, forgets a failure */

void buffer_put(struct buffer *b, const void *data, size_t len);
void buffer_put_text(struct buffer *b, const char *text);
void buffer_put_u16(struct buffer *b, uint16_t v);
void buffer_put_u32(struct buffer *b, uint32_t v);
void buffer_put_u64(struct buffer *b, uint64_t v);
void buffer_set_u32(struct buffer *b, size_t at, uint32_t v); /* overwrites 4 bytes at offset `at` from the start */

/* Room for `len` more bytes at the end, to be filled by the caller and then announced with buffer_added; NULL on failure. */
uint8_t *buffer_room(struct buffer *b, size_t len);
void buffer_added(struct buffer *b, size_t len);
void buffer_consume(struct buffer *b, size_t len);
struct span buffer_span(const struct buffer *b);

struct span span_of(const void *data, size_t len);
struct span span_text(const char *text); /* NULL gives an absent span */
struct span span_text_or_absent(const char *text); /* and so does an empty text, here */
bool span_equal(struct span a, struct span b);
bool span_is(struct span s, const char *text);
char *span_dup(struct span s); /* NUL-terminated copy, NULL when out of memory; the caller frees */
/* Copies into a NUL-terminated array; -1 (nothing written) when it does not fit. */
int span_copy(struct span s, char *out, size_t size) MUST_CHECK;

int span_take(struct span *s, size_t len, struct span *out) MUST_CHECK;
int span_take_u16(struct span *s, uint16_t *out) MUST_CHECK;
int span_take_u32(struct span *s, uint32_t *out) MUST_CHECK;

void wipe(void *data, size_t len); /* memset that is not optimised away */

#endif
