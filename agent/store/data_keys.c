/* See data_keys.h. */
#include "data_keys.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(STORE_PUBLIC_SIZE == crypto_box_PUBLICKEYBYTES, "the size of a public key");
_Static_assert(DATA_KEY_SEALED_SIZE == DATA_KEY_SIZE + crypto_box_SEALBYTES, "the size of a sealed data key");

int data_keys_init(struct data_keys *k)
{
    struct data_keys keys = {.secret_key = sodium_malloc(crypto_box_SECRETKEYBYTES)};
    if (keys.secret_key == NULL || crypto_box_keypair(keys.public_key, keys.secret_key) != 0) {
        sodium_free(keys.secret_key);
        return -1;
    }
    *k = keys;
    return 0;
}

void data_keys_free(struct data_keys *k)
{
    for (size_t i = 0; i < k->count; i++) {
        sodium_free(k->items[i].bytes);
        free(k->items[i].name);
    }
    free(k->items);
    sodium_free(k->secret_key);
    *k = (struct data_keys){0};
}

static struct data_key *find(const struct data_keys *k, struct span name)
{
    for (size_t i = 0; i < k->count; i++)
        if (span_is(name, k->items[i].name))
            return &k->items[i];
    return NULL;
}

/* A key without a value is never seen: the caller fills it or takes it back. */
static struct data_key *add(struct data_keys *k, struct span name)
{
    struct data_key *items = realloc(k->items, (k->count + 1) * sizeof(*items));
    if (items == NULL)
        return NULL;
    k->items = items;
    struct data_key item = {.name = span_dup(name), .bytes = sodium_malloc(DATA_KEY_SIZE)};
    if (item.name == NULL || item.bytes == NULL) {
        free(item.name);
        sodium_free(item.bytes);
        return NULL;
    }
    items[k->count] = item;
    return &items[k->count++];
}

enum status data_keys_put(struct data_keys *k, struct span name, struct span sealed, struct error *err)
{
    enum status status = STATUS_OK;
    if (sealed.len != DATA_KEY_SEALED_SIZE)
        return error_set(err, STATUS_MALFORMED, NULL, "the sealed data key has %zu bytes", sealed.len);
    uint8_t *bytes = sodium_malloc(DATA_KEY_SIZE);
    if (bytes == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    struct data_key *item = find(k, name);
    if (crypto_box_seal_open(bytes, sealed.data, sealed.len, k->public_key, k->secret_key) != 0)
        status = error_set(err, STATUS_STORE_FAILED, "the agent asks the token for it again by itself",
                           "the data key of key \"%.*s\" was not sealed for this store process", (int)name.len,
                           (const char *)name.data);
    else if (item == NULL && k->count >= DATA_KEYS_MAX)
        status = error_set(err, STATUS_STORE_FAILED, "use fewer keys", "the agent keeps the data keys of %d keys",
                           DATA_KEYS_MAX);
    else if (item == NULL && (item = add(k, name)) == NULL)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    else
        memcpy(item->bytes, bytes, DATA_KEY_SIZE);
    sodium_free(bytes);
    return status;
}

const uint8_t *data_keys_find(const struct data_keys *k, struct span name, struct error *err)
{
    const struct data_key *item = find(k, name);
    if (item == NULL)
        (void)error_set(err, STATUS_STORE_FAILED,
                        "see that the key is ready (dpop status); the agent then gets its data key by itself",
                        "the data key of key \"%.*s\" is not there yet", (int)name.len, (const char *)name.data);
    return item != NULL ? item->bytes : NULL;
}
