/*
 * How far the servers' clocks are from ours, per origin.
 *
 * Nothing is known of an origin until it rejects a proof because of its `iat`: then the Date of that answer is learned.
 * A difference beyond the bound is not learned: whoever could move our proofs by days could keep them for later.
 * When the table is full, the origin that was not used for longest is forgotten.
 */
#ifndef DECIDE_SKEW_H
#define DECIDE_SKEW_H

#include "buffer.h"

#define SKEW_WORTH_A_RETRY 5 /* seconds; less than that is no reason for a rejection */

struct skew_table;

/* bound_seconds 0: never learns. NULL: no memory, or max is 0. */
struct skew_table *skew_table_new(size_t max, unsigned int bound_seconds);
void skew_table_free(struct skew_table *table);

int64_t skew_get(const struct skew_table *table, const char *origin); /* seconds to add to our clock; 0: none known */

/*
 * `date` is the value of the Date header, `now` our clock when it arrived, `used` what skew_get gave for the request
 * that was rejected. True: another difference is known now, by 5 s at least, so a retry makes sense. It may be one that
 * the answer to another request brought meanwhile.
 */
bool skew_learn(struct skew_table *table, const char *origin, struct span date, int64_t now, int64_t used);

/*
 * An HTTP-date (RFC 9110 section 5.6.7) in any of its three forms; the day's name must be right, which for the form
 * with two digits of the year decides the century. 23:59:60 is the second after. -1: not a date, *out as it was.
 */
int skew_parse_date(struct span date, int64_t *out) MUST_CHECK;

#endif
