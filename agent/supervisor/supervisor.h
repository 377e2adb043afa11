/*
 * The supervisor: the agent's first process. It owns the configuration file and the listening socket, starts the other
 * processes, starts them again when they end, and gives the front its ends of their channels. It reads no byte that a
 * client, a server or a token has sent: from the front come only child numbers to kill and three commands.
 *
 * Everything it starts is one family:
 *   - a child ends (crash, kill, its own exit): it is started again, at once if it had lived a while, else after a back-off
 *   - the front ends: nobody holds the other ends of the channels, so all children are replaced with it
 *   - SIGHUP, or the front asks for a reload and then for its use: the new configuration is read; if it is good, the whole
 *     family is replaced, and if the new one cannot be started, by one with the old configuration
 *   - SIGTERM, SIGINT: the front is told to end, the children follow, then the socket is removed
 */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include "error.h"

struct supervisor_options {
    const char *configuration; /* NULL: the default path */
    const char *socket;        /* NULL: systemd's, or the default path */
};

int supervisor_main(const struct supervisor_options *options); /* exit status */

#endif
