/*
 * The [key …] sections of the configuration changed (INTERNAL_ADD_KEY, INTERNAL_REMOVE_KEY, INTERNAL_SWITCH_KEY): for
 * keys that are made, deleted and rotated. Nothing else in the file changes, and it is replaced in one step
 * (init_rewrite.h).
 *
 * What is removed stays as comments, so that a person sees what there was; a section that a rotation has made and ends
 * is taken out, since its values live on in the other one.
 */
#ifndef KEY_INIT_KEYS_H
#define KEY_INIT_KEYS_H

#include "internal.h"
#include "role.h"

#include <time.h>

struct init_keys_place {
    const char *configuration;
    const char *state_folder; /* only one process at a time writes for an agent; NULL: there is none */
    config_checker check;
    time_t now;
};

enum status init_keys_add(const struct add_key *request, const struct init_keys_place *place,
                          struct error *err) MUST_CHECK;
/* `profiles`: those that went with the key, as strings to be freed (config.h). */
enum status init_keys_remove(const struct remove_key *request, const struct init_keys_place *place,
                             struct strings *profiles, struct error *err) MUST_CHECK;
enum status init_keys_switch(const struct switch_key *request, const struct init_keys_place *place,
                             struct error *err) MUST_CHECK;
void init_keys_free(struct strings *profiles);

#endif
