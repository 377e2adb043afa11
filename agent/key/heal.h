/*
 * The ladder: how a key process comes back from what a module said.
 *
 *   find again     the handle is not valid any more, or is another object's: look for the key object
 *   log in again   session, log-in or token are gone: find the token, a new session, log in (with all rules of
 *                  pin.h), find
 *   new process    the rest: the process reports and ends, and the next one starts with C_Initialize
 *
 * The CKR_* says where to begin (ckr.h). A rung that fails is followed by the next one, and so is a rung that
 * helped only until the next failure, with no signature between. Each ends with what opened.h promises: the same
 * key, and a signature that verifies. What only a person can cure (a PIN, another key in the token) ends the climb.
 */
#ifndef KEY_HEAL_H
#define KEY_HEAL_H

#include "ckr.h"
#include "opened.h"

struct heal {
    enum ckr_rung helped; /* the last one, when nothing was signed since; 0: none */
};

/* `err` holds what failed; o->module.failed what the module said, CKR_OK: nothing, it lied. STATUS_OK: healed. */
enum status heal_climb(struct heal *h, struct opened *o, struct error *err) MUST_CHECK;
void heal_signed(struct heal *h); /* it works */

#endif
