/* See nonce.h. A hash table with chains, and a list through all entries from the newest use to the oldest. */
#include "nonce.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct entry *chain; /* the next entry in the same bucket */
    struct entry *newer;
    struct entry *older;
    size_t bucket;
    enum nonce_role role;
    char *origin;
    char *jkt;
    char *nonce;
};

struct nonce_table {
    size_t max;
    size_t count;
    size_t buckets_len;
    struct entry **buckets;
    struct entry *newest;
    struct entry *oldest;
};

bool nonce_valid(struct span nonce)
{
    for (size_t i = 0; i < nonce.len; i++) {
        uint8_t c = nonce.data[i];
        if (c < 0x21 || c > 0x7e || c == '"' || c == '\\')
            return false;
    }
    return nonce.len > 0 && nonce.len <= NONCE_MAX;
}

struct nonce_table *nonce_table_new(size_t max_entries)
{
    if (max_entries == 0)
        return NULL;
    struct nonce_table *table = calloc(1, sizeof(*table));
    struct entry **buckets = calloc(max_entries, sizeof(struct entry *));
    if (table == NULL || buckets == NULL) {
        free(table);
        free(buckets);
        return NULL;
    }
    *table = (struct nonce_table){.max = max_entries, .buckets_len = max_entries, .buckets = buckets};
    return table;
}

static void entry_free(struct entry *entry)
{
    if (entry == NULL)
        return;
    free(entry->origin);
    free(entry->jkt);
    free(entry->nonce);
    free(entry);
}

void nonce_table_free(struct nonce_table *table)
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

size_t nonce_table_count(const struct nonce_table *table)
{
    return table->count;
}

/* FNV-1a. Unkeyed: origins come from the configuration, so nobody outside can choose many that collide. */
static size_t bucket_of(const struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt)
{
    uint64_t hash = 0xcbf29ce484222325u + role;
    for (const char *c = origin; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
    for (const char *c = jkt; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
    return (size_t)(hash % table->buckets_len);
}

static void unlink_use(struct nonce_table *table, struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &table->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &table->oldest) = entry->newer;
}

static void link_newest(struct nonce_table *table, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = table->newest;
    *(table->newest != NULL ? &table->newest->newer : &table->oldest) = entry;
    table->newest = entry;
}

static struct entry *find(struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt)
{
    struct entry *entry = table->buckets[bucket_of(table, role, origin, jkt)];
    while (entry != NULL &&
           (entry->role != role || strcmp(entry->origin, origin) != 0 || strcmp(entry->jkt, jkt) != 0))
        entry = entry->chain;
    if (entry != NULL) {
        unlink_use(table, entry);
        link_newest(table, entry);
    }
    return entry;
}

static void evict_oldest(struct nonce_table *table)
{
    struct entry *entry = table->oldest;
    struct entry **link = &table->buckets[entry->bucket];
    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    unlink_use(table, entry);
    entry_free(entry);
    table->count--;
}

int nonce_put(struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt, struct span nonce)
{
    if (!nonce_valid(nonce))
        return -1;
    char *copy = span_dup(nonce);
    if (copy == NULL)
        return -1;
    struct entry *entry = find(table, role, origin, jkt);
    if (entry != NULL) {
        free(entry->nonce);
        entry->nonce = copy;
        return 0;
    }
    entry = calloc(1, sizeof(*entry));
    if (entry == NULL) {
        free(copy);
        return -1;
    }
    *entry = (struct entry){.role = role, .origin = strdup(origin), .jkt = strdup(jkt), .nonce = copy};
    if (entry->origin == NULL || entry->jkt == NULL) {
        entry_free(entry);
        return -1;
    }
    if (table->count == table->max)
        evict_oldest(table);
    entry->bucket = bucket_of(table, role, origin, jkt);
    entry->chain = table->buckets[entry->bucket];
    table->buckets[entry->bucket] = entry;
    link_newest(table, entry);
    table->count++;
    return 0;
}

const char *nonce_get(struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt)
{
    struct entry *entry = find(table, role, origin, jkt);
    return entry != NULL ? entry->nonce : NULL;
}

int nonce_digest(struct span nonce, uint8_t out[NONCE_DIGEST_SIZE])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    if (SHA256(nonce.data, nonce.len, digest) == NULL)
        return -1;
    memcpy(out, digest, NONCE_DIGEST_SIZE);
    return 0;
}
