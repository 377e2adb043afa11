/* Requests to unlock a token that wait for the token's word on the PIN (op_unlock.c). */
#ifndef FRONT_UNLOCKS_H
#define FRONT_UNLOCKS_H

#include "front.h"

int unlocks_open(struct front *f) MUST_CHECK;
void unlocks_end(struct unlocks *unlocks); /* tells who waits, and frees */
void unlocks_tick(struct unlocks *unlocks, uint64_t now);
bool unlocks_waiting(const struct unlocks *unlocks);

#endif
