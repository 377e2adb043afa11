/*
 * The tokens that p11-kit's configuration knows, looked at for init's choice (init_choice.h).
 *
 * Vendor modules hang and crash, and some do so when they are loaded. So a process of its own lists the modules, and
 * then each module has one, all at the same time: what has not answered within INIT_PROBE_MS is killed, and named in
 * `trouble`. Nothing here logs in or changes a token.
 */
#ifndef KEY_INIT_PROBE_H
#define KEY_INIT_PROBE_H

#include "error.h"

#include <p11-kit/pkcs11.h>

#define INIT_PROBE_MS 5000
#define INIT_PROBE_MODULES 32
#define INIT_PROBE_TOKENS 16 /* of one module */
#define INIT_PROBE_PATH 256

/* A module as p11-kit knows it. */
struct init_probe_module {
    char path[INIT_PROBE_PATH]; /* of the shared object; empty: it runs elsewhere (remote:) */
    char name[64];              /* of its configuration */
};

struct init_probe_token {
    struct init_probe_module module;
    CK_TOKEN_INFO info;
    bool makes_keys, signs; /* CKM_EC_KEY_PAIR_GEN, CKM_ECDSA */
};

struct init_probe {
    struct init_probe_token *tokens; /* initialised ones */
    size_t count;
    char trouble[256]; /* modules that did not answer, for people; empty: none */
};

/* `skipped`: parts of the names of modules that are not looked at, ended by NULL. */
enum status init_probe_run(const char *const *skipped, struct init_probe *out, struct error *err) MUST_CHECK;
void init_probe_free(struct init_probe *p);

#endif
