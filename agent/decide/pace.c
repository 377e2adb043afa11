/*
 * See pace.h. The rate is kept by one number per origin, the generic cell rate algorithm: `booked` is when the starts
 * so far would be over if each took a fiftieth of a second; it may be at most a burst ahead of now.
 */
#include "pace.h"

#include "origin_table.h"

#include <stdlib.h>

#define SECOND UINT64_C(1000000)
#define INTERVAL (SECOND / PACE_PER_SECOND)

struct pace_table {
    struct origin_table *servers;
};

struct server {
    unsigned int under_way;
    uint64_t booked;
};

static bool idle(const void *value)
{
    const struct server *server = value;
    return server->under_way == 0;
}

struct pace_table *pace_table_new(size_t max)
{
    struct pace_table *table = malloc(sizeof(*table));
    if (table == NULL)
        return NULL;
    table->servers = origin_table_new(max, sizeof(struct server), idle);
    if (table->servers == NULL) {
        free(table);
        return NULL;
    }
    return table;
}

void pace_table_free(struct pace_table *table)
{
    if (table == NULL)
        return;
    origin_table_free(table->servers);
    free(table);
}

bool pace_begin(struct pace_table *table, const char *origin, uint64_t now, uint64_t *retry_at)
{
    void *value;
    enum origin_table_put put = origin_table_put(table->servers, origin, &value);
    if (put != ORIGIN_TABLE_PUT) {
        *retry_at = put == ORIGIN_TABLE_FULL ? PACE_WHEN_ONE_ENDS : now + SECOND;
        return false;
    }
    struct server *server = value;
    if (server->under_way >= PACE_UNDER_WAY_MAX) {
        *retry_at = PACE_WHEN_ONE_ENDS;
        return false;
    }
    uint64_t booked = (server->booked > now ? server->booked : now) + INTERVAL;
    if (booked - now > PACE_BURST * INTERVAL) {
        *retry_at = booked - PACE_BURST * INTERVAL;
        return false;
    }
    server->booked = booked;
    server->under_way++;
    return true;
}

void pace_end(struct pace_table *table, const char *origin)
{
    struct server *server = origin_table_find(table->servers, origin);
    if (server != NULL && server->under_way > 0)
        server->under_way--;
}
