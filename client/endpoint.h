/*
 * Where the agent's socket is, and a connection to it whose other end is trusted.
 *
 * A path that was named (argument or $DPOP_AGENT_SOCKET) is the only one tried. Otherwise the user's socket is tried,
 * then the system's; one that does not exist or that nobody listens at is passed over, anything else is final: an
 * agent that is there and does not behave must not be bypassed silently.
 *
 * Whoever listens must be ourselves or root; at the system's path also the owner of its folder, which only root can
 * make (/run is root's). The kernel says who that is (SO_PEERCRED: the credentials at the time of listen()).
 */
#ifndef CLIENT_ENDPOINT_H
#define CLIENT_ENDPOINT_H

#include "dpop-agent.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ENDPOINT_SYSTEM_FOLDER "/run/dpop-agent"
#define ENDPOINT_SYSTEM_SOCKET ENDPOINT_SYSTEM_FOLDER "/socket"

/* A connected, non-blocking, close-on-exec socket in *fd; or a status. */
int endpoint_open(const char *socket, int64_t deadline, int *fd, struct dpop_error *err);

/* The rule of the peer check. `folder`: the owner of the system socket's folder, or (uid_t)-1 at any other path. */
bool endpoint_trusted(uid_t peer, uid_t ourselves, uid_t folder);

#endif
