/*
 * Tokens of p11-kit's configuration by name: the only one that fits for a new key, and the one that a URI without a
 * module means. More than one is an error that lists them. Looking at them is init_probe.h's.
 */
#ifndef KEY_INIT_KNOWN_H
#define KEY_INIT_KNOWN_H

#include "error.h"

struct init_known {
    char *uri;      /* names its module; NULL: no token fits */
    char note[600]; /* what was found, for people */
};

/* A token in which a P-256 key can be made, and that has no way of its own in init (TPM, SoftHSM). */
enum status init_known_only(struct init_known *out, struct error *err) MUST_CHECK;
/* `uri` with the module that it lacks. */
enum status init_known_complete(struct span uri, struct init_known *out, struct error *err) MUST_CHECK;
void init_known_free(struct init_known *k);

#endif
