/*
 * A key of the token destroyed: its private object, and the public key and certificate objects that belong to it.
 *
 * Whose key it is says the thumbprint: nothing with another public key is touched, whatever its label and CKA_ID. The
 * private object goes first. Where it is gone already, what is left of the key goes; where nothing is left, that is
 * success, too: a request may be repeated after a failure in the middle.
 */
#ifndef KEY_DESTROY_H
#define KEY_DESTROY_H

#include "make.h"

enum status destroy_by_uri(const struct make_place *p, struct span uri, struct span jkt, struct error *err) MUST_CHECK;

#endif
