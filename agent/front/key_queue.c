/* See key_queue.h. */
#include "key_queue.h"

#include <stdlib.h>

/* An owner is there while something of it waits. */
struct key_queue_owner {
    struct key_queue_owner *next;
    uint32_t number, waiting;
    struct queued *first, **end;
};

static struct key_queue_owner *find(const struct key_queue *q, uint32_t number)
{
    struct key_queue_owner *o = q->turn;
    while (o != NULL && o->number != number)
        o = o->next;
    return o;
}

static void append_owner(struct key_queue *q, struct key_queue_owner *o)
{
    o->next = NULL;
    if (q->turn == NULL)
        q->turn = o;
    else
        q->last->next = o;
    q->last = o;
}

bool key_queue_add(struct key_queue *q, struct queued *item, bool *own)
{
    struct key_queue_owner *o = find(q, item->owner);
    *own = o != NULL && o->number != 0 && o->waiting >= KEY_QUEUE_OWNER_MAX;
    if (*own || q->waiting >= KEY_QUEUE_MAX)
        return false;
    if (o == NULL) {
        o = calloc(1, sizeof(*o));
        if (o == NULL)
            return false;
        o->number = item->owner;
        o->end = &o->first;
        append_owner(q, o);
    }
    item->next = NULL;
    *o->end = item;
    o->end = &item->next;
    o->waiting++;
    q->waiting++;
    return true;
}

void key_queue_return(struct key_queue *q, struct queued *item)
{
    item->next = q->returned;
    q->returned = item;
    q->waiting++;
}

static void drop_if_empty(struct key_queue *q, struct key_queue_owner *o)
{
    struct key_queue_owner *previous = NULL;
    if (o->first != NULL)
        return;
    for (struct key_queue_owner *at = q->turn; at != o; at = at->next)
        previous = at;
    if (previous == NULL)
        q->turn = o->next;
    else
        previous->next = o->next;
    if (q->last == o)
        q->last = previous;
    free(o);
}

struct queued *key_queue_take(struct key_queue *q)
{
    struct queued *item = q->returned;
    struct key_queue_owner *o = q->turn;
    if (item != NULL) {
        q->returned = item->next;
    } else if (o != NULL) {
        item = o->first;
        o->first = item->next;
        o->waiting--;
        if (o->first == NULL) {
            drop_if_empty(q, o);
        } else {
            q->turn = o->next;
            if (q->turn == NULL)
                q->last = NULL;
            append_owner(q, o);
        }
    } else {
        return NULL;
    }
    q->waiting--;
    item->next = NULL;
    return item;
}

static struct queued *unlink_if(struct queued **p, bool (*which)(const struct queued *item, void *context),
                                void *context)
{
    while (*p != NULL && !which(*p, context))
        p = &(*p)->next;
    struct queued *item = *p;
    if (item != NULL)
        *p = item->next;
    return item;
}

struct queued *key_queue_take_if(struct key_queue *q, bool (*which)(const struct queued *item, void *context),
                                 void *context)
{
    struct queued *item = unlink_if(&q->returned, which, context);
    for (struct key_queue_owner *o = q->turn; item == NULL && o != NULL;) {
        struct key_queue_owner *next = o->next;
        item = unlink_if(&o->first, which, context);
        if (item != NULL) {
            o->waiting--;
            o->end = &o->first;
            while (*o->end != NULL)
                o->end = &(*o->end)->next;
            drop_if_empty(q, o);
        }
        o = next;
    }
    if (item != NULL) {
        q->waiting--;
        item->next = NULL;
    }
    return item;
}
