/*
 * One login as data: the tokens, the state of the refresh token, and its record. What may be done next is decided here;
 * logins.c does it. Times are given: `now` is CLOCK_BOOTTIME in microseconds, `wall` is seconds since 1970.
 */
#ifndef FRONT_LOGIN_H
#define FRONT_LOGIN_H

#include "exchange.h"
#include "internal.h"
#include "secret.h"
#include "token_kind.h"

struct login {
    struct secret *refresh_token; /* NULL: none */
    enum refresh_state refresh_state;
    bool held;                    /* FRESH, but the server failed in a way that may hide that it took the token */
    unsigned int resends;         /* how often RESENT was written since the last answer */
    char *scope, *subject;        /* NULL: not told. The subject is what the login said: access tokens may name
                                     another */
    bool nonces;                  /* the token endpoint asks for nonces */
    struct secret *access_token;  /* the last one of the profile's own kind; NULL: none */
    char *token_type, *access_scope, *raw;
    struct token_kind kind;       /* of the access token */
    char jkt[64];
    uint64_t expires;             /* of the access token */
    uint64_t latest_expiry;       /* of all access tokens of this login */
};

void login_clear(struct login *l);

/* A new answer of the server. `own`: the access token is of the profile's own kind, which is `kind`. -1: no memory. */
int login_take(struct login *l, const struct granted *granted, const struct token_kind *kind, bool own) MUST_CHECK;

void login_drop_access(struct login *l); /* the access token */

/* The record, whose texts are those of the login; and back. The clock of the wall may have been stepped in between:
   nothing lives longer than it did when it was written. */
void login_record(const struct login *l, uint64_t now, int64_t wall, struct login_record *out);
int login_from_record(struct login *l, const struct login_record *record, const char *jkt, uint64_t now,
                      int64_t wall) MUST_CHECK;

/* May the access token that is kept serve? */
bool login_serves(const struct login *l, const struct token_kind *kind, uint32_t min_valid, uint64_t now);
/* What it gives then; its texts are those of the login. */
struct granted login_granted(const struct login *l, uint64_t now);

enum login_next {
    LOGIN_NEXT_SEND,   /* the refresh token, after the next state is written */
    LOGIN_NEXT_WAIT,   /* in doubt or held, and an access token still works */
    LOGIN_NEXT_USER,   /* a user has to log in */
};
enum login_next login_next(const struct login *l, uint64_t now);

#endif
