/*
 * When the next request may be sent to a server that fails, per origin.
 *
 * The first failure in a row costs no wait; the following ones 1, 2, 4 … at most 60 s, of which a random half to whole,
 * so that clients that failed together do not come back together. A Retry-After counts from the first failure on, with
 * up to a tenth on top, and outlasts the success of a request that was under way with the one that was turned away.
 * Times are microseconds of CLOCK_BOOTTIME. When the table is full, the origin that was not used for longest goes.
 */
#ifndef DECIDE_BACKOFF_H
#define DECIDE_BACKOFF_H

#include "buffer.h"

#define BACKOFF_MAX_SECONDS 60
#define BACKOFF_RETRY_AFTER_MAX 3600 /* seconds; more is not honoured */

struct backoff_table;

struct backoff_table *backoff_table_new(size_t max); /* NULL: no memory, or max is 0 */
void backoff_table_free(struct backoff_table *table);

/* Before it nothing is sent; 0: no wait. */
uint64_t backoff_until(const struct backoff_table *table, const char *origin);

/*
 * `sent`: when the request that failed was sent. Of many that were under way together only the first failure counts: a
 * request that was sent before the last counted failure says nothing new. Its Retry-After (seconds; 0: none named)
 * does. `random` is 32 random bits.
 */
void backoff_failed(struct backoff_table *table, const char *origin, uint64_t sent, uint64_t now, uint32_t retry_after,
                    uint32_t random);
void backoff_succeeded(struct backoff_table *table, const char *origin);

#endif
