/*
 * What the store remembers about the PINs of one token, as seen from one log-in: asked for once (which is also the
 * front's permission to log in), then told what is about to happen and what came of it. A PIN is known there by its
 * verifier.
 */
#ifndef KEY_PIN_RECORDS_H
#define KEY_PIN_RECORDS_H

#include "channel.h"
#include "internal.h"
#include "secret.h"

/* A frame that the front sends while an answer is waited for; it lives during the call. */
typedef void pin_meanwhile(void *context, const struct frame *frame);

struct pin_dialogue {
    struct channel *channel;
    pin_meanwhile *meanwhile; /* NULL: the front sends nothing else */
    void *context;
    uint32_t request;
    struct span token_id;
    uint8_t salt[PIN_SALT_SIZE];
    struct pin_records records; /* lives in the channel's buffer: until the next message */
    uint8_t verifier[PIN_VERIFIER_SIZE];
    uint8_t source[PIN_SOURCE_SIZE]; /* where the PIN comes from */
};

enum status pin_records_load(struct pin_dialogue *d, struct error *err) MUST_CHECK;
/* Computes the PIN's verifier with the token's salt. */
enum status pin_records_derive(struct pin_dialogue *d, const struct secret *pin, struct error *err) MUST_CHECK;
bool pin_records_hold(const struct list *list, const uint8_t item[PIN_VERIFIER_SIZE]);
/* Tells the verdict on the verifier; with PIN_ACCEPTED the source, too. */
enum status pin_records_tell(struct pin_dialogue *d, enum pin_verdict verdict, struct error *err) MUST_CHECK;

#endif
