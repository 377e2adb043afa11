/*
 * A front and supervisor in small for the fault matrix of the key process: starts it, again when it has ended, sends
 * it requests, and judges everything that comes: a signature verifies with the one key, an error says what to do, no
 * process crashes, leaks or keeps somebody waiting. What is wrong is written down (key_front_wrong) and ends nothing,
 * so that one run shows all of it.
 */
#ifndef TEST_KEY_FRONT_H
#define TEST_KEY_FRONT_H

#include "key_world.h"

#include <sodium.h>

#define KEY_FRONT_PATIENCE 30000 /* milliseconds for any answer, and for the end of a process */

struct key_front {
    struct key_world *w;
    struct key_child c;
    bool alive, ready;
    unsigned int starts;   /* of processes, since the case began */
    bool known;            /* `jwk` is the key, seen at the first KEY_READY */
    struct jwk jwk;
    struct error error;    /* the last failure that was reported, of a state or of a request */
    char name[256];        /* of the case */
    unsigned int cases, wrong;
    uint32_t request;
    uint8_t public_key[STORE_PUBLIC_SIZE], secret_key[crypto_box_SECRETKEYBYTES]; /* the store's */
};

/* `state` is cmocka's, of key_world_open; fills it. */
void key_front_open(struct key_front *f, void **state);
void key_front_close(struct key_front *f);

/* A new case: its name, what the shim does from now on, and empty logs. */
void key_front_begin(struct key_front *f, const char *command, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
void key_front_command(struct key_front *f, const char *command);
void key_front_wrong(struct key_front *f, const char *what, ...) __attribute__((format(printf, 2, 3)));

/*
 * One process until it is ready (STATUS_OK), has reported a failure, or has ended without one
 * (STATUS_AGENT_UNREACHABLE, which is wrong). A process that has failed is gone, but one that waits for another PIN.
 */
enum status key_front_ready(struct key_front *f);
/* One request to a process that is ready; the answer's status. `data_key`: for the data key, else for a signature. */
enum status key_front_ask(struct key_front *f, bool data_key);
/* Requests, and new processes, until one is answered well; at most so many requests and processes: else it is wrong. */
void key_front_heals(struct key_front *f, unsigned int most);
void key_front_stop(struct key_front *f); /* the process, which must end well */

#endif
