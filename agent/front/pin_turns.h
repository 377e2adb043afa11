/*
 * Who may log in to a token now: one process at a time for each token, so that a wrong PIN which several workers,
 * several keys of one token, or net processes with a TLS key in it would try is tried by one of them, and known to
 * the others before their turn.
 *
 * A turn begins when PIN_LOAD is passed on to the store and ends when the process has reported how its log-in went, or
 * has ended. The front only passes these messages on; the PIN itself never comes here.
 *
 * What a user said about a token (dpop unlock, dpop lock) is kept here and added to the store's answer to PIN_LOAD:
 * a PIN, sealed so that only key processes can open it, and whether the token is locked. The supervisor keeps a
 * copy, since a reload replaces the front. And whether the token has accepted a PIN since this front is there: then it
 * is the one that it should be, whatever it says now.
 */
#ifndef FRONT_PIN_TURNS_H
#define FRONT_PIN_TURNS_H

#include "children.h"

struct pin_turns;

struct pin_turns *pin_turns_new(struct front *f);
void pin_turns_free(struct pin_turns *turns);
bool pin_turns_frame(struct pin_turns *turns, struct child *child, const struct frame *frame); /* false: nonsense */
/* it is ready, has failed, has answered, or has ended */
void pin_turns_over(struct pin_turns *turns, struct child *child);
bool pin_turns_waits(const struct pin_turns *turns, const struct child *child); /* for its turn */

/* The token that a process asked about last, in any of its lives; absent: it has not asked. Lives until the next frame.
   */
struct span pin_turns_token_of(const struct pin_turns *turns, const struct child *child);
/* Keeps a sealed PIN (absent: none any more) and the lock of a token, and tells the supervisor. */
void pin_turns_keep(struct pin_turns *turns, struct span token_id, struct span sealed, bool locked);
bool pin_turns_kept(const struct pin_turns *turns, struct span token_id, bool *locked); /* is a PIN kept? */
/* From the supervisor: what the front before this one kept. */
void pin_turns_restore(struct pin_turns *turns, const struct kept_pin *kept);

#endif
