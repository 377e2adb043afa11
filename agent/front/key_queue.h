/*
 * What waits for one key: a queue for each client process, and a turn for each of them in a circle, so that one that
 * asks for a thousand signatures of a slow token delays another's by one signature and not by a thousand. Owner 0 is
 * the agent itself.
 *
 * Bounded: KEY_QUEUE_MAX in all, KEY_QUEUE_OWNER_MAX for one owner (the agent itself excepted). What a worker could not
 * finish goes before all turns.
 */
#ifndef FRONT_KEY_QUEUE_H
#define FRONT_KEY_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_QUEUE_MAX 4096
#define KEY_QUEUE_OWNER_MAX 256

/* The first member of what is queued. */
struct queued {
    struct queued *next;
    uint32_t owner;
};

struct key_queue_owner;

struct key_queue {
    struct key_queue_owner *turn, *last; /* a list in the order of turns */
    struct queued *returned;
    uint32_t waiting;
};

/* Puts it behind its owner's others. False: there is no room (`*own`: the owner's own limit), or no memory. */
bool key_queue_add(struct key_queue *q, struct queued *item, bool *own);
void key_queue_return(struct key_queue *q, struct queued *item); /* before everything else */
struct queued *key_queue_take(struct key_queue *q);              /* the next in turn; NULL: none */
/* Takes out, in turn, each for which `which` is true. NULL: no more. */
struct queued *key_queue_take_if(struct key_queue *q, bool (*which)(const struct queued *item, void *context),
                                 void *context);

#endif
