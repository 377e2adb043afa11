/*
 * One key, as keys.c (which keys there are, their states) and key_workers.c (their processes, and what these are at)
 * share it. Nobody else looks inside.
 */
#ifndef FRONT_KEY_PARTS_H
#define FRONT_KEY_PARTS_H

#include "key_queue.h"
#include "keys.h"

enum key_state { KEY_STARTING, KEY_STATE_READY, KEY_RECOVERING, KEY_REFUSED };

/* A signature, or a call. */
struct job {
    struct queued queued;
    struct sign_job sign;  /* unless there is a */
    struct key_call *call; /* with */
    struct buffer fields;
    uint64_t deadline;
    bool told; /* it is only there until its process has answered */
    unsigned int tries;
    uint64_t sent;          /* when it came to the head of what its worker has */
    struct job *next;       /* at the worker */
};

struct worker {
    struct child *child; /* NULL: not running */
    bool ready;
    uint64_t progress;   /* when it last said something while opening; UINT64_MAX: it waits for a PIN */
    struct job *first, **end; /* at the worker, oldest first */
    size_t count;
};

struct keys {
    struct front *front;
    struct key *keys;
    size_t count;
    struct pin_turns *turns;
};

struct key {
    struct keys *keys;
    const struct key_config *config;
    const char *name; /* under which it is found; a rotation swaps it with another's */
    enum key_state state;
    struct error reason; /* of KEY_REFUSED and KEY_RECOVERING */
    bool seen;
    struct key_public public;
    uint32_t attributes;
    bool imported;
    char token[LIMIT_NAME], model[LIMIT_NAME], warning[LIMIT_TEXT];
    struct worker *workers;
    const struct child *process; /* the last one that was started; it may have ended */
    struct key_queue queue;
    uint64_t signatures;
    uint32_t sign_time;  /* microseconds, a moving average; 0: none was made yet */
    uint32_t recoveries, reports;
};

/* keys.c: the key's state follows what its workers say. */
bool keys_any_ready(const struct key *key);
void keys_recovering(struct key *key, const struct error *why); /* no worker is ready any more */
void keys_refuse(struct key *key, const struct error *why);     /* a worker says why it cannot serve */

/* key_workers.c */
void key_workers_pump(struct key *key); /* gives jobs to free workers, or tells why there will be none */
void key_workers_sign(struct key *key, const struct sign_job *sign);
void key_workers_call(struct key *key, const struct key_call *call);
/* An answer. False: what it sent makes no sense. */
bool key_workers_frame(struct key *key, struct worker *w, const struct frame *frame);
void key_workers_ended(struct key *key, struct worker *w);
void key_workers_tick(struct key *key, uint64_t now);
bool key_workers_waiting(const struct key *key);
uint32_t key_workers_stalled(const struct key *key, uint64_t now); /* milliseconds that the oldest job is at a worker */
void key_workers_end(struct key *key, const struct error *why);    /* tells everybody who waits */
/* To one that lives, whether it is ready or waits for a PIN. False: there is none. */
bool key_workers_unlock(struct key *key, const struct key_call *call);

#endif
