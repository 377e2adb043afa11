/*
 * The front: the one process that applications talk to. One event loop that never blocks; every wait is for a stream, a
 * child's answer or the tick.
 *
 *   clients.c     connections of applications        operations.c  the table of operations, and op_*.c
 *   children.c    channels to key, net and store     keys.c        queues of signatures, states of keys
 *   tokens.c      token cache, single flight         grants.c      how a profile comes to a token
 *   exchange.c    one token request                  as_request.c  one request to an authorization server
 *   metadata.c    authorization servers' metadata    policy.c      which origin a profile or key may serve
 *   logins.c      refresh tokens                     login_flow.c  a user's login under way
 *   trace.c       session logs
 *
 * How waiting works everywhere here: who starts something gives a callback, which is called exactly once, now or
 * later, and a deadline, at which the callback gets STATUS_TIMEOUT. One tick finds the deadlines that have passed; it
 * runs only while something waits. Times are microseconds of CLOCK_BOOTTIME, so that a laptop's sleep counts.
 */
#ifndef FRONT_H
#define FRONT_H

#include "config.h"

#include <systemd/sd-event.h>

#define FRONT_TICK 50000 /* microseconds; a deadline is noticed this late at the most */
#define DEFAULT_TIMEOUT 30000 /* milliseconds, for requests that name none */
#define MAX_TIMEOUT 600000

struct front {
    sd_event *event;
    const struct config *config;
    const char *configuration_path; /* NULL: not configured */
    uint64_t started;       /* this process */
    uint64_t agent_started; /* the agent, which reloads do not end */
    struct streams *streams;
    struct clients *clients;
    struct children *children;
    struct keys *keys;
    struct metadata *metadata;
    struct as_requests *as_requests;
    struct login_store *login_store;
    struct logins *logins;
    struct login_flows *login_flows;
    struct traces *traces;
    struct tokens *tokens;
    struct unlocks *unlocks;
    struct policy *policy;
    struct rotation *rotation; /* of a key, past its switch; NULL: none */
    struct nonce_table *nonces;
    struct skew_table *skew; /* by origin: how far servers' clocks are from ours */
    uint8_t attempt_key[32]; /* attempt handles are authentic for this process only */
    sd_event_source *tick;
    bool init_at_work; /* one at a time */
    bool ending;       /* SIGTERM has come: no refresh token is sent any more */
    uint64_t ending_since;
};

uint64_t front_now(const struct front *f);                      /* CLOCK_BOOTTIME, microseconds */
uint64_t front_deadline(const struct front *f, uint32_t timeout); /* of a request's timeout in milliseconds */
void front_wait(struct front *f);                               /* something waits: let the tick run */

#endif
