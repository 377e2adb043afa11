/*
 * Starting one child: a fresh exec of our own binary with its descriptors at fixed numbers (channel.h), a small
 * environment, and nothing else inherited.
 */
#ifndef SUPERVISOR_SPAWN_H
#define SUPERVISOR_SPAWN_H

#include "config.h"

#include <sys/types.h>

struct spawn {
    enum role role;
    const char *name;         /* argument behind the role, for the role and for `ps`; NULL: none */
    int channel_fd;           /* becomes CHANNEL_FD */
    int listen_fd;            /* becomes LISTEN_FD; -1: none */
    struct span configuration; /* the slice, behind CONFIG_FD */
    uint64_t started;          /* when the agent was: for the front, which a reload replaces */
};

enum status spawn_child(const struct spawn *s, pid_t *pid, struct error *err) MUST_CHECK;
const char *spawn_role_name(enum role role);

#endif
