/*
 * What the tests of logins share: a store that keeps one record, and fails, is slow or loads badly on order; token
 * requests that the test answers; and a diary of what happened in which order. Programs that include it link the front
 * without login_store.c, exchange.c and tokens.c, whose functions are here.
 */
#ifndef TEST_LOGINS_WORLD_H
#define TEST_LOGINS_WORLD_H

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

#include "exchange.h"
#include "front_world.h"
#include "login_store.h"
#include "logins.h"
#include "tokens.h"

extern struct store_world {
    struct buffer disk;             /* login_record; empty: none */
    bool there;
    enum status fails;              /* of the next calls */
    bool unsealable, slow;          /* unsealable: removals fail not; slow: the test calls store_goes_on */
    unsigned int loads, saves, removals;
} store;
bool store_is_at_work(void);
void store_goes_on(void); /* ends the slow call that is at work */
void store_lands(void);   /* what it was to do is done, but nobody hears of it any more */
struct login_record on_disk(void);

extern struct sent {
    char refresh_token[64], scope[64], subject[64];
    bool nonces;
    uint16_t state_on_disk;
    uint64_t asked;
    exchange_done done;
    void *context;
} sent[8192];
extern size_t sent_count;
/* Ends token request i. */
void refreshed(size_t i, const char *refresh_token, const char *access_token, uint32_t lifetime);
void refresh_failed(size_t i, enum status status, bool in_doubt); /* no answer */
void refresh_refused(size_t i, uint16_t http_status, enum status status, const char *oauth_error);
void refresh_not_begun(size_t i); /* an HTTP status, but of a step before the refresh token was sent */
void refresh_useless(size_t i, const char *refresh_token); /* an answer without a token, but with a refresh token */

struct fetched {
    unsigned int calls;
    struct error err;
    char token[64];
    uint32_t lifetime;
    struct login_record disk; /* when it was told; its spans are of that moment */
    char disk_token[64];
    unsigned int turn;
};
extern unsigned int turns;
void fetch(struct fetched *r, const char *name, const char *scope, bool force, uint32_t min_valid);
void assert_token(const struct fetched *r, const char *token);
void assert_no_token(const struct fetched *r, enum status status, const char *message);

extern struct kept {
    unsigned int calls;
    struct error err;
    bool persisted;
    char note[256];
} kept;
void log_in(const char *name, const char *refresh_token, const char *access_token, uint32_t lifetime);

extern unsigned int tokens_forgotten;
extern char stray[64]; /* the access token that was given to the cache last, to be revoked */

int open_logins(void **state);
int close_logins(void **state);
void restart(void); /* the front ends and begins again; the disk stays */

#endif
