/*
 * The world of a test of the key process: a SoftHSM folder with one token, the configuration of its key, reached
 * through the shim (tests/fault/shim.c), and the store's memory of PINs. As cmocka's state, with set-up and tear-down.
 */
#ifndef TEST_KEY_WORLD_H
#define TEST_KEY_WORLD_H

#include "key_child.h"
#include "softhsm.h"

#define KEY_WORLD_PIN "correct-horse-1"
#define KEY_WORLD_WRONG_PIN "wrong-horse-22"
#define KEY_WORLD_TOKEN "dpop-test"

struct key_world {
    struct softhsm hsm;
    char pin_file[SOFTHSM_PATH_MAX]; /* "pin" in the folder */
    char log[SOFTHSM_PATH_MAX];      /* "log" in the folder: what the processes wrote to stderr */
    char uri[512];
    char environment[4][SOFTHSM_PATH_MAX + 32];
    char *items[4];
    struct key_config key;
    struct pin_memory memory;
};

int key_world_open_token(void **state); /* the token is empty */
int key_world_open(void **state);       /* the token has a fit key "work" with the id "1" */
int key_world_close(void **state);

/* The uri's path; the shim is the module. */
void key_world_set_uri(struct key_world *w, const char *path);
/* What the shim does from now on; "" for nothing. */
void key_world_control(const struct key_world *w, const char *command);
/* How often C_Login or C_Sign was called so far, in all processes. */
size_t key_world_calls(const struct key_world *w, const char *name);

/* One process from start to end: its report must be `expected`, then the channel is closed, then it must end so. */
struct key_child key_world_run(struct key_world *w, enum status expected, int expected_exit);
void key_world_assert_says(const struct key_child *c, const char *text);

#endif
