/* See pin_turns.h. */
#include "pin_turns.h"

#include "log.h"

#include <stdlib.h>
#include <string.h>

#define STORE_TIMEOUT 10000000 /* microseconds for one answer of the store */

/* One process that wants to log in, or is at it. The first entry of a token has the turn. */
struct turn {
    struct turn *next;
    struct child *child;
    uint32_t child_id;
    uint32_t request; /* of its PIN_LOAD */
    bool begun;
    char *token_id;
    size_t token_id_len;
};

struct pin_turns {
    struct front *front;
    struct turn *first; /* in the order of asking */
};

/* An answer of the store on its way back: the process may have ended and another one taken its place meanwhile. */
struct relay {
    struct pin_turns *turns;
    struct child *child;
    uint32_t child_id;
    uint32_t request;
    uint16_t operation;
    bool ends_turn;
};

struct pin_turns *pin_turns_new(struct front *f)
{
    struct pin_turns *turns = calloc(1, sizeof(*turns));
    if (turns != NULL)
        turns->front = f;
    return turns;
}

static void free_turn(struct turn *t)
{
    free(t->token_id);
    free(t);
}

void pin_turns_free(struct pin_turns *turns)
{
    if (turns == NULL)
        return;
    while (turns->first != NULL) {
        struct turn *t = turns->first;
        turns->first = t->next;
        free_turn(t);
    }
    free(turns);
}

static void on_stored(void *context, const struct error *err, struct span fields)
{
    struct relay *r = context;
    struct child *child = r->child;
    if (child->id == r->child_id) {
        if (err != NULL) {
            messages_put_error(&child->stream.out, r->request, err);
        } else {
            size_t begin = frame_begin(&child->stream.out, r->operation | OPERATION_ANSWER, r->request);
            buffer_put(&child->stream.out, fields.data, fields.len);
            frame_end(&child->stream.out, begin);
        }
        stream_send(&child->stream);
        if (r->ends_turn)
            pin_turns_over(r->turns, child);
    }
    free(r);
}

static void relay(struct pin_turns *turns, const struct relay *values, const struct message *m, const void *in)
{
    struct relay *r = malloc(sizeof(*r));
    if (r == NULL) {
        children_kill(turns->front->children, values->child, "out of memory");
        return;
    }
    *r = *values;
    children_call(turns->front->children, ROLE_STORE, r->operation, m, in, front_now(turns->front) + STORE_TIMEOUT, on_stored, r);
}

static bool same_token(const struct turn *a, const struct turn *b)
{
    return a->token_id_len == b->token_id_len && memcmp(a->token_id, b->token_id, a->token_id_len) == 0;
}

static void begin_turns(struct pin_turns *turns)
{
    for (struct turn *t = turns->first; t != NULL; t = t->next) {
        const struct turn *before = turns->first;
        while (before != t && !same_token(before, t))
            before = before->next;
        if (before != t || t->begun)
            continue;
        t->begun = true;
        struct pin_load m = {.token_id = span_of(t->token_id, t->token_id_len)};
        relay(turns, &(struct relay){.turns = turns, .child = t->child, .child_id = t->child_id, .request = t->request,
                                     .operation = INTERNAL_PIN_LOAD},
              &message_pin_load, &m);
    }
}

static bool ask_turn(struct pin_turns *turns, struct child *child, const struct frame *frame)
{
    struct pin_load m;
    struct error err;
    struct turn **end = &turns->first;
    if (message_take(frame->fields, &message_pin_load, &m, sizeof(m), &err) != STATUS_OK)
        return false;
    struct turn *t = calloc(1, sizeof(*t));
    if (t == NULL || (t->token_id = span_dup(m.token_id)) == NULL) {
        free(t);
        return false;
    }
    t->token_id_len = m.token_id.len;
    t->child = child;
    t->child_id = child->id;
    t->request = frame->request;
    while (*end != NULL)
        end = &(*end)->next;
    *end = t;
    begin_turns(turns);
    return true;
}

bool pin_turns_frame(struct pin_turns *turns, struct child *child, const struct frame *frame)
{
    struct pin_record m;
    struct error err;
    if (frame->operation == INTERNAL_PIN_LOAD)
        return ask_turn(turns, child, frame);
    if (message_take(frame->fields, &message_pin_record, &m, sizeof(m), &err) != STATUS_OK)
        return false;
    relay(turns, &(struct relay){.turns = turns, .child = child, .child_id = child->id, .request = frame->request,
                                 .operation = INTERNAL_PIN_RECORD, .ends_turn = m.verdict != PIN_TRYING},
          &message_pin_record, &m);
    return true;
}

void pin_turns_over(struct pin_turns *turns, struct child *child)
{
    for (struct turn **p = &turns->first; *p != NULL;) {
        struct turn *t = *p;
        if (t->child == child) {
            *p = t->next;
            free_turn(t);
        } else {
            p = &t->next;
        }
    }
    begin_turns(turns);
}

bool pin_turns_waits(const struct pin_turns *turns, const struct child *child)
{
    for (const struct turn *t = turns->first; t != NULL; t = t->next)
        if (t->child == child)
            return !t->begun;
    return false;
}
