/*
 * A new token with one P-256 key made inside it. Used by init alone; nothing else in the agent writes to a token.
 */
#ifndef KEY_INIT_TOKEN_H
#define KEY_INIT_TOKEN_H

#include "jwk.h"
#include "module.h"
#include "secret.h"

#define INIT_TOKEN_PIN_LENGTH 24 /* base64url characters: 18 random bytes */

struct secret *init_token_random_pin(void); /* NULL: out of memory */

/* Initialises the first blank token of the module and generates the key `name` in it. */
enum status init_token_make(const struct module *m, const char *label, const char *name, const struct secret *pin,
                            struct jwk *out, struct error *err) MUST_CHECK;

#endif
