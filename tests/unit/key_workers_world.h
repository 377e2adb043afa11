/*
 * What front/key_workers.c sees instead of the rest of the front: a clock that the test moves, streams that send
 * nothing (what was written stays in them), and notes of what the key and its processes were told.
 */
#ifndef TEST_KEY_WORKERS_WORLD_H
#define TEST_KEY_WORKERS_WORLD_H

#include "key_parts.h"

extern uint64_t now;                           /* what front_now says */
extern const struct child *killed;             /* the last one */
extern const struct child *waits_for_its_turn; /* to log in */
extern unsigned int recovering, refused;       /* how often the key was said to be so */

#endif
