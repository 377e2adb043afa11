/*
 * What is remembered per server origin: a table of values of one size, zero when they are made.
 *
 * When the table is full, the value that was not asked for for longest goes, unless its owner says that it must stay. A
 * value holds no memory of its own. A pointer to one is good until it is dropped or the next origin_table_put.
 */
#ifndef DECIDE_ORIGIN_TABLE_H
#define DECIDE_ORIGIN_TABLE_H

#include "buffer.h"

struct origin_table;

/* NULL: no memory, or max is 0. `may_go` (NULL: every value may): may this value make room for another? */
struct origin_table *origin_table_new(size_t max, size_t value_size, bool (*may_go)(const void *value));
void origin_table_free(struct origin_table *table);
size_t origin_table_count(const struct origin_table *table);

void *origin_table_find(struct origin_table *table, const char *origin); /* NULL: none */

enum origin_table_put { ORIGIN_TABLE_PUT, ORIGIN_TABLE_FULL, ORIGIN_TABLE_NO_MEMORY };
/* The origin's value, made if there is none. Unless it is ORIGIN_TABLE_PUT, *value and the table are as they were. */
enum origin_table_put origin_table_put(struct origin_table *table, const char *origin, void **value) MUST_CHECK;

void origin_table_drop(struct origin_table *table, const char *origin);

#endif
