/*
 * The data keys of the tokens, by the name of the [key] section, in the only process that has them in clear.
 *
 * The store makes a key pair when it starts (crypto_box); a key process seals a token's data key to its public half,
 * and the front carries it here. The secret half and the data keys are in locked memory, wiped when they are freed.
 * Nothing here does I/O.
 */
#ifndef STORE_DATA_KEYS_H
#define STORE_DATA_KEYS_H

#include "internal.h"

#define DATA_KEYS_MAX 512

struct data_key {
    char *name;
    uint8_t *bytes; /* DATA_KEY_SIZE */
};

struct data_keys {
    uint8_t public_key[STORE_PUBLIC_SIZE];
    uint8_t *secret_key;
    struct data_key *items;
    size_t count;
};

int data_keys_init(struct data_keys *k) MUST_CHECK; /* libsodium is initialised. -1: out of memory */
void data_keys_free(struct data_keys *k);           /* may be all zero */

/* Opens a sealed data key and keeps it, instead of an earlier one of that name. */
enum status data_keys_put(struct data_keys *k, struct span name, struct span sealed, struct error *err) MUST_CHECK;
/* NULL, with the error filled (STATUS_STORE_FAILED): it has not come yet. */
const uint8_t *data_keys_find(const struct data_keys *k, struct span name, struct error *err) MUST_CHECK;

#endif
