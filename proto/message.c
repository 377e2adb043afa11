/* See message.h. */
#include "message.h"

#include "frame.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

#define LARGEST_MESSAGE 1024 /* bytes of the largest message struct */

static int take_field(struct span *body, uint16_t *tag, struct span *value)
{
    struct span rest = *body;
    uint32_t length;
    if (span_take_u16(&rest, tag) != 0 || span_take_u32(&rest, &length) != 0 || span_take(&rest, length, value) != 0)
        return -1;
    *body = rest;
    return 0;
}

bool list_next(const struct list *list, size_t *cursor, struct span *item)
{
    if (list->items != NULL) {
        if (*cursor >= list->count)
            return false;
        *item = list->items[(*cursor)++];
        return true;
    }
    struct span rest = span_of(list->body.data, list->body.len);
    if (rest.data == NULL || *cursor > rest.len)
        return false;
    rest.data += *cursor;
    rest.len -= *cursor;
    for (uint16_t tag; rest.len > 0 && take_field(&rest, &tag, item) == 0;)
        if ((tag & ~FIELD_TAG_CRITICAL) == list->tag) {
            *cursor = list->body.len - rest.len;
            return true;
        }
    return false;
}

static void put_value(struct buffer *b, const struct field *f, struct span value)
{
    buffer_put_u16(b, f->flags & FIELD_CRITICAL ? f->tag | FIELD_TAG_CRITICAL : f->tag);
    buffer_put_u32(b, (uint32_t)value.len);
    buffer_put(b, value.data, value.len);
}

static void put_number(struct buffer *b, const struct field *f, uint64_t v, size_t size)
{
    uint8_t bytes[8];
    if (v == 0 && !(f->flags & FIELD_REQUIRED))
        return;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(v >> (8 * (size - 1 - i)));
    put_value(b, f, span_of(bytes, size));
}

void message_put(struct buffer *b, const struct message *m, const void *in)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct field *f = &m->fields[i];
        const void *member = (const char *)in + f->offset;
        const struct span *span = member;
        struct span item;
        size_t cursor = 0;
        switch (f->type) {
        case FIELD_BOOL:
            put_number(b, f, *(const bool *)member, 1);
            break;
        case FIELD_U16:
            put_number(b, f, *(const uint16_t *)member, 2);
            break;
        case FIELD_U32:
            put_number(b, f, *(const uint32_t *)member, 4);
            break;
        case FIELD_U64:
            put_number(b, f, *(const uint64_t *)member, 8);
            break;
        case FIELD_BYTES:
        case FIELD_TEXT:
            if (span->data != NULL)
                put_value(b, f, *span);
            break;
        case FIELD_LIST:
        case FIELD_TEXTS:
            while (list_next(member, &cursor, &item))
                put_value(b, f, item);
            break;
        }
    }
}

void message_put_frame(struct buffer *b, uint16_t operation, uint32_t request, const struct message *m, const void *in)
{
    size_t begin = frame_begin(b, operation, request);
    message_put(b, m, in);
    frame_end(b, begin);
}

static int take_number(struct span value, size_t size, uint64_t *out)
{
    if (value.len != size)
        return -1;
    *out = 0;
    for (size_t i = 0; i < size; i++)
        *out = *out << 8 | value.data[i];
    return 0;
}

/* Stores one value into its member. NULL, or what is wrong with it. */
static const char *take_value(const struct field *f, struct span value, void *member)
{
    static const size_t sizes[] = {[FIELD_BOOL] = 1, [FIELD_U16] = 2, [FIELD_U32] = 4, [FIELD_U64] = 8};
    struct list *list = member;
    uint64_t number = 0;

    if (f->type <= FIELD_U64) {
        if (take_number(value, sizes[f->type], &number) != 0 || (f->type == FIELD_BOOL && number > 1))
            return "is not a number of its size";
    } else if (value.len > f->max) {
        return "is longer than its limit";
    } else if ((f->type == FIELD_TEXT || f->type == FIELD_TEXTS) && !text_valid(value)) {
        return "is not UTF-8 text without control characters";
    }
    switch (f->type) {
    case FIELD_BOOL:
        *(bool *)member = number != 0;
        break;
    case FIELD_U16:
        *(uint16_t *)member = (uint16_t)number;
        break;
    case FIELD_U32:
        *(uint32_t *)member = (uint32_t)number;
        break;
    case FIELD_U64:
        *(uint64_t *)member = number;
        break;
    case FIELD_BYTES:
    case FIELD_TEXT:
        *(struct span *)member = value;
        break;
    case FIELD_LIST:
    case FIELD_TEXTS:
        list->count++;
        break;
    }
    return NULL;
}

