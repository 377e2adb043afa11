/*
 * How many requests a server gets from us at a time, and how fast: per origin at most 16 under way, and no more than 50
 * starts a second after a burst of 16.
 *
 * Each true of pace_begin is followed by one pace_end, however the request ended. Times are microseconds of
 * CLOCK_BOOTTIME. Origins with requests under way are never forgotten; of the others the one not used for longest is.
 */
#ifndef DECIDE_PACE_H
#define DECIDE_PACE_H

#include "buffer.h"

#define PACE_UNDER_WAY_MAX 16
#define PACE_BURST 16
#define PACE_PER_SECOND 50
#define PACE_WHEN_ONE_ENDS UINT64_MAX

struct pace_table;

struct pace_table *pace_table_new(size_t max); /* NULL: no memory, or max is 0 */
void pace_table_free(struct pace_table *table);

/*
 * May a request to the origin start now? False: *retry_at says when it may be tried again; PACE_WHEN_ONE_ENDS: after
 * the next pace_end (of this origin, or of any other, when the table is full of origins with requests under way).
 */
bool pace_begin(struct pace_table *table, const char *origin, uint64_t now, uint64_t *retry_at) MUST_CHECK;
void pace_end(struct pace_table *table, const char *origin);

#endif
