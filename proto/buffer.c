/* See buffer.h. */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 256

void wipe(void *data, size_t len)
{
    if (len > 0)
        explicit_bzero(data, len);
}

void buffer_init(struct buffer *b, size_t max)
{
    *b = (struct buffer){.max = max};
}

void buffer_free(struct buffer *b)
{
    if (b->data != NULL)
        wipe(b->data, b->start + b->len);
    free(b->data);
    buffer_init(b, b->max);
}

void buffer_clear(struct buffer *b)
{
    if (b->data != NULL)
        wipe(b->data, b->start + b->len);
    b->start = 0;
    b->len = 0;
    b->failed = false;
}

/* Makes room for `len` more bytes behind those held: first by moving them to the front, then by growing. */
static int make_room(struct buffer *b, size_t len)
{
    if (b->failed || len > b->max - b->len) {
        b->failed = true;
        return -1;
    }
    if (b->data != NULL && b->start + b->len + len <= b->capacity)
        return 0;
    size_t capacity = b->capacity > 0 ? b->capacity : FIRST_CAPACITY;
    while (capacity < b->len + len)
        capacity *= 2;
    uint8_t *data = b->data;
    if (capacity > b->capacity) {
        data = malloc(capacity);
        if (data == NULL) {
            b->failed = true;
            return -1;
        }
    }
    if (b->data != NULL) {
        memmove(data, b->data + b->start, b->len);
        if (data != b->data) {
            wipe(b->data, b->start + b->len);
            free(b->data);
        } else {
            wipe(b->data + b->len, b->start);
        }
    }
    b->data = data;
    b->capacity = capacity;
    b->start = 0;
    return 0;
}

uint8_t *buffer_room(struct buffer *b, size_t len)
{
    return make_room(b, len) == 0 ? b->data + b->start + b->len : NULL;
}

void buffer_added(struct buffer *b, size_t len)
{
    b->len += len;
}

void buffer_put(struct buffer *b, const void *data, size_t len)
{
    if (make_room(b, len) != 0 || len == 0)
        return;
    memcpy(b->data + b->start + b->len, data, len);
    b->len += len;
}

void buffer_put_text(struct buffer *b, const char *text)
{
    buffer_put(b, text, strlen(text));
}

void buffer_put_u16(struct buffer *b, uint16_t v)
{
    buffer_put(b, (const uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

void buffer_put_u32(struct buffer *b, uint32_t v)
{
    buffer_put_u16(b, (uint16_t)(v >> 16));
    buffer_put_u16(b, (uint16_t)v);
}

void buffer_put_u64(struct buffer *b, uint64_t v)
{
    buffer_put_u32(b, (uint32_t)(v >> 32));
    buffer_put_u32(b, (uint32_t)v);
}

void buffer_set_u32(struct buffer *b, size_t at, uint32_t v)
{
    if (b->failed || at + 4 > b->len)
        return;
    for (size_t i = 0; i < 4; i++)
        b->data[b->start + at + i] = (uint8_t)(v >> (24 - 8 * i));
}

void buffer_consume(struct buffer *b, size_t len)
{
    wipe(b->data + b->start, len);
    b->start += len;
    b->len -= len;
    if (b->len == 0)
        b->start = 0;
}

struct span buffer_span(const struct buffer *b)
{
    return span_of(b->data == NULL ? (const uint8_t *)"" : b->data + b->start, b->len);
}

struct span span_of(const void *data, size_t len)
{
    return (struct span){.data = data, .len = len};
}

struct span span_text(const char *text)
{
    return span_of(text, text != NULL ? strlen(text) : 0);
}

struct span span_text_or_absent(const char *text)
{
    return span_text(text[0] != '\0' ? text : NULL);
}

bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool span_is(struct span s, const char *text)
{
    return span_equal(s, span_text(text));
}

char *span_dup(struct span s)
{
    char *copy = malloc(s.len + 1);
    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.data, s.len);
    copy[s.len] = '\0';
    return copy;
}

int span_copy(struct span s, char *out, size_t size)
{
    if (s.len >= size)
        return -1;
    if (s.len > 0)
        memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return 0;
}

int span_take(struct span *s, size_t len, struct span *out)
{
    if (len > s->len)
        return -1;
    *out = span_of(s->data, len);
    s->data += len;
    s->len -= len;
    return 0;
}

int span_take_u16(struct span *s, uint16_t *out)
{
    struct span b;
    if (span_take(s, 2, &b) != 0)
        return -1;
    *out = (uint16_t)(b.data[0] << 8 | b.data[1]);
    return 0;
}

int span_take_u32(struct span *s, uint32_t *out)
{
    struct span b;
    if (span_take(s, 4, &b) != 0)
        return -1;
    *out = (uint32_t)b.data[0] << 24 | (uint32_t)b.data[1] << 16 | (uint32_t)b.data[2] << 8 | b.data[3];
    return 0;
}
