/*
 * A new profile for the configuration (INTERNAL_ADD_PROFILE, for `dpop register`): the existing text byte for byte, and
 * a section behind it; a client secret and what RFC 7592 needs in files of their own beside it.
 *
 * The configuration is replaced in one step, by a file with the same owner and mode, and last: it never names a secret
 * that is not there. The new text has been parsed and checked as a whole before. Whatever fails takes back what was
 * made, and whoever is killed in between leaves the old configuration.
 */
#ifndef KEY_INIT_PROFILE_H
#define KEY_INIT_PROFILE_H

#include "internal.h"
#include "role.h"

struct init_profile {
    char *secret_file; /* NULL: none was made */
};

/* `state_folder`: only one process at a time writes for an agent. */
enum status init_profile_add(const struct add_profile *request, const char *configuration, const char *state_folder,
                             config_checker check, struct init_profile *out, struct error *err) MUST_CHECK;
void init_profile_free(struct init_profile *p);

#endif
