/*
 * Fuzzes what reads bytes from a peer: frames, and the fields of every message in them.
 *
 * What was decoded must encode to something that decodes to the same again (and, being in canonical order then,
 * encodes to the same bytes). The input is a stream of frames, as on a socket; the corpus is made from
 * tests/vectors/wire.txt.
 */
#include "../unit/every_message.h"
#include "frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Decodes nested messages of a list, too: clients do. */
static void take_items(const struct message *m, const char *decoded, const struct message *inner, size_t size)
{
    _Alignas(max_align_t) char item_decoded[EVERY_MESSAGE_LARGEST];
    struct error err;
    for (size_t i = 0; i < m->count; i++) {
        struct span item;
        size_t cursor = 0;
        if (m->fields[i].type == FIELD_LIST)
            while (list_next((const struct list *)(const void *)(decoded + m->fields[i].offset), &cursor, &item))
                (void)!message_take(item, inner, item_decoded, size, &err);
    }
}

static void take_message(struct span fields, const struct every_message *m)
{
    _Alignas(max_align_t) char decoded[EVERY_MESSAGE_LARGEST], again[EVERY_MESSAGE_LARGEST];
    struct buffer first, second;
    struct error err;
    if (message_take(fields, m->table, decoded, m->size, &err) != STATUS_OK) {
        must(status_listed(err.status) && err.message[0] != '\0');
        return;
    }
    buffer_init(&first, 2 * FRAME_MAX);
    buffer_init(&second, 2 * FRAME_MAX);
    message_put(&first, m->table, decoded);
    must(!first.failed && first.len <= fields.len + 16 * m->table->count);
    must(message_take(buffer_span(&first), m->table, again, m->size, &err) == STATUS_OK);
    message_put(&second, m->table, again);
    must(span_equal(buffer_span(&first), buffer_span(&second)));
    take_items(m->table, decoded, &message_key_info, sizeof(struct key_info));
    take_items(m->table, decoded, &message_profile_info, sizeof(struct profile_info));
    buffer_free(&first);
    buffer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of(data, size);
    struct frame frame;
    struct error err;
    size_t taken;
    while (frame_take(rest, FRAME_MAX, &frame, &taken) == FRAME_COMPLETE) {
        must(taken >= FRAME_HEADER_SIZE && taken <= rest.len && frame.fields.len == taken - FRAME_HEADER_SIZE);
        for (size_t i = 0; i < EVERY_MESSAGE_COUNT; i++)
            take_message(frame.fields, &every_message[i]);
        (void)!messages_take_error(frame.fields, &err);
        rest = span_of(rest.data + taken, rest.len - taken);
    }
    return 0;
}
