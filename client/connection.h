/*
 * One connection to the agent: frames out, frames in, until a deadline. Knows request numbers, but no message.
 *
 *  closed ──connection_adopt──▶ open ──EOF, error, or bytes that are no frames──▶ closed
 *
 * One request is awaited at a time. One that ran into its deadline is abandoned: its answer, when it comes late, is
 * known by its lower number and dropped. Bytes of an abandoned request that the kernel had taken in part are sent to
 * their end before the next one; one of which no byte went out is taken back.
 *
 * A request may carry descriptors, which go with the sendmsg of its first byte; they stay the caller's own.
 *
 * Both buffers wipe what they held (tokens), as buffer.h promises.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include "dpop-agent.h"
#include "messages.h"

struct connection {
    int fd; /* -1: closed */
    struct buffer in, out;
    size_t taken;     /* bytes of the answer at the front of `in` that the caller still looks at */
    size_t max_frame; /* what the agent accepts */
    uint32_t last_request;
    bool unread; /* the last exchange was lost before the agent had read its request to the end: nothing was done */
    int descriptors[LIMIT_DESCRIPTORS]; /* that the request carries, until they are sent */
    size_t descriptor_count;
    size_t ahead; /* bytes of `out` that must be sent before them */
};

void connection_init(struct connection *c);
void connection_adopt(struct connection *c, int fd); /* a connected, non-blocking socket; the connection owns it now */
void connection_close(struct connection *c);         /* wipes and frees; may be adopted again */

/* Reads what has come in meanwhile: drops late answers, and closes a connection that has been lost. */
void connection_settle(struct connection *c);

/* Begins a request: its fields are then put into c->out, and connection_exchange sends it. */
size_t connection_begin(struct connection *c, uint16_t operation);
void connection_attach(struct connection *c, const int *descriptors, size_t count); /* to the request that was begun */
/* Ends, sends and waits. The answer's fields point into c->in until connection_done. */
int connection_exchange(struct connection *c, size_t begin, int64_t deadline, struct frame *answer,
                        struct dpop_error *err);
void connection_done(struct connection *c); /* wipes the answer */

#endif
