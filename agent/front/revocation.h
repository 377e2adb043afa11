/*
 * What is bound to a key is ended, because the key goes (key delete, key commit): logins as by logout
 * (login_change.c), and access tokens that the cache had, each by a revocation request (RFC 7009). A server without a
 * revocation endpoint, or one that takes back no tokens of this kind (JWTs, often), is no failure: it is noted.
 * Without its key such a token is of no use, and it ends by itself.
 */
#ifndef FRONT_REVOCATION_H
#define FRONT_REVOCATION_H

#include "front.h"
#include "held_token.h"
#include "messages.h"

struct revocation_request {
    const struct profile_config *const *profiles; /* whose tokens and logins end; copied */
    size_t count;
    const char *jkt; /* only access tokens of this key; NULL: all of these profiles. Used during the call only */
    struct taken_token *taken; /* further tokens, taken over; of these profiles */
    bool keep_logins;          /* those that are not bound to their key: nothing of them is revoked */
    const char *why;           /* a literal, for those who have to log in */
    uint64_t deadline;         /* of the requests for access tokens; a login's end has its own */
    struct list_builder *bound; /* gets a bound_info for each profile; it must live until `done` */
};

typedef void (*revocation_done)(void *context); /* called once */

void revocation_start(struct front *f, const struct revocation_request *request, revocation_done done, void *context);

#endif
