/*
 * Inside the client library: one call of the agent with a message of proto/messages.h. The dpop command uses it, too,
 * for the operations that applications have no need of (status, keys, profiles, init).
 *
 *     int status = call_perform(agent, &(struct call){.operation = …, …}, err);
 *     if (status == DPOP_OK) { copy what the answer's spans show; call_done(agent); }
 */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include "connection.h"
#include "dpop-agent.h"
#include "message.h"

struct dpop_agent {
    char *socket; /* as dpop_agent_connect was given it, for reconnects; or NULL */
    struct connection connection;
};

struct call {
    uint16_t operation;
    const struct message *request;
    const void *in;
    const struct message *answer;
    void *out; /* its spans point into the connection until call_done */
    size_t out_size;
    int64_t deadline;
    int descriptors[LIMIT_DESCRIPTORS]; /* sent along; the caller closes them */
    size_t descriptor_count;
    bool once; /* not sent again after `restarted`, although its operation may be */
};

/* Opens the connection if there is none (the first time, or it was lost), and says hello. It and call_perform begin
 * again, until the deadline, where PROTOCOL.md ("Restarts") lets them. */
int call_open(struct dpop_agent *agent, int64_t deadline, struct dpop_error *err);
int call_perform(struct dpop_agent *agent, const struct call *call, struct dpop_error *err);
void call_done(struct dpop_agent *agent);

#endif
