/*
 * The proof of a rotation: before a key takes another one's name, every profile that can get a token by itself gets
 * one with it, from its real server, with the new key in every place where the old one stands. What comes is kept, so
 * that nobody has to wait for it after the switch; nothing else changes. A profile that needs a user shows its
 * client's authentication, if that is by the key, with a refresh token that does not exist: it must be that which the
 * server refuses.
 */
#ifndef FRONT_KEY_PROOF_H
#define FRONT_KEY_PROOF_H

#include "held_token.h"
#include "keys.h"

/* Called once. `err` NULL: the tokens, taken over by whom it calls. Else what the first refusal says. */
typedef void (*key_proof_done)(void *context, const struct error *err, struct taken_token *tokens);

/* `use` in the place of `instead_of`. */
void key_proof_start(struct front *f, const struct key_swap *swap, uint64_t deadline, key_proof_done done,
                     void *context);

#endif
