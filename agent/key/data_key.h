/*
 * The data key: 32 random bytes that seal what the store keeps on disk, in a private CKO_DATA object of the token.
 *
 * There is one for each token, whatever keys and agents use it. It is found by CKA_LABEL and CKA_APPLICATION, made when
 * there is none and the front says so, and never guessed: several, or one of another length, are errors. The front lets
 * one process make it at a time; if another agent has made one in the same moment, ours is taken back. It leaves this
 * process only sealed to the store's public key (crypto_box_seal); in clear it is in locked memory, and for the time of
 * one request.
 */
#ifndef KEY_DATA_KEY_H
#define KEY_DATA_KEY_H

#include "internal.h"
#include "module.h"

#define DATA_KEY_LABEL "dpop-agent data key"
#define DATA_KEY_APPLICATION "dpop-agent"

/*
 * Puts the answer to an INTERNAL_DATA_KEY, an error too. `session` is logged in. What it returns says whether the
 * process may go on: a failure leaves the session as it was, unless the module says that the session, the log-in or the
 * token is gone.
 */
enum status data_key_serve(const struct module *m, CK_SLOT_ID slot, CK_SESSION_HANDLE session,
                           const struct frame *frame, struct buffer *out, struct error *err) MUST_CHECK;

#endif
