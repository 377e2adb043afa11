/*
 * The token cache as its parts see it: token_entry.c has the entries, tokens.c their exchanges and who waits for them,
 * token_bound.c what becomes of tokens whose key is going.
 */
#ifndef FRONT_TOKEN_PARTS_H
#define FRONT_TOKEN_PARTS_H

#include "grants.h"
#include "held_token.h"
#include "token_kind.h"
#include "tokens.h"

#define TOKEN_ENTRIES_MAX 4096 /* kinds of tokens; the one that was not asked for for longest goes */

struct waiter {
    struct waiter *next;
    struct token_query query; /* without scope and resources, which the entry has */
    token_done done;
    void *context;
};

struct entry {
    struct tokens *tokens;
    struct token_kind kind;
    const struct profile_config *profile;
    bool own; /* of the profile's own scope and resources, without inputs */
    struct grant_inputs inputs;
    char *scope; /* NULL: none is asked for */
    struct strings resources;
    uint64_t last_use;
    bool used; /* asked for since the token came */
    struct held_token token;
    uint64_t serial, refresh_at; /* of the token */
    bool refused;
    /* the exchange */
    bool exchanging;
    bool outdated; /* what it brings is of a login that is over: for those who wait already, and not kept */
    struct waiter *waiters;
    unsigned int telling; /* callbacks of this entry are running: it stays */
    bool failed;
    struct error failure; /* the last one; told in the status until an exchange succeeds */
};

struct tokens {
    struct front *front;
    struct entry **entries;
    size_t count;
    struct token_kind *own; /* the kind of each profile's own scope and resources */
    struct use {
        size_t waiters, exchanges;
    } *uses; /* of each profile */
    uint64_t last_serial;
    sd_event_source *renewal; /* fires when the next token wants its successor */
    struct taken_token
        *strays; /* of a key that a rotation took away meanwhile: nobody has them, and they are to be revoked */
};

/* token_entry.c */
struct entry *token_entry_find(const struct tokens *tokens, const struct token_kind *kind); /* NULL: none */
/* Makes room for it if need be. NULL: there is none, or no memory. */
struct entry *token_entry_add(struct tokens *tokens, const struct token_query *q, const struct token_kind *kind);
void token_entry_free(struct entry *e);
void token_entry_drop(struct entry *e); /* its token */
/* The token is the entry's from now on: *token is empty after that. */
void token_entry_keep(struct entry *e, struct held_token *token);

/* tokens.c */
void tokens_plan_renewal(struct tokens *tokens);

/* token_bound.c: was the token asked for with a key that is the profile's no longer? Its successor is another key's. */
bool token_bound_stray(const struct entry *e, const struct granted *granted);

#endif
