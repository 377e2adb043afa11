/* See backoff.h. */
#include "backoff.h"

#include "origin_table.h"

#include <stdlib.h>

#define SECOND UINT64_C(1000000)

struct backoff_table {
    struct origin_table *servers;
};

struct server {
    unsigned int failures; /* in a row, up to FAILURES_MAX */
    uint64_t last_failure; /* that counted */
    uint64_t until;        /* what we think right */
    uint64_t told_until;   /* what the server named */
};

#define FAILURES_MAX 8 /* from then on it is BACKOFF_MAX_SECONDS */

struct backoff_table *backoff_table_new(size_t max)
{
    struct backoff_table *table = malloc(sizeof(*table));
    if (table == NULL)
        return NULL;
    table->servers = origin_table_new(max, sizeof(struct server), NULL);
    if (table->servers == NULL) {
        free(table);
        return NULL;
    }
    return table;
}

void backoff_table_free(struct backoff_table *table)
{
    if (table == NULL)
        return;
    origin_table_free(table->servers);
    free(table);
}

uint64_t backoff_until(const struct backoff_table *table, const char *origin)
{
    const struct server *server = origin_table_find(table->servers, origin);
    if (server == NULL)
        return 0;
    return server->until > server->told_until ? server->until : server->told_until;
}

/* A random part of a span of time, never the whole of it. */
static uint64_t part_of(uint64_t span, uint32_t random)
{
    return (span * random) >> 32;
}

static uint64_t wait_after(unsigned int failures, uint32_t random)
{
    if (failures < 2)
        return 0;
    uint64_t whole = SECOND << (failures - 2);
    if (whole > BACKOFF_MAX_SECONDS * SECOND)
        whole = BACKOFF_MAX_SECONDS * SECOND;
    return whole / 2 + part_of(whole / 2 + 1, random);
}

void backoff_failed(struct backoff_table *table, const char *origin, uint64_t sent, uint64_t now, uint32_t retry_after,
                    uint32_t random)
{
    void *value;
    if (origin_table_put(table->servers, origin, &value) != ORIGIN_TABLE_PUT)
        return; /* without memory there are greater worries than a server that is asked too soon */
    struct server *server = value;
    if (server->failures == 0 || sent >= server->last_failure) {
        if (server->failures < FAILURES_MAX)
            server->failures++;
        server->last_failure = now;
        uint64_t wait = wait_after(server->failures, random);
        server->until = wait > 0 ? now + wait : 0;
    }
    if (retry_after > 0) {
        uint64_t told = (retry_after < BACKOFF_RETRY_AFTER_MAX ? retry_after : BACKOFF_RETRY_AFTER_MAX) * SECOND;
        uint64_t until = now + told + part_of(told / 10 + 1, random);
        if (until > server->told_until)
            server->told_until = until;
    }
}

void backoff_succeeded(struct backoff_table *table, const char *origin)
{
    struct server *server = origin_table_find(table->servers, origin);
    if (server == NULL)
        return;
    if (server->told_until == 0) {
        origin_table_drop(table->servers, origin);
        return;
    }
    server->failures = 0;
    server->until = 0;
}
