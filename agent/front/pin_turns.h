/*
 * Who may log in to a token now: one process at a time for each token, so that a wrong PIN which several workers, several
 * keys of one token, or net processes with a TLS key in it would try is tried by one of them, and known to the others
 * before their turn.
 *
 * A turn begins when PIN_LOAD is passed on to the store and ends when the process has reported how its log-in went, or
 * has ended. The front only passes these messages on; the PIN itself never comes here.
 */
#ifndef FRONT_PIN_TURNS_H
#define FRONT_PIN_TURNS_H

#include "children.h"

struct pin_turns;

struct pin_turns *pin_turns_new(struct front *f);
void pin_turns_free(struct pin_turns *turns);
bool pin_turns_frame(struct pin_turns *turns, struct child *child, const struct frame *frame); /* false: nonsense */
void pin_turns_over(struct pin_turns *turns, struct child *child); /* it is ready, has failed, has answered, or has ended */
bool pin_turns_waits(const struct pin_turns *turns, const struct child *child); /* for its turn */

#endif
