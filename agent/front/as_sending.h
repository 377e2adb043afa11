/*
 * A request under way as its parts see it: as_request.c begins it in its turn and ends it, as_send.c makes one send of
 * it, as_answer.c judges what came back and perhaps has it sent once more.
 */
#ifndef FRONT_AS_SENDING_H
#define FRONT_AS_SENDING_H

#include "as_request.h"
#include "jwk.h"
#include "nonce.h"
#include "url.h"

#define AS_FORM_MAX (768 * 1024) /* what exchange.c makes, and an assertion or two */

struct sending {
    struct sending *next; /* in the queue of those that wait for their turn */
    struct as_requests *all;
    struct as_request request; /* endpoint, form and server are not used any more */
    char *endpoint;            /* normalised: what is sent, */
    char *htu;                 /* and the same string as the proof claims it */
    char *audience;            /* of client assertions; NULL: none is known */
    char origin[URL_ORIGIN_SIZE];
    struct buffer form, assertion, grant_assertion, proof;
    uint8_t nonce_sent[NONCE_DIGEST_SIZE]; /* all zero: none */
    int64_t skew_sent;
    uint64_t sent_at;
    bool under_way; /* has its turn */
    bool probing;   /* what goes out now only fetches a nonce */
    bool nonce_retried, clock_retried;
    struct as_result result;
    as_request_done done;
    void *context;
};

struct as_requests {
    struct front *front;
    struct backoff_table *backoff;
    struct pace_table *pace;
    struct server *servers;
    size_t server_count;
    unsigned int *of_profile;     /* for each profile: how many are under way */
    struct sending *first, **end; /* the queue */
    bool beginning;               /* begin_waiting is at work */
};

/* as_request.c */
struct key *as_request_key(const struct sending *x, const char *name); /* who signs in that name */
void as_request_finish(struct sending *x, const struct error *failure, const struct fetch_answer *answer);
void as_request_fail_internal(struct sending *x);
void as_request_note_nonce(struct as_requests *all, const char *origin, const char *jkt);
bool as_request_has_sent_nonces(const struct as_requests *all, const char *origin);

void as_send_begin(struct sending *x); /* a new assertion, a new proof, the request */
void as_answer_fetched(void *context, const struct error *failure, struct span fields); /* a call_done */

#endif
