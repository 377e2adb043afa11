/* See listen.h. */
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define DYING 1000 /* milliseconds that the processes of an agent that was just killed may take to be gone */
#define BACKLOG 1024
#define SHARED_GROUP "dpop-agent"

static enum status make_folder(const char *path, bool shared, struct error *err)
{
    char copy[PATH_MAX];
    struct stat st;
    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return error_set(err, STATUS_CONFIGURATION, NULL, "%.100s…: the path is too long", path);
    char *folder = dirname(copy);
    bool made = mkdir(folder, 0700) == 0;
    if ((made && shared && chmod(folder, 0755) != 0) || (!made && errno != EEXIST)) /* our umask is 077 */
        return error_set(err, STATUS_CONFIGURATION, "make the folder, or name another socket with --socket",
                         "cannot make the folder %s: %s", folder, strerror(errno));
    if (stat(folder, &st) != 0)
        return error_set(err, STATUS_CONFIGURATION, NULL, "cannot read the folder %s: %s", folder, strerror(errno));
    if ((st.st_uid != geteuid() && st.st_uid != 0) || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
        return error_set(err, STATUS_CONFIGURATION, "use a folder of mode 0700 that is yours",
                         "others may replace the socket: the folder %s belongs to uid %u and has mode %04o", folder,
                         (unsigned int)st.st_uid, (unsigned int)(st.st_mode & 07777));
    return STATUS_OK;
}

static enum status take_lock(const char *path, int *out, struct error *err)
{
    char lock[PATH_MAX];
    if (snprintf(lock, sizeof(lock), "%s.lock", path) >= (int)sizeof(lock))
        return error_set(err, STATUS_CONFIGURATION, NULL, "%.100s…: the path is too long", path);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(err, STATUS_CONFIGURATION, NULL, "cannot open %s: %s", lock, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return error_set(err, STATUS_EXISTS, "stop it first, or name another socket with --socket",
                         "another dpop-agent is already listening at %s", path);
    }
    *out = fd;
    return STATUS_OK;
}

/* Does somebody listen? -1: it cannot be found out. Who hangs up at once may be dying: then it is asked once more. */
static int is_answered(const struct sockaddr_un *address)
{
    bool hung_up = true;
    for (int i = 0; i < 2 && hung_up; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return -1;
        bool connected = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
        if (!connected && (errno == ECONNREFUSED || errno == ENOENT)) {
            (void)close(fd);
            return 0;
        }
        struct pollfd wait = {.fd = fd};
        hung_up = connected && poll(&wait, 1, DYING) == 1 && (wait.revents & POLLHUP);
        (void)close(fd);
    }
    return 1;
}

/* Removes what a dead agent has left. A socket that somebody answers at is not ours to remove. */
static enum status remove_stale(const struct sockaddr_un *address, struct error *err)
{
    struct stat st;
    const char *path = address->sun_path;
    if (lstat(path, &st) != 0)
        return STATUS_OK;
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, STATUS_EXISTS, "name another socket with --socket", "%s exists and is not a socket", path);
    int answered = is_answered(address);
    if (answered < 0)
        return error_set(err, STATUS_INTERNAL, NULL, "cannot make a socket: %s", strerror(errno));
    if (answered > 0)
        return error_set(err, STATUS_EXISTS, "stop it first, or name another socket with --socket",
                         "another program is already listening at %s", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return error_set(err, STATUS_CONFIGURATION, NULL, "cannot remove the stale socket %s: %s", path, strerror(errno));
    return STATUS_OK;
}

enum status listen_share(const struct listener *l, bool shared, struct error *err)
{
    if (l->path == NULL)
        return STATUS_OK; /* systemd's SocketMode and SocketGroup rule */
    const struct group *group = shared ? getgrnam(SHARED_GROUP) : NULL;
    if (group != NULL && chown(l->path, (uid_t)-1, group->gr_gid) != 0)
        return error_set(err, STATUS_CONFIGURATION, "add the agent's user to the group " SHARED_GROUP,
                         "cannot give %s to the group " SHARED_GROUP ": %s", l->path, strerror(errno));
    if (chmod(l->path, shared ? 0660 : 0600) != 0)
        return error_set(err, STATUS_CONFIGURATION, NULL, "cannot set the mode of %s: %s", l->path, strerror(errno));
    return STATUS_OK;
}

static enum status bind_socket(const struct sockaddr_un *address, struct listener *l, struct error *err)
{
    struct stat st;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t old = umask(0177);
    int r = l->fd < 0 ? -1 : bind(l->fd, (const struct sockaddr *)address, sizeof(*address));
    (void)umask(old);
    if (r != 0 || lstat(address->sun_path, &st) != 0 || listen(l->fd, BACKLOG) != 0)
        return error_set(err, STATUS_CONFIGURATION, NULL, "cannot listen at %s: %s", address->sun_path, strerror(errno));
    l->device = st.st_dev;
    l->inode = st.st_ino;
    l->path = strdup(address->sun_path);
    return l->path != NULL ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

enum status listen_open(const char *path, bool shared, struct listener *out, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct listener l = {.fd = -1, .lock_fd = -1};

    if (path[0] != '/' || strlen(path) >= sizeof(address.sun_path))
        return error_set(err, STATUS_CONFIGURATION, "name a shorter absolute path with --socket",
                         "%s: a socket's path must be absolute and shorter than %zu bytes", path, sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path));
    enum status status = make_folder(path, shared, err);
    if (status == STATUS_OK)
        status = take_lock(path, &l.lock_fd, err);
    if (status == STATUS_OK)
        status = remove_stale(&address, err);
    if (status == STATUS_OK)
        status = bind_socket(&address, &l, err);
    if (status == STATUS_OK)
        status = listen_share(&l, shared, err);
    if (status != STATUS_OK) {
        listen_close(&l);
        return status;
    }
    *out = l;
    return STATUS_OK;
}

enum status listen_take(struct listener *out, bool *taken, struct error *err)
{
    int n = sd_listen_fds(1);
    *taken = n > 0;
    if (n < 0)
        return error_set(err, STATUS_CONFIGURATION, NULL, "LISTEN_FDS cannot be read: %s", strerror(-n));
    if (n == 0)
        return STATUS_OK;
    if (n > 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
        return error_set(err, STATUS_CONFIGURATION, "use one ListenStream= in the socket unit",
                         "systemd passed %d descriptors, but exactly one listening Unix stream socket is wanted", n);
    /* Away from the low numbers, which the children's descriptors have for themselves. */
    int fd = fcntl(SD_LISTEN_FDS_START, F_DUPFD_CLOEXEC, 10);
    if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "cannot use the socket from systemd: %s", strerror(errno));
    (void)close(SD_LISTEN_FDS_START);
    *out = (struct listener){.fd = fd, .lock_fd = -1};
    return STATUS_OK;
}

void listen_close(struct listener *l)
{
    struct stat st;
    if (l->path != NULL && lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
        (void)unlink(l->path);
    /* The lock file stays: removing it would let two agents hold locks on two files of one name. */
    if (l->fd >= 0)
        (void)close(l->fd);
    if (l->lock_fd >= 0)
        (void)close(l->lock_fd);
    free(l->path);
    *l = (struct listener){.fd = -1, .lock_fd = -1};
}
