/* The init process under test: a folder with SoftHSM, "state" as its state folder and "etc/agent.conf" as its
 * configuration. */
#ifndef TEST_INIT_WORLD_H
#define TEST_INIT_WORLD_H

#include "key_child.h"
#include "softhsm.h"

struct init_world {
    struct softhsm hsm;
    char state[SOFTHSM_PATH_MAX], configuration[SOFTHSM_PATH_MAX], log[SOFTHSM_PATH_MAX];
    struct config config;
    struct error error;
    char uri[512], jkt[64], pin_file[SOFTHSM_PATH_MAX], reason[1100],
        model[32]; /* of the answer; "" where it has none */
};

int init_world_set_up(void **state); /* for cmocka: *state is a struct init_world */
int init_world_tear_down(void **state);

/* One init. `pin`: passed by a pipe, NULL: none. */
enum status init_world_run(struct init_world *w, const struct init_request *request, const char *pin);

#endif
