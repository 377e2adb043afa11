/*
 * The public key of an ECDSA signer (P-256), recovered from two signatures over different digests (SEC 1 section
 * 4.1.6).
 *
 * One signature fits two public keys (and, with probability 2^-128, two more): which of them is the signer's is
 * what the second signature tells. For tokens that hold a private key object and nothing public of it.
 */
#ifndef KEY_RECOVER_H
#define KEY_RECOVER_H

#include "jwk.h"

struct recover_sample {
    uint8_t digest[JWK_DIGEST_SIZE];
    uint8_t signature[JWK_SIGNATURE_SIZE];
};

/* -1: the samples are not of one key, have the same digest, or are no signatures. */
int recover_public_key(const struct recover_sample samples[2], struct jwk *out) MUST_CHECK;

#endif
