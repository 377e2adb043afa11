/*
 * One request of a client to its authorization server: a form, posted to one of its endpoints (token, pushed
 * authorization request, device authorization, revocation, introspection), with the profile's client authentication
 * and, where it is wanted, a DPoP proof.
 *
 * Each send has a new proof and a new assertion. It is sent again at most once because of a nonce (RFC 9449 section 8)
 * and at most once because of the clock (an iat rejection, whose Date header shows another time). Requests wait for
 * their turn (pace.h), and are refused at once while the server is in back-off (backoff.h). Where what is sent can be
 * spent by the attempt (a code, a refresh token) and the server has asked for nonces before, a fresh nonce is had
 * first, by a probe: a token request with a made-up refresh token.
 */
#ifndef FRONT_AS_REQUEST_H
#define FRONT_AS_REQUEST_H

#include "front.h"
#include "internal.h"
#include "metadata.h"

struct key;

/* While a rotation is proved: `use` signs wherever `instead_of` would. Both NULL: everybody signs for himself. */
struct key_swap {
    struct key *instead_of, *use;
};

struct as_request {
    const struct profile_config *profile;
    struct key_swap swap;
    const struct server_metadata *server; /* must live during as_request_send only */
    const char *endpoint;                 /* one of the server's; the same */
    const char *stage;                    /* "token request": for errors; a literal */
    struct span form;                     /* without client authentication; copied */
    bool dpop;                            /* with a proof */
    bool precious;                        /* the form has a code or a refresh token */
    bool nonces;                          /* the server is known to ask for nonces from before the agent started */
    bool grant_assertion;                 /* adds `assertion`, signed with the profile's assertion-key (RFC 7523) */
    bool token_files;                     /* subject token, actor token or assertion come from the profile's files */
    uint64_t deadline;
};

/* What became of it besides the answer. */
struct as_result {
    bool in_doubt;                 /* no answer was read, but the request may have reached the server */
    bool answered;                 /* its last send was: what went before it (a probe) does not count */
    bool nonces;                   /* the server has asked for nonces, now or before */
    char jkt[64];                  /* thumbprint of the key that signed the proof; empty: no proof */
};

/* Called once. `err` NULL: the answer, whatever its status; it lives during the call. */
typedef void (*as_request_done)(void *context, const struct error *err, const struct fetch_answer *answer,
                                const struct as_result *result);

void as_request_send(struct front *f, const struct as_request *request, as_request_done done, void *context);

/* The error that an answer with another status than 2xx means. */
enum status as_request_refused(const struct profile_config *profile, const char *endpoint, const char *stage,
                               const struct fetch_answer *answer, struct error *err);

int as_requests_open(struct front *f) MUST_CHECK;
void as_requests_end(struct as_requests *requests); /* tells everybody who waits for a turn that it will not come */
void as_requests_free(struct as_requests *requests);
void as_requests_tick(struct as_requests *requests, uint64_t now);
bool as_requests_waiting(const struct as_requests *requests);

#endif