static const struct field *find_field(const struct message *m, uint16_t tag)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->fields[i].tag == tag)
            return &m->fields[i];
    return NULL;
}

static bool is_list(const struct field *f)
{
    return f->type == FIELD_LIST || f->type == FIELD_TEXTS;
}

enum status message_take(struct span fields, const struct message *m, void *out, size_t out_size, struct error *err)
{
    _Alignas(max_align_t) char scratch[LARGEST_MESSAGE] = {0};
    uint64_t seen = 0;
    struct span rest = fields;

    if (out_size > sizeof(scratch))
        return error_set(err, STATUS_INTERNAL, NULL, "message %s is too large for its decoder", m->name);
    while (rest.len > 0) {
        uint16_t wire_tag;
        struct span value;
        if (take_field(&rest, &wire_tag, &value) != 0)
            return error_set(err, STATUS_MALFORMED, NULL, "%s: a field is cut short", m->name);
        uint16_t tag = wire_tag & (uint16_t)~FIELD_TAG_CRITICAL;
        const struct field *f = find_field(m, tag);
        if (f == NULL) {
            if (wire_tag & FIELD_TAG_CRITICAL)
                return error_set(err, STATUS_UNSUPPORTED_FIELD, "update the older of agent and client",
                                 "%s: critical field %u is not known here", m->name, tag);
            continue;
        }
        if (seen & (UINT64_C(1) << tag) && !is_list(f))
            return error_set(err, STATUS_MALFORMED, NULL, "%s: field %s stands twice", m->name, f->name);
        seen |= UINT64_C(1) << tag;
        const char *wrong = take_value(f, value, scratch + f->offset);
        if (wrong != NULL)
            return error_set(err, STATUS_MALFORMED, NULL, "%s: field %s %s", m->name, f->name, wrong);
    }
    for (size_t i = 0; i < m->count; i++) {
        const struct field *f = &m->fields[i];
        if ((f->flags & FIELD_REQUIRED) && !(seen & (UINT64_C(1) << f->tag)))
            return error_set(err, STATUS_MALFORMED, NULL, "%s: field %s is missing", m->name, f->name);
        if (is_list(f)) {
            struct list *list = (struct list *)(void *)(scratch + f->offset);
            list->body = fields;
            list->tag = f->tag;
        }
    }
    memcpy(out, scratch, out_size);
    return STATUS_OK;
}

void list_builder_init(struct list_builder *b, size_t max_bytes)
{
    *b = (struct list_builder){0};
    buffer_init(&b->bytes, max_bytes);
}

/* While the buffer grows and moves, an item holds only its length; list_builder_list fills the addresses in. */
void list_builder_add(struct list_builder *b, const struct message *m, const void *in)
{
    size_t before = b->bytes.len;
    if (b->count == b->capacity) {
        size_t capacity = b->capacity == 0 ? 16 : 2 * b->capacity;
        struct span *items = realloc(b->items, capacity * sizeof(*items));
        if (items == NULL) {
            b->failed = true;
            return;
        }
        b->items = items;
        b->capacity = capacity;
    }
    message_put(&b->bytes, m, in);
    b->items[b->count++] = span_of(NULL, b->bytes.len - before);
}

struct list list_builder_list(struct list_builder *b)
{
    struct span bytes = buffer_span(&b->bytes);
    if (b->failed || b->bytes.failed)
        return (struct list){0};
    for (size_t i = 0; i < b->count; i++)
        if (span_take(&bytes, b->items[i].len, &b->items[i]) != 0)
            return (struct list){0};
    return (struct list){.items = b->items, .count = b->count};
}

void list_builder_free(struct list_builder *b)
{
    buffer_free(&b->bytes);
    free(b->items);
    *b = (struct list_builder){0};
}
