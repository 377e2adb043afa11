/*
 * The applications: who may connect, their connections, and their requests.
 *
 * A request lives from its frame to its answer. If its connection closes before that, the work goes on and the answer
 * is dropped. Each connection may have a number of requests at work at once; one more is answered with `busy`.
 */
#ifndef FRONT_CLIENTS_H
#define FRONT_CLIENTS_H

#include "front.h"
#include "messages.h"

#include <sys/types.h>

struct client;

struct request {
    struct front *front;
    struct client *client; /* NULL: the connection is gone */
    uint32_t id;
    uint16_t operation;
    uid_t uid; /* of the peer, as the kernel said when it connected; and */
    pid_t pid; /* for fairness only: it may be another process by now */
    struct request *next;
};

int clients_open(struct front *f) MUST_CHECK; /* takes LISTEN_FD */
void clients_free(struct clients *clients);
void clients_tick(struct clients *clients, uint64_t now);
bool clients_waiting(const struct clients *clients); /* is a frame half read, or accepting paused? */
uint32_t clients_count(const struct clients *clients);
/* Takes no more. What has been read is worked on; a connection is closed when it has nothing at work. */
void clients_drain(struct clients *clients);
bool clients_at_work(const struct clients *clients); /* does a request wait for something that comes soon? */
void clients_end(struct clients *clients); /* answers what is still at work with `restarted` */

/* A descriptor that came with the request's frame, while its operation runs; the caller's from now on. -1: none. */
int request_take_descriptor(struct request *r) MUST_CHECK;
/* Exactly one of the two, once; both free the request. */
void request_answer(struct request *r, const struct message *m, const void *in);
void request_fail(struct request *r, const struct error *err);

#endif
