/* See state_folder.h. */
#include "state_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"

/* A new folder is there after a power failure only once its parent is on disk; where that fails, it is as good as it
   gets. */
static void sync_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return;
    *slash = '\0';
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '/';
    if (fd < 0)
        return;
    (void)fsync(fd);
    (void)close(fd);
}

static enum status make_folder(const char *path, struct error *err)
{
    char part[PATH_MAX];
    if (span_copy(span_text(path), part, sizeof(part)) != 0)
        return error_set(err, STATUS_STORE_FAILED, "choose a shorter state-folder",
                         "the state folder's path is too long");
    for (char *slash = part; (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
        *slash = '\0';
        if (mkdir(part, 0700) == 0)
            sync_parent(part);
        else if (errno != EEXIST)
            break; /* the last mkdir tells whether it matters */
    }
    if (mkdir(path, 0700) == 0)
        sync_parent(part);
    else if (errno != EEXIST)
        return error_set(err, STATUS_STORE_FAILED,
                         "make it, owned by the agent's user, with mode 0700; or set state-folder",
                         "cannot make the state folder %s: %s", path, strerror(errno));
    return STATUS_OK;
}

static enum status check_folder(int fd, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(err, STATUS_STORE_FAILED, NULL, "cannot look at the state folder %s: %s", path,
                         strerror(errno));
    if (st.st_uid != geteuid())
        return error_set(err, STATUS_STORE_FAILED,
                         "chown it to the user that the agent runs as, or set another state-folder",
                         "the state folder %s belongs to uid %u, not to the agent's uid %u", path, (unsigned int)st.st_uid,
                         (unsigned int)geteuid());
    if (st.st_mode & 077)
        return error_set(err, STATUS_STORE_FAILED, "find out who has used it, then chmod 700 it",
                         "others may access the state folder %s (mode %04o)", path, (unsigned int)(st.st_mode & 07777));
    return STATUS_OK;
}

static enum status lock_folder(int fd, const char *path, int *out, struct error *err)
{
    int lock = openat(fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (lock < 0)
        return error_set(err, STATUS_STORE_FAILED, "make the state folder writable and see to free space",
                         "cannot open %s/%s: %s", path, LOCK_NAME, strerror(errno));
    if (flock(lock, LOCK_EX | LOCK_NB) == 0) {
        *out = lock;
        return STATUS_OK;
    }
    int saved = errno;
    (void)close(lock);
    if (saved == EWOULDBLOCK)
        return error_set(err, STATUS_STORE_FAILED, "stop the other agent, or give this one a state-folder of its own",
                         "another dpop-agent uses the state folder %s", path);
    return error_set(err, STATUS_STORE_FAILED, "put the state folder on a local file system", "cannot lock %s/%s: %s",
                     path,
                     LOCK_NAME, strerror(saved));
}

enum status state_folder_open(const char *path, struct state_folder *out, struct error *err)
{
    int lock = -1;
    enum status status = make_folder(path, err);
    if (status != STATUS_OK)
        return status;
    /* It may be a symbolic link: systemd's DynamicUser= makes it one. */
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, STATUS_STORE_FAILED,
                         "make it a folder of the agent's user with mode 0700, or set state-folder",
                         "cannot open the state folder %s: %s", path, strerror(errno));
    status = check_folder(fd, path, err);
    if (status == STATUS_OK)
        status = lock_folder(fd, path, &lock, err);
    if (status != STATUS_OK) {
        (void)close(fd);
        return status;
    }
    *out = (struct state_folder){.fd = fd, .lock = lock};
    return STATUS_OK;
}

void state_folder_close(struct state_folder *folder)
{
    if (folder->fd < 0)
        return;
    (void)close(folder->lock);
    (void)close(folder->fd);
    *folder = (struct state_folder){.fd = -1, .lock = -1};
}
