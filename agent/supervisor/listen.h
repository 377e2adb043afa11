/*
 * The listening socket: made by us with a lock file beside it, or handed over by systemd (LISTEN_FDS).
 *
 * The lock decides who owns the path: its holder may replace a stale socket, everybody else is refused. Only a socket is
 * ever replaced; any other file at the path is an error.
 */
#ifndef SUPERVISOR_LISTEN_H
#define SUPERVISOR_LISTEN_H

#include "error.h"

#include <sys/types.h>

struct listener {
    int fd;
    int lock_fd;   /* -1: the socket came from systemd */
    char *path;    /* of the socket; NULL: it came from systemd, which also removes it */
    dev_t device;  /* of the file that we made, so that we remove no other one */
    ino_t inode;
};

/* `shared`: other users may connect (mode 0660, group dpop-agent); else only we (0600). */
enum status listen_open(const char *path, bool shared, struct listener *out, struct error *err) MUST_CHECK;
/* Takes the one socket that systemd passed; `*taken` is false when it passed none. */
enum status listen_take(struct listener *out, bool *taken, struct error *err) MUST_CHECK;
enum status listen_share(const struct listener *l, bool shared, struct error *err) MUST_CHECK;
void listen_close(struct listener *l); /* removes our socket */

#endif
