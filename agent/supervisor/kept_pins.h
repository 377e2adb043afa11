/*
 * What outlives the processes: the agent's PIN key, and what users said about tokens (dpop unlock, dpop lock).
 *
 * The key is random, made once, and given to key and net-tls processes alone, in their slice of the configuration.
 * The front sends what it keeps, PINs sealed under that key, and each new front gets it all back. So a reload, or a
 * front that crashed, asks nobody for a PIN again, and neither the front nor the disk ever has one.
 */
#ifndef SUPERVISOR_KEPT_PINS_H
#define SUPERVISOR_KEPT_PINS_H

#include "internal.h"

#define KEPT_PINS_MAX 256 /* tokens */

struct kept_pins;

struct kept_pins *kept_pins_new(void); /* NULL: out of memory */
void kept_pins_free(struct kept_pins *pins);
void kept_pins_put_slice(const struct kept_pins *pins, struct buffer *out); /* the key, as configuration */
void kept_pins_take(struct kept_pins *pins, const struct kept_pin *m); /* one token's, in the place of what there was */
/* Calls `give` with each. */
void kept_pins_each(const struct kept_pins *pins, void (*give)(void *context, const struct kept_pin *m), void *context);

#endif
