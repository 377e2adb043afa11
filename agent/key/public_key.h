/*
 * The public key of a private key object, which many tokens do not tell there. Where it comes from, in this order:
 *
 *   the public key object of the same CKA_ID; two of them are an error
 *   CKA_EC_POINT of the private object itself
 *   the one certificate of the same CKA_ID
 *   two signatures that are made for this (recover.h)
 *
 * None of these is believed: the caller verifies a signature before the key is used.
 */
#ifndef KEY_PUBLIC_KEY_H
#define KEY_PUBLIC_KEY_H

#include "object.h"

enum status public_key_find(const struct module *m, CK_SESSION_HANDLE session, const struct object *o, struct jwk *out,
                            struct error *err) MUST_CHECK;

#endif
