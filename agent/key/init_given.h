/*
 * init with a token that is initialised already (INIT_TOKEN): opened with its PIN, and the key that the URI names is
 * taken, or a new one is made in it.
 *
 * The PIN is judged by the token once: one that is locked, or has a single try left, is not asked, and nothing is tried
 * again. What was made is destroyed again if the rest of init fails; the token is left as it was.
 */
#ifndef KEY_INIT_GIVEN_H
#define KEY_INIT_GIVEN_H

#include "init_plan.h"
#include "key_pair.h"
#include "secret.h"
#include "token.h"

/* Of the error STATUS_KEY_LOCKED where a PIN is wanted and none was given: who asks may give one and call again. */
#define INIT_GIVEN_STAGE_PIN "PIN"

struct init_given {
    struct uri uri;
    struct module module;
    struct token token;
    CK_SESSION_HANDLE session;
    bool open, made;
    struct key_pair pair; /* if it was made */
};

/* Fills the plan's uri, jkt, model and what becomes of the PIN. `pin`: NULL when none was given. To be closed after a
   failure, too. */
enum status init_given_open(struct init_given *g, struct init_plan *p, const struct secret *pin, bool keep_pin,
                            struct init_folder *f, struct error *err) MUST_CHECK;
void init_given_close(struct init_given *g, bool undo);

#endif
