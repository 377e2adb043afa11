/* See endpoint.h. */
#include "endpoint.h"

#include "deadline.h"
#include "failure.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NOBODY ((uid_t)-1)
#define LONGEST_PAUSE_MS 50
#define START_AN_AGENT "start one (dpop-agent), or name its socket with --socket or DPOP_AGENT_SOCKET"

bool endpoint_trusted(uid_t peer, uid_t ourselves, uid_t folder)
{
    return peer == ourselves || peer == 0 || (folder != NOBODY && peer == folder);
}

/* Owner of the system socket's folder, if it is a folder that nobody else can write to. */
static uid_t folder_owner(const char *path)
{
    struct stat st;
    if (strcmp(path, ENDPOINT_SYSTEM_SOCKET) != 0 || lstat(ENDPOINT_SYSTEM_FOLDER, &st) != 0)
        return NOBODY;
    return S_ISDIR(st.st_mode) && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0 ? st.st_uid : NOBODY;
}

static int check_peer(int fd, const char *path, struct dpop_error *err)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return failure_set(err, STATUS_AGENT_UNREACHABLE, NULL, "%s: the peer cannot be checked: %m", path);
    if (!endpoint_trusted(peer.uid, geteuid(), folder_owner(path)))
        return failure_set(err, STATUS_PEER_REFUSED, "find out who put it there; name the right socket with --socket",
                           "%s: refused: user %u listens there, who is neither you nor root", path,
                           (unsigned int)peer.uid);
    return DPOP_OK;
}

/* Connects; a full backlog (EAGAIN: there is nothing to poll for) is tried again until the deadline. -1: see errno. */
static int connect_until(int fd, const struct sockaddr_un *address, int64_t deadline)
{
    for (int pause = 1;; pause = pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS) {
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
            return 0;
        int left = deadline_left(deadline);
        if (errno == EAGAIN && left == 0)
            errno = ETIMEDOUT;
        if (errno != EAGAIN && errno != EINTR)
            return -1;
        (void)poll(NULL, 0, left < pause ? left : pause);
    }
}

/* What a connect that failed with `error` means for a caller who named this path. */
static int connect_failed(const char *path, int error, struct dpop_error *err)
{
    if (error == EACCES)
        return failure_set(err, STATUS_PEER_REFUSED,
                           "for the system's agent: join the group dpop-agent and log in again",
                           "%s: permission denied", path);
    if (error == ETIMEDOUT)
        return failure_set(err, STATUS_TIMEOUT, "the agent accepts no connections: look at its log",
                           "%s: the agent did not accept the connection in time", path);
    return failure_set(err, STATUS_AGENT_UNREACHABLE, START_AN_AGENT, "no agent at %s (%s)", path,
                       strerrordesc_np(error));
}

/* Tries one path. *nobody is errno when nothing answers there, which may be passed over; otherwise 0. */
static int try_path(const char *path, int64_t deadline, int *out, int *nobody, struct dpop_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *nobody = 0;
    if (strlen(path) >= sizeof(address.sun_path))
        return failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "the socket's path is longer than %zu bytes: %s",
                           sizeof(address.sun_path) - 1, path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failure_set(err, STATUS_INTERNAL, NULL, "no socket: %m");
    int status;
    if (connect_until(fd, &address, deadline) != 0) {
        int error = errno;
        if (error == ENOENT || error == ENOTDIR || error == ECONNREFUSED)
            *nobody = error;
        status = connect_failed(path, error, err);
    } else {
        status = check_peer(fd, path, err);
    }
    if (status == DPOP_OK)
        *out = fd;
    else
        (void)close(fd);
    return status;
}

static int try_usual_paths(int64_t deadline, int *fd, struct dpop_error *err)
{
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    char user[sizeof(((struct sockaddr_un *)NULL)->sun_path)] = "", tried[256] = "";
    int nobody, status;

    if (runtime != NULL && runtime[0] == '/') {
        int n = snprintf(user, sizeof(user), "%s/dpop-agent/socket", runtime);
        if (n < 0 || (size_t)n >= sizeof(user))
            return failure_set(err, STATUS_INVALID_ARGUMENT, "name the socket with --socket",
                               "XDG_RUNTIME_DIR is too long for a socket's path: %s", runtime);
        status = try_path(user, deadline, fd, &nobody, err);
        if (nobody == 0)
            return status;
        (void)snprintf(tried, sizeof(tried), "%s (%s), ", user, strerrordesc_np(nobody));
    }
    status = try_path(ENDPOINT_SYSTEM_SOCKET, deadline, fd, &nobody, err);
    if (nobody == 0)
        return status;
    return failure_set(err, STATUS_AGENT_UNREACHABLE, START_AN_AGENT, "no agent: tried %s%s (%s)", tried,
                       ENDPOINT_SYSTEM_SOCKET, strerrordesc_np(nobody));
}

int endpoint_open(const char *socket_path, int64_t deadline, int *fd, struct dpop_error *err)
{
    const char *path = socket_path;
    int nobody;
    if (path == NULL) {
        path = secure_getenv("DPOP_AGENT_SOCKET");
        if (path != NULL && path[0] == '\0')
            path = NULL;
    }
    if (path != NULL && path[0] == '\0')
        return failure_set(err, STATUS_INVALID_ARGUMENT, "give --socket PATH, or leave it out",
                           "the socket's path is empty");
    if (path == NULL)
        return try_usual_paths(deadline, fd, err);
    return try_path(path, deadline, fd, &nobody, err);
}
