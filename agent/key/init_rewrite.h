/*
 * The configuration replaced by a new text, in one step: what the init process shares between new profiles
 * (init_profile.h) and changed keys (init_keys.h).
 *
 * The old text is read, the new one built in `text` and parsed and checked as a whole, and then the file is replaced by
 * one with the same owner and mode. Whoever is killed in between leaves the old configuration; whoever has edited it
 * meanwhile wins.
 */
#ifndef KEY_INIT_REWRITE_H
#define KEY_INIT_REWRITE_H

#include "config.h"
#include "role.h"

#include <sys/stat.h>

struct init_rewrite {
    const char *configuration; /* as the agent was told */
    char *target;              /* the file itself, where that is a symbolic link */
    struct stat before;        /* of the target, when it was read */
    struct buffer old, text;
    struct config *parsed; /* the old text */
};

/* It becomes a section's and a file's name. */
bool init_rewrite_valid_name(struct span name);

/* Reads and parses the old text. To be closed after a failure, too. */
enum status init_rewrite_open(struct init_rewrite *r, const char *configuration, struct error *err) MUST_CHECK;
/* The new text, as the supervisor will see it. The caller frees *out. */
enum status init_rewrite_check(const struct init_rewrite *r, config_checker check, struct config **out,
                               struct error *err) MUST_CHECK;
enum status init_rewrite_replace(const struct init_rewrite *r, struct error *err) MUST_CHECK;
void init_rewrite_close(struct init_rewrite *r);

#endif
