/*
 * The token cache: one entry for each kind of token that somebody has asked for, and at most one exchange at work for
 * each.
 *
 * A kind of token is what the authorization server sees of its request (token_kind.h). A good token is served at once;
 * its successor is fetched behind it in the last third of its life, whether somebody asks just then or not, if it was
 * asked for since it came; a failed exchange never replaces it. Everybody who waits for the same kind shares one
 * exchange. Lifetimes are counted from the moment before the request was sent.
 */
#ifndef FRONT_TOKENS_H
#define FRONT_TOKENS_H

#include "front.h"
#include "messages.h"
#include "secret.h"

struct held_token;
struct taken_token;

struct token {
    const struct secret *access_token;
    const char *type;  /* "DPoP" or "Bearer" */
    const char *scope; /* NULL: as asked for */
    const char *raw;   /* JSON: the other members of the server's answer; NULL: none */
    const char *jkt;
    uint64_t serial;     /* never used again: names this token to an attempt */
    uint64_t expires;    /* CLOCK_BOOTTIME, microseconds */
    int64_t expires_at;  /* wall clock, seconds */
};

struct token_query {
    const struct profile_config *profile;
    struct span scope;            /* absent: the profile's */
    const struct list *resources; /* empty: the profile's */
    uint32_t min_valid;           /* seconds */
    bool force;
    uint64_t deadline;
    /* What an application gives for token exchange or JWT bearer; absent: what the profile says. */
    struct span subject_token, subject_token_type, actor_token, actor_token_type, assertion;
};

/* Called once; `err` NULL: the token, which lives during the call. */
typedef void (*token_done)(void *context, const struct error *err, const struct token *token);

int tokens_open(struct front *f) MUST_CHECK;
void tokens_free(struct tokens *tokens);
void tokens_tick(struct tokens *tokens, uint64_t now);
bool tokens_waiting(const struct tokens *tokens);

void tokens_get(struct tokens *tokens, const struct token_query *query, token_done done, void *context);
/* The token that is there, and nothing fetched. False: there is none, or it has ended. */
bool tokens_peek(struct tokens *tokens, const struct token_query *query, struct token *out);
/* Those of its login, which is over, or new; and those that token exchanges made of them. */
void tokens_forget(struct tokens *tokens, const struct profile_config *profile);
/* For the end of a key (token_bound.c). Takes out of the cache what is still good of the profile's tokens that were
   asked for with this key (NULL: whatever key), for taken_tokens_free; NULL: there is nothing. */
struct taken_token *tokens_take(struct tokens *tokens, const struct profile_config *profile, const char *jkt);
/* Puts one into the place of the profile's own; it is moved. Without memory nothing happens. */
void tokens_put(struct tokens *tokens, const struct profile_config *profile, struct held_token *token);
/* One that the cache has not, to be taken with the others. */
struct granted;
void tokens_put_stray(struct tokens *tokens, const struct profile_config *profile, const struct granted *granted);
void tokens_refuse(struct tokens *tokens, uint64_t serial); /* a resource server says that it is not good */
uint32_t tokens_count(const struct tokens *tokens);

/* For the status: the token of the profile's own scope and resources. */
struct token_state {
    const char *state;  /* "no token", "token", "fetching", "failed" */
    const char *reason; /* of the last failure; NULL: none */
    uint32_t expires_in;
};
struct token_state tokens_state(const struct tokens *tokens, const struct profile_config *profile);

#endif
