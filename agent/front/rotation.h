/*
 * The switch of a key's name to the key that `prepare` has made: proof → configuration → memory → the old key's end.
 *
 *   proof          key_proof.h. A refusal ends it, and nothing is changed.
 *   configuration  [key NAME] says what [key NAME.next] said, whose section goes. From here on there is no way back;
 *                  if the agent dies, it comes up again with the new key.
 *   memory         NAME means the new key (keys_switch). Tokens of the old one leave the cache, those of the proof
 *                  come in. Whoever has a token of the old key already gets its proof from the old key, too: a token
 *                  names its key (keys_of).
 *   old key        After some seconds for what is under way: what is bound to it is revoked (revocation.h), and it is
 *                  destroyed by its own process, the last to know it.
 *
 * One at a time. The front does not end in the middle of it if it can help it.
 */
#ifndef FRONT_ROTATION_H
#define FRONT_ROTATION_H

#include "keys.h"
#include "messages.h"

struct rotation_result {
    char jkt[JWK_THUMBPRINT_SIZE], old_jkt[JWK_THUMBPRINT_SIZE];
    struct list_builder bound; /* bound_info */
    char configuration[LIMIT_TEXT];
    char note[LIMIT_TEXT];     /* what is left of the old key; empty: nothing */
};

/* Called once. `err` NULL: it is done. The result lives during the call. */
typedef void (*rotation_done)(void *context, const struct error *err, const struct rotation_result *result);

/* `key` gives its name to `next`. Both have been ready. */
void rotation_start(struct front *f, struct key *key, struct key *next, uint64_t deadline, rotation_done done,
                    void *context);
bool rotation_busy(const struct front *f);  /* is there no way back, and is it not done yet? */
void rotation_hurry(struct front *f);       /* the front is to end: what is under way is not waited for any longer */
void rotation_end(struct front *f); /* the loop has ended: tells who waits, unless it waits for others that do */

#endif
