/*
 * The key as the key process has it open: module, token, session with its log-in, and the object; opened whole at the
 * start, and in parts when something fails (heal.h).
 *
 * Slots and handles are never trusted to mean the same tomorrow. What is opened, in whole or in part, is the same
 * key as before (by its thumbprint, and by the configured one), and has made a signature that verifies, before it
 * is used.
 */
#ifndef KEY_OPENED_H
#define KEY_OPENED_H

#include "object.h"
#include "pin.h"

struct opened {
    const struct key_config *key;
    struct channel *channel;
    struct uri uri;
    struct pin_source pin;
    struct module module;
    struct token token;
    CK_SESSION_HANDLE session;
    bool session_open;
    struct object object;
    bool known; /* it was ready once, */
    struct jwk jwk; /* with this key */
    int64_t pace; /* nanoseconds for one signature, smoothed; 0: none made yet */
    int64_t signed_at; /* the last good one */
};

/* Opens everything. `o` holds key, channel and the two callbacks of `pin`; on failure opened_close is still to be
   called. */
enum status opened_open(struct opened *o, const uint8_t *pin_key, pin_meanwhile *meanwhile, void *context,
                        struct error *err) MUST_CHECK;
void opened_close(struct opened *o); /* the module; the URI and the PIN's source stay */
void opened_free(struct opened *o);

enum status opened_find(struct opened *o, struct error *err) MUST_CHECK;   /* the object, in the session that is open */
/* the token, a new session, log-in, object */
enum status opened_log_in(struct opened *o, struct error *err) MUST_CHECK;
/* Are token and object still there? tpm2-pkcs11 answers that from its files: with it a signature says so, now and
   then. */
enum status opened_check(struct opened *o, struct error *err) MUST_CHECK;

/* A signature; of a slow token each is verified, which is free beside it. */
enum status opened_sign(struct opened *o, const uint8_t digest[JWK_DIGEST_SIZE], uint8_t signature[JWK_SIGNATURE_SIZE],
                        struct error *err) MUST_CHECK;

int64_t opened_now(void); /* nanoseconds of the monotonic clock */

#endif
