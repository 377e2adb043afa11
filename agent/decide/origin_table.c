/* See origin_table.h. A hash table with chains, and a list through all entries from the newest use to the oldest. */
#include "origin_table.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct entry *chain; /* the next entry in the same bucket */
    struct entry *newer;
    struct entry *older;
    size_t bucket;
    char *origin;
    max_align_t value[];
};

struct origin_table {
    size_t max;
    size_t value_size;
    size_t count;
    bool (*may_go)(const void *value);
    struct entry **buckets; /* max of them */
    struct entry *newest;
    struct entry *oldest;
};

struct origin_table *origin_table_new(size_t max, size_t value_size, bool (*may_go)(const void *value))
{
    if (max == 0)
        return NULL;
    struct origin_table *table = malloc(sizeof(*table));
    struct entry **buckets = calloc(max, sizeof(struct entry *));
    if (table == NULL || buckets == NULL) {
        free(table);
        free(buckets);
        return NULL;
    }
    *table = (struct origin_table){.max = max, .value_size = value_size, .may_go = may_go, .buckets = buckets};
    return table;
}

static void entry_free(struct entry *entry)
{
    free(entry->origin);
    free(entry);
}

void origin_table_free(struct origin_table *table)
{
    if (table == NULL)
        return;
    for (struct entry *entry = table->newest, *older; entry != NULL; entry = older) {
        older = entry->older;
        entry_free(entry);
    }
    free(table->buckets);
    free(table);
}

size_t origin_table_count(const struct origin_table *table)
{
    return table->count;
}

/* FNV-1a. Unkeyed: origins come from the configuration, so nobody outside can choose many that collide. */
static size_t bucket_of(const struct origin_table *table, const char *origin)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = origin; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
    return (size_t)(hash % table->max);
}

static void unlink_use(struct origin_table *table, struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &table->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &table->oldest) = entry->newer;
}

static void link_newest(struct origin_table *table, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = table->newest;
    *(table->newest != NULL ? &table->newest->newer : &table->oldest) = entry;
    table->newest = entry;
}

static struct entry *find(struct origin_table *table, const char *origin)
{
    struct entry *entry = table->buckets[bucket_of(table, origin)];
    while (entry != NULL && strcmp(entry->origin, origin) != 0)
        entry = entry->chain;
    if (entry != NULL) {
        unlink_use(table, entry);
        link_newest(table, entry);
    }
    return entry;
}

void *origin_table_find(struct origin_table *table, const char *origin)
{
    struct entry *entry = find(table, origin);
    return entry != NULL ? entry->value : NULL;
}

static void drop(struct origin_table *table, struct entry *entry)
{
    struct entry **link = &table->buckets[entry->bucket];
    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    unlink_use(table, entry);
    entry_free(entry);
    table->count--;
}

void origin_table_drop(struct origin_table *table, const char *origin)
{
    struct entry *entry = find(table, origin);
    if (entry != NULL)
        drop(table, entry);
}

/* The oldest entry that may make room for another; NULL: none may. */
static struct entry *who_goes(const struct origin_table *table)
{
    struct entry *entry = table->oldest;
    while (entry != NULL && table->may_go != NULL && !table->may_go(entry->value))
        entry = entry->newer;
    return entry;
}

enum origin_table_put origin_table_put(struct origin_table *table, const char *origin, void **value)
{
    struct entry *entry = find(table, origin), *goes = NULL;
    if (entry != NULL) {
        *value = entry->value;
        return ORIGIN_TABLE_PUT;
    }
    if (table->count == table->max) {
        goes = who_goes(table);
        if (goes == NULL)
            return ORIGIN_TABLE_FULL;
    }
    entry = calloc(1, sizeof(*entry) + table->value_size);
    char *copy = strdup(origin);
    if (entry == NULL || copy == NULL) {
        free(entry);
        free(copy);
        return ORIGIN_TABLE_NO_MEMORY;
    }
    if (goes != NULL)
        drop(table, goes);
    entry->origin = copy;
    entry->bucket = bucket_of(table, origin);
    entry->chain = table->buckets[entry->bucket];
    table->buckets[entry->bucket] = entry;
    link_newest(table, entry);
    table->count++;
    *value = entry->value;
    return ORIGIN_TABLE_PUT;
}
