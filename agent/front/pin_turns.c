/* See pin_turns.h. */
#include "pin_turns.h"

#include "log.h"

#include <stdlib.h>
#include <string.h>

#define STORE_TIMEOUT 10000000 /* microseconds for one answer of the store */
#define STORES_FIELDS 4        /* of pin_records: the first ones; the front adds the others */
#define TOLD_MAX 3500          /* token and PIN,
    to fit into a packet to the supervisor; more is kept until the next reload */

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

/* What the user said about a token. */
struct kept {
    struct kept *next;
    char *token_id;
    size_t token_id_len;
    uint8_t sealed[SEALED_PIN_MAX];
    size_t sealed_len; /* 0: no PIN */
    bool locked;
    bool worked; /* it has accepted a PIN since this front is there */
};

/* Which token a process is for. */
struct token_of {
    struct token_of *next;
    const struct child *child;
    char *token_id;
    size_t token_id_len;
};

struct pin_turns {
    struct front *front;
    struct turn *first; /* in the order of asking */
    struct kept *kept;
    struct token_of *tokens;
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
    while (turns->kept != NULL) {
        struct kept *k = turns->kept;
        turns->kept = k->next;
        free(k->token_id);
        free(k);
    }
    while (turns->tokens != NULL) {
        struct token_of *t = turns->tokens;
        turns->tokens = t->next;
        free(t->token_id);
        free(t);
    }
    free(turns);
}

static struct kept *find_kept(const struct pin_turns *turns, struct span token_id)
{
    struct kept *k = turns->kept;
    while (k != NULL && !span_equal(span_of(k->token_id, k->token_id_len), token_id))
        k = k->next;
    return k;
}

bool pin_turns_kept(const struct pin_turns *turns, struct span token_id, bool *locked)
{
    const struct kept *k = find_kept(turns, token_id);
    *locked = k != NULL && k->locked;
    return k != NULL && k->sealed_len > 0;
}

static struct kept *add_kept(struct pin_turns *turns, struct span token_id)
{
    struct kept *k = calloc(1, sizeof(*k));
    if (k == NULL || (k->token_id = span_dup(token_id)) == NULL) {
        free(k);
        return NULL;
    }
    k->token_id_len = token_id.len;
    k->next = turns->kept;
    turns->kept = k;
    return k;
}

void pin_turns_restore(struct pin_turns *turns, const struct kept_pin *kept)
{
    struct kept *k = find_kept(turns, kept->token_id);
    if (k == NULL)
        k = add_kept(turns, kept->token_id);
    if (k == NULL || kept->sealed.len > sizeof(k->sealed)) {
        log_error("out of memory: what was said about a token's PIN is forgotten");
        return;
    }
    if (kept->sealed.len > 0)
        memcpy(k->sealed, kept->sealed.data, kept->sealed.len);
    k->sealed_len = kept->sealed.len;
    k->locked = kept->locked;
}

void pin_turns_keep(struct pin_turns *turns, struct span token_id, struct span sealed, bool locked)
{
    const struct kept_pin m = {.token_id = token_id, .sealed = sealed, .locked = locked};
    pin_turns_restore(turns, &m);
    if (token_id.len + sealed.len <= TOLD_MAX)
        children_tell(turns->front->children, INTERNAL_KEEP_PIN, &message_kept_pin, &m);
}

static void note_token(struct pin_turns *turns, const struct child *child, struct span token_id)
{
    struct token_of *t = turns->tokens;
    char *copy = span_dup(token_id);
    while (t != NULL && t->child != child)
        t = t->next;
    if (t == NULL && (t = calloc(1, sizeof(*t))) != NULL) {
        t->child = child;
        t->next = turns->tokens;
        turns->tokens = t;
    }
    if (t == NULL || copy == NULL) {
        free(copy);
        return;
    }
    free(t->token_id);
    t->token_id = copy;
    t->token_id_len = token_id.len;
}

struct span pin_turns_token_of(const struct pin_turns *turns, const struct child *child)
{
    const struct token_of *t = turns->tokens;
    while (t != NULL && t->child != child)
        t = t->next;
    return t != NULL && t->token_id != NULL ? span_of(t->token_id, t->token_id_len) : span_text(NULL);
}

/* The fields of pin_records that the store does not know. */
static void put_kept(const struct pin_turns *turns, const struct child *child, struct buffer *out)
{
    const struct kept *k = find_kept(turns, pin_turns_token_of(turns, child));
    const struct message own = {message_pin_records.name, message_pin_records.fields + STORES_FIELDS,
                                message_pin_records.count - STORES_FIELDS};
    struct pin_records records = {.locked = k != NULL && k->locked, .worked = k != NULL && k->worked};
    if (k != NULL && k->sealed_len > 0)
        records.kept = span_of(k->sealed, k->sealed_len);
    message_put(out, &own, &records);
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
            if (r->operation == INTERNAL_PIN_LOAD)
                put_kept(r->turns, child, &child->stream.out);
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
    children_call(turns->front->children, ROLE_STORE, r->operation, m, in, front_now(turns->front) + STORE_TIMEOUT,
                  on_stored, r);
}

static void note_worked(struct pin_turns *turns, struct span token_id)
{
    struct kept *k = find_kept(turns, token_id);
    if (k == NULL)
        k = add_kept(turns, token_id);
    if (k != NULL)
        k->worked = true;
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
    note_token(turns, child, m.token_id);
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
    if (m.verdict == PIN_ACCEPTED)
        note_worked(turns, m.token_id);
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
