/*
 * A P-256 private key outside of a token, on its way into one: its scalar d in locked memory, and its public key.
 *
 * The public key is always computed from d, and must be what the file says it is. d is from 1 to n - 1, the curve is
 * P-256 by its name: parameters written out in a file are somebody else's idea of the curve.
 */
#ifndef KEY_PRIVATE_KEY_H
#define KEY_PRIVATE_KEY_H

#include "error.h"
#include "jwk.h"

#include <openssl/evp.h>

#define PRIVATE_KEY_SIZE 32

struct private_key {
    uint8_t *d; /* PRIVATE_KEY_SIZE bytes, sodium_malloc'ed; NULL: none */
    struct jwk jwk;
};

/* Another kind of key: STATUS_KEY_UNFIT, with what it is. */
enum status private_key_from_pkey(const EVP_PKEY *pkey, struct private_key *out, struct error *err) MUST_CHECK;
enum status private_key_from_bytes(const uint8_t d[PRIVATE_KEY_SIZE], const struct jwk *said, struct private_key *out,
                                   struct error *err) MUST_CHECK;
void private_key_free(struct private_key *key);

/* The error for a key of another algorithm or curve: "the file holds …". */
enum status private_key_other(const char *what, const char *name, struct error *err);

#endif
