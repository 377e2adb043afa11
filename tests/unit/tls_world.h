/*
 * The world of the tests of net processes with a TLS client key in a token: the key's world (key_world.h), TLS servers
 * that tell which certificate they saw, certificates for keys of the token, and the process, which the test plays front
 * and store for.
 */
#ifndef TEST_TLS_WORLD_H
#define TEST_TLS_WORLD_H

#include "key_world.h"
#include "tls_server.h"

#define TLS_WORLD_HEX 65

struct tls_world {
    struct key_world *key;
    struct tls_server v12, v13, refusing12, refusing13;
    char ca[SOFTHSM_PATH_MAX], ca_key[SOFTHSM_PATH_MAX]; /* of the servers */
    char certificate[SOFTHSM_PATH_MAX];                  /* own.crt in the folder: of the key "work", once it is made */
};

/* What a fetch came to. */
struct tls_outcome {
    struct error failure; /* status OK: there is an answer */
    bool sent;
    char certificate[TLS_WORLD_HEX], protocol[16];
    uint64_t chain;
};

int tls_world_open(void **state);
int tls_world_close(void **state);

/* Makes a certificate of the key `label` as the file `name`; its thumbprint goes to `hex`. */
void tls_world_make_certificate(struct tls_world *w, const char *label, uint8_t serial, const char *name,
                                char hex[TLS_WORLD_HEX]);

/* A process with this slice; the program's main calls tls_world_run_process when it has two arguments. */
void tls_world_start_process(struct tls_world *w, struct key_child *c, const char *role, const char *slice);
int tls_world_run_process(const char *role, const char *path);
/* The net process of the profile "mtls"; its key is the token's "work", or the one of `uri`. */
void tls_world_start(struct tls_world *w, struct key_child *c);
void tls_world_start_with(struct tls_world *w, struct key_child *c, const char *uri, const char *certificate);

void tls_world_send(struct key_child *c, uint32_t request, const char *scheme, unsigned int port, bool authenticate);
/* Serves the process's questions about the PIN until the answer to a fetch comes. */
struct tls_outcome tls_world_next(struct key_child *c, uint32_t *request);
/* The process says that it ends, is let go, and does. */
void tls_world_see_end(struct key_child *c);
struct tls_outcome tls_world_fetch(struct key_child *c, unsigned int port, bool authenticate);

#endif
