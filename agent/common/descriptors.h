/*
 * Descriptors that come over a socket (SCM_RIGHTS): held, in their order, until somebody takes them.
 *
 * What comes beyond DESCRIPTORS_MAX is closed at once.
 */
#ifndef AGENT_DESCRIPTORS_H
#define AGENT_DESCRIPTORS_H

#include "messages.h"

#include <sys/types.h>

#define DESCRIPTORS_MAX LIMIT_DESCRIPTORS

struct descriptors {
    int fds[DESCRIPTORS_MAX];
    size_t count;
};

/* recvmsg into `room`, and what comes besides into `d`, close-on-exec. `flags` as recvmsg's; result and errno, too. */
ssize_t descriptors_receive(int socket, void *room, size_t size, int flags, struct descriptors *d);
int descriptors_take(struct descriptors *d); /* the oldest; the caller's from now on. -1: none */
void descriptors_close(struct descriptors *d);

#endif
