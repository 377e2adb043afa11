/*
 * What the tests of the token cache share: fetches that the test ends, a renewal timer that the test fires, and callers
 * whose callbacks are counted. Programs that include it link the front without grants.c.
 */
#ifndef TEST_TOKENS_WORLD_H
#define TEST_TOKENS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "front_world.h"
#include "grants.h"
#include "tokens.h"

#define HOUR 3600U

/* One fetch that the cache began and the test ends. */
extern struct begun {
    char scope[64], resources[64], profile[16];
    char subject_token[64], subject_token_type[64], actor_token[64], assertion[64];
    bool own, force;
    uint32_t min_valid;
    uint64_t asked, deadline;
    exchange_done done;
    void *context;
} begun[8192];
extern size_t begun_count;
extern uint32_t answer_at_once; /* lifetime of a token that comes before grants_fetch returns; 0: none */
extern bool fail_at_once;

extern const char *granted_jkt; /* of the key that what is fetched is asked for with */
void end_with_token(size_t i, const char *token, uint32_t lifetime);
void end_with_type(size_t i, const char *token, const char *type);
void end_with_failure(size_t i, enum status status, uint32_t retry_after);

/* What the login was told last of refused tokens; UINT64_MAX: nothing. */
extern uint64_t refused_until;

/* The renewal timer, which the cache sets with sd-event. */
extern uint64_t timer_at; /* UINT64_MAX: off */
unsigned int fire_timer_until(uint64_t end); /* lets time pass; how often it fired. The time is `end` afterwards */

struct caller {
    unsigned int calls;
    enum status status;
    char token[32], type[16], raw[64], message[256];
    uint64_t serial, expires;
    int64_t expires_at;
    const struct token_query *again; /* asks again from within its callback */
    struct caller *again_caller;
};
void on_token(void *context, const struct error *err, const struct token *token);
struct token_query query(const char *name, const char *scope);
struct caller ask_query(const struct token_query *q); /* for questions that are answered at once */
struct caller ask(const char *name, const char *scope);
void wait_as(struct caller *c, const struct token_query *q);
void obtain(const char *name, const char *scope, const char *token, uint32_t lifetime); /* fills the cache */

int open_cache(void **state);
int close_cache(void **state);

#endif
