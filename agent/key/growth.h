/*
 * How much larger this process has become since its key was ready. Modules lose memory (tpm2-pkcs11 1.9.0: 66 bytes
 * with each signature, 80 MB in a million of them), and nobody but the end of the process gives it back. A key process
 * that has grown too much says so to the front (INTERNAL_ENDING), and a fresh one takes its place between two requests.
 */
#ifndef KEY_GROWTH_H
#define KEY_GROWTH_H

#include <stdbool.h>
#include <stddef.h>

struct growth {
    size_t first;       /* bytes in memory when the key was ready first; 0: it was not yet */
    unsigned int calls; /* of growth_too_large since the last look */
};

void growth_begin(struct growth *g); /* the key is ready; only the first time counts */
/* Is the process too large? Looks with every GROWTH_CALLS-th call, or `now`. */
bool growth_too_large(struct growth *g, bool now);

#define GROWTH_CALLS 256
#ifdef __SANITIZE_ADDRESS__
#define GROWTH_MAX (320UL * 1024 * 1024) /* it keeps 256 MiB of what was freed */
#else
#define GROWTH_MAX (64UL * 1024 * 1024)
#endif

#endif
