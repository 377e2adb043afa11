/*
 * The front's side of the other processes: the supervisor says over the control channel which children live, and hands
 * over a channel to each. Frames from key processes go to keys.c. Net, store and init answer calls: a request that
 * waits while the process is being started, an answer or an error exactly once, and a process that does not answer is
 * killed.
 */
#ifndef FRONT_CHILDREN_H
#define FRONT_CHILDREN_H

#include "front.h"
#include "internal.h"
#include "stream.h"

struct child {
    uint32_t id; /* of the supervisor; 0: not running */
    enum role role;
    char name[LIMIT_NAME]; /* of the key, or of the profile that has a net process of its own */
    uint16_t worker;
    uint32_t pid, starts;
    bool ready; /* answered at least once: for the status */
    bool killed;
    bool dismissed; /* it has been told to end, which it does when it is done with what it is at */
    bool ending; /* it has said so: the next life gets what comes now */
    struct stream stream;
    struct children *children;
    struct child *next;
};

/* `err` NULL: the answer's fields, which live during the call. */
typedef void (*call_done)(void *context, const struct error *err, struct span fields);

int children_open(struct front *f) MUST_CHECK; /* takes CHANNEL_FD */
void children_end(struct children *c); /* tells everybody who waits for an answer that none will come */
void children_free(struct children *c);
void children_tick(struct children *c, uint64_t now);
bool children_waiting(const struct children *c);

/* Calls net, store or init. Past the deadline `done` gets STATUS_TIMEOUT; a while later the process is killed. */
void children_call(struct children *c, enum role role, uint16_t operation, const struct message *m, const void *in,
                   uint64_t deadline, call_done done, void *context);
/* The same with descriptors, which are taken over: closed when they have been sent, or cannot be. */
void children_call_descriptors(struct children *c, enum role role, uint16_t operation, const struct message *m,
                               const void *in,
                               const int *descriptors, size_t count, uint64_t deadline, call_done done, void *context);
/* The same for a role of which every profile may have a process; `name` lives as long as the configuration. */
void children_call_named(struct children *c, enum role role, const char *name, uint16_t operation,
                         const struct message *m, const void *in, uint64_t deadline, call_done done, void *context);
/* INTERNAL_FETCH, to the profile's own net process if it has one (its TLS client key is in a token). `profile` NULL:
   none. */
void children_fetch(struct children *c, const struct profile_config *profile, const struct fetch_request *m,
                    uint64_t deadline, call_done done, void *context);
void children_kill(struct children *c, struct child *child, const char *reason);
/* Ends its channel, and so it, without tearing it from a call that may be writing to a token. */
void children_dismiss(struct child *child);
void children_command(struct children *c, uint16_t operation); /* INTERNAL_START_INIT, INTERNAL_RELOAD_GO */
/* the supervisor */
void children_tell(struct children *c, uint16_t operation, const struct message *m, const void *in);
/* Asks the supervisor (INTERNAL_RELOAD): `done` as with the calls. */
void children_ask(struct children *c, uint16_t operation, uint64_t deadline, call_done done, void *context);
const struct child *children_first(const struct children *c);  /* for the status; follow `next` */

#endif
