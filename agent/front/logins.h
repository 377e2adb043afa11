/*
 * The logins of the profiles whose tokens come from a user: for each its refresh token, and what is known of it.
 *
 * A refresh token that was delivered is never lost to a crash, and one that may have been spent is never sent blindly:
 *
 *   FRESH   the newest one that the server gave. Before it is sent, SENT is written (durably).
 *   SENT    sent, and no answer known: in doubt. It is sent exactly once more, when the newest access token has
 *           expired, so that a server which then revokes everything takes nothing that still works. RESENT is written
 *           first.
 *   RESENT  sent once more. If that brings no token either, a user has to log in. (An agent that was killed between
 *           that record and the answer cannot know whether the second send happened: after its start the token is SENT
 *           again.)
 *
 * The answer's refresh token is written before anybody gets the access token that came with it. What happens to one
 * login happens in turn: fetches of tokens, a new login, a logout. With persist = no, or a token that can seal nothing,
 * all of it is in memory alone.
 */
#ifndef FRONT_LOGINS_H
#define FRONT_LOGINS_H

#include "exchange.h"
#include "token_kind.h"

int logins_open(struct front *f) MUST_CHECK;
void logins_free(struct logins *logins);
void logins_tick(struct logins *logins, uint64_t now);
bool logins_waiting(const struct logins *logins);
bool logins_busy(const struct logins *logins); /* is a refresh token under way, or being written? */
void logins_key_ready(struct logins *logins, const char *key); /* loads what is on disk for its profiles */

/* A token by the refresh token, or the one that was kept with it. */
struct login_fetch {
    const struct profile_config *profile;
    const struct token_kind *kind;
    bool own;                        /* of the profile's own scope and resources */
    struct span scope;               /* where it is not own */
    const struct strings *resources; /* must live until `done` */
    uint32_t min_valid;              /* seconds */
    bool force;
    uint64_t deadline;               /* one that has not begun by then does not begin any more */
};
void logins_fetch(struct front *f, const struct login_fetch *fetch, exchange_done done, void *context);
/* The token that was kept with it, and nothing fetched; it lives until the login changes. False: there is none of this
   kind. */
bool logins_peek(const struct front *f, const struct profile_config *profile, const struct token_kind *kind,
                 struct granted *out);

/* A user has logged in: replaces what was there. `err` NULL: it is durable, or `note` says why it is in memory
   alone. */
typedef void (*login_kept)(void *context, const struct error *err, bool persisted, const char *note);
void logins_keep(struct front *f, const struct profile_config *profile, const struct granted *granted, bool nonces,
                 login_kept done, void *context);

/* Forgets, then revokes. `err` NULL: it is gone from memory and disk; `note` says why it was not revoked. */
typedef void (*login_ended)(void *context, const struct error *err, bool was_in, bool revoked, const char *note);
void logins_end(struct front *f, const struct profile_config *profile, login_ended done, void *context);
/* The same; `why` is what is told to whom it astonishes (a literal). */
void logins_end_because(struct front *f, const struct profile_config *profile, const char *why, login_ended done,
                        void *context);

/* Does its login end with the key? The refresh token of a client that authenticates is bound to the client, not to the
   key (RFC 9449 section 5). False for a profile without logins. */
bool logins_bound(const struct front *f, const struct profile_config *profile);
/* The key that its access tokens are asked for with is another one from now on: they are forgotten (see
   tokens_put_stray), and the record is written anew, since its seal is bound to the key. */
void logins_rekey(struct front *f, const struct profile_config *profile);

struct login_state {
    const char *state;  /* "logged in", "login required", "in doubt", "loading" */
    const char *reason; /* NULL: none */
    const char *subject;
    bool persisted;
};
/* A resource server refuses tokens of the login: `latest` is when the last of those that may still work ends. */
void logins_refused(struct front *f, const struct profile_config *profile, uint64_t latest);
/* Is the profile's token endpoint known, from a login before, to ask for nonces? */
bool logins_nonces(const struct front *f, const struct profile_config *profile);
struct login_state logins_state(const struct logins *logins, const struct profile_config *profile);

#endif
