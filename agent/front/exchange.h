/*
 * One exchange with a token endpoint: metadata, client assertion, proof, request, and the answer made into a token or an
 * error. At most two sends for a nonce (RFC 9449 section 8), each with a new proof and a new assertion.
 */
#ifndef FRONT_EXCHANGE_H
#define FRONT_EXCHANGE_H

#include "front.h"

struct exchange_request {
    const struct profile_config *profile;
    struct span scope;               /* absent: none is asked for */
    const struct strings *resources; /* must live until `done` */
    uint64_t deadline;
};

struct granted {
    struct span access_token;
    struct span scope; /* absent: as asked for (RFC 6749 section 5.1) */
    const char *jkt;
    uint32_t lifetime; /* seconds */
};

/* Called once; `err` NULL: the token, which lives during the call. */
typedef void (*exchange_done)(void *context, const struct error *err, const struct granted *granted);

void exchange_start(struct front *f, const struct exchange_request *request, exchange_done done, void *context);

#endif
