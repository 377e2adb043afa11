/* See descriptors.h. */
#include "descriptors.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void hold(struct descriptors *d, int fd)
{
    if (d->count < DESCRIPTORS_MAX)
        d->fds[d->count++] = fd;
    else
        (void)close(fd);
}

ssize_t descriptors_receive(int socket, void *room, size_t size, int flags, struct descriptors *d)
{
    union {
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {.iov_base = room, .iov_len = size};
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof(ancillary.bytes)};
    ssize_t n = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n;
    for (struct cmsghdr *m = CMSG_FIRSTHDR(&header); m != NULL; m = CMSG_NXTHDR(&header, m)) {
        bool rights = m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_RIGHTS;
        size_t bytes = rights ? m->cmsg_len - CMSG_LEN(0) : 0;
        for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(m) + at, sizeof(fd));
            hold(d, fd);
        }
    }
    return n;
}

int descriptors_take(struct descriptors *d)
{
    if (d->count == 0)
        return -1;
    int fd = d->fds[0];
    d->count--;
    memmove(d->fds, d->fds + 1, d->count * sizeof(int));
    return fd;
}

void descriptors_close(struct descriptors *d)
{
    while (d->count > 0)
        (void)close(d->fds[--d->count]);
}
