/*
 * A PIN that the user gave (dpop unlock), sealed for the front to keep: XChaCha20-Poly1305 under the agent's PIN
 * key, bound to the token that it is for.
 *
 * The front hands it to every process that logs in to that token (pin_records), so that the PIN outlives the
 * process that got it, and is in clear only where it is used. The key is made by the supervisor and reaches key and
 * net-tls processes alone.
 */
#ifndef KEY_SEAL_PIN_H
#define KEY_SEAL_PIN_H

#include "internal.h"
#include "secret.h"

/* -1: the PIN is too long. */
int seal_pin(const uint8_t key[PIN_KEY_SIZE], struct span token_id, const struct secret *pin,
             uint8_t out[SEALED_PIN_MAX],
             size_t *len) MUST_CHECK;

/* NULL: it was sealed for another token or with another key, or was changed; or out of memory. */
struct secret *seal_pin_open(const uint8_t key[PIN_KEY_SIZE], struct span token_id, struct span sealed) MUST_CHECK;

#endif
