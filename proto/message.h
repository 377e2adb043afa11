/*
 * Messages: the tag-length-value fields of a frame, described by tables.
 *
 *   uint16 tag       bit 15 set: critical, a reader that does not know the tag must refuse the message
 *   uint32 length
 *   value
 *
 * A message is a C struct and a `struct message` that says which field goes where; message_put and message_take are the
 * two directions of the same table, so that they cannot disagree. Unknown fields that are not critical are skipped; a
 * field twice (unless it is a list), a wrong length, a value over its limit, a missing required field and a rest that is
 * no field are errors.
 *
 * Decoded spans and lists point into the frame: they live as long as its buffer is not touched.
 */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include "buffer.h"
#include "error.h"

enum field_type {
    FIELD_BOOL,  /* bool: 1 byte, 0 or 1 */
    FIELD_U16,   /* uint16_t */
    FIELD_U32,   /* uint32_t */
    FIELD_U64,   /* uint64_t */
    FIELD_BYTES, /* struct span */
    FIELD_TEXT,  /* struct span: UTF-8 without control characters */
    FIELD_LIST,  /* struct list: the tag may be repeated, each value is a FIELD_BYTES */
    FIELD_TEXTS, /* struct list of FIELD_TEXT */
};

#define FIELD_REQUIRED 1 /* numbers are required or have the value 0 */
#define FIELD_CRITICAL 2
#define FIELD_TAG_CRITICAL 0x8000
#define MESSAGE_MAX_FIELDS 40

struct field {
    uint16_t tag; /* 1 to MESSAGE_MAX_FIELDS, without the critical bit */
    enum field_type type;
    unsigned int flags;
    uint32_t max; /* most bytes of one value; numbers: not used */
    size_t offset;
    const char *name;
};

struct message {
    const char *name;
    const struct field *fields;
    size_t count;
};

/* To send: `items` and `count`. Received: `count`, and list_next walks the message again. */
struct list {
    const struct span *items;
    size_t count;
    struct span body;
    uint16_t tag;
};

/* Walks a list, sent or received; `*cursor` starts at 0. False at the end. */
bool list_next(const struct list *list, size_t *cursor, struct span *item);

/* Makes a list of nested messages: the list that it gives lives as long as it is not touched. */
struct list_builder {
    struct buffer bytes;
    struct span *items;
    size_t count, capacity;
    bool failed;
};
void list_builder_init(struct list_builder *b, size_t max_bytes);
void list_builder_add(struct list_builder *b, const struct message *m, const void *in);
struct list list_builder_list(struct list_builder *b); /* empty after a failure */
void list_builder_free(struct list_builder *b);

/* Puts the fields that are present (numbers: not 0) behind what `b` holds. Limits are the caller's to keep. */
void message_put(struct buffer *b, const struct message *m, const void *in);
/* Puts a whole frame. */
void message_put_frame(struct buffer *b, uint16_t operation, uint32_t request, const struct message *m, const void *in);
/* `out` is the message's struct; it is written only when all is well. */
enum status message_take(struct span fields, const struct message *m, void *out, size_t out_size, struct error *err)
    MUST_CHECK;

#endif
