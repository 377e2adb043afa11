/* See durable_file.h. */
#include "durable_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE 65536
#define NAME_SIZE 128
#define NEXT_SPACE "make the state folder writable and see to free space; the agent then goes on by itself"

static enum status failed(const char *what, const char *folder_path, const char *name, struct error *err)
{
    return error_set(err, STATUS_STORE_FAILED, NEXT_SPACE, "cannot %s %s/%s: %s", what, folder_path, name,
                     strerror(errno));
}

static int write_all(int fd, struct span content)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.data, content.len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            content = span_of(content.data + n, content.len - (size_t)n);
    }
    return 0;
}

/* Writes and syncs the temporary file. NULL, or what could not be done (errno says why). */
static const char *write_temporary(int folder, const char *temporary, struct span content)
{
    const char *what = NULL;
    if (unlinkat(folder, temporary, 0) != 0 && errno != ENOENT)
        return "remove the old";
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return "make";
    if (fchmod(fd, 0600) != 0)
        what = "set the mode of";
    else if (write_all(fd, content) != 0)
        what = "write";
    else if (fsync(fd) != 0)
        what = "sync";
    int saved = errno;
    if (close(fd) != 0 && what == NULL)
        return "close";
    errno = saved;
    return what;
}

static enum status temporary_name(const char *name, char out[NAME_SIZE], struct error *err)
{
    int n = snprintf(out, NAME_SIZE, "%s.new", name);
    if (n < 0 || n >= NAME_SIZE)
        return error_set(err, STATUS_INTERNAL, NULL, "the file name %s is too long", name);
    return STATUS_OK;
}

enum status durable_file_write(int folder, const char *folder_path, const char *name, struct span content,
                               struct error *err)
{
    char temporary[NAME_SIZE];
    if (temporary_name(name, temporary, err) != STATUS_OK)
        return err->status;
    const char *what = write_temporary(folder, temporary, content);
    if (what == NULL && renameat(folder, temporary, folder, name) != 0)
        what = "rename";
    if (what != NULL) {
        enum status status = failed(what, folder_path, temporary, err);
        (void)unlinkat(folder, temporary, 0);
        return status;
    }
    /* Without this the rename itself may be undone by a power failure. */
    if (fsync(folder) != 0)
        return failed("sync the folder of", folder_path, name, err);
    return STATUS_OK;
}

static enum status check_file(int fd, const char *folder_path, const char *name, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return failed("look at", folder_path, name, err);
    if (!S_ISREG(st.st_mode))
        return error_set(err, STATUS_STORE_FAILED, "move it away", "%s/%s is not a regular file", folder_path, name);
    if (st.st_uid != geteuid())
        return error_set(err, STATUS_STORE_FAILED, "chown it to the user that the agent runs as",
                         "%s/%s belongs to uid %u, not to the agent's uid %u", folder_path, name, (unsigned int)st.st_uid,
                         (unsigned int)geteuid());
    if (st.st_mode & 077)
        return error_set(err, STATUS_STORE_FAILED, "find out who changed it, then chmod 600 it",
                         "others may access %s/%s (mode %04o)", folder_path, name, (unsigned int)(st.st_mode & 07777));
    return STATUS_OK;
}

static enum status read_all(int fd, const char *folder_path, const char *name, struct buffer *out, struct error *err)
{
    for (;;) {
        size_t left = out->max - out->len;
        size_t wanted = left < READ_SIZE ? left : READ_SIZE;
        uint8_t *room = wanted > 0 ? buffer_room(out, wanted) : NULL;
        if (room == NULL)
            return error_set(err, STATUS_STORE_FAILED, "move it away", "%s/%s has %zu bytes or more", folder_path,
                             name, out->max);
        ssize_t n = read(fd, room, wanted);
        if (n == 0)
            return STATUS_OK;
        if (n > 0)
            buffer_added(out, (size_t)n);
        else if (errno != EINTR)
            return failed("read", folder_path, name, err);
    }
}

enum status durable_file_read(int folder, const char *folder_path, const char *name, struct buffer *out, bool *absent,
                              struct error *err)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) {
        *absent = true;
        return STATUS_OK;
    }
    if (fd < 0)
        return failed("open", folder_path, name, err);
    enum status status = check_file(fd, folder_path, name, err);
    if (status == STATUS_OK)
        status = read_all(fd, folder_path, name, out, err);
    (void)close(fd);
    if (status == STATUS_OK)
        *absent = false;
    return status;
}

/* Zeros over the old content; file systems that write elsewhere keep it for a while all the same. */
static void overwrite(int folder, const char *name)
{
    static const uint8_t zeros[4096];
    struct stat st;
    int fd = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid()) {
        for (off_t left = st.st_size; left > 0; left -= (off_t)sizeof(zeros))
            if (write_all(fd, span_of(zeros, left < (off_t)sizeof(zeros) ? (size_t)left : sizeof(zeros))) != 0)
                break;
        (void)fsync(fd);
    }
    (void)close(fd);
}

enum status durable_file_remove(int folder, const char *folder_path, const char *name, struct error *err)
{
    char temporary[NAME_SIZE];
    if (temporary_name(name, temporary, err) != STATUS_OK)
        return err->status;
    overwrite(folder, name);
    if ((unlinkat(folder, name, 0) != 0 && errno != ENOENT) || (unlinkat(folder, temporary, 0) != 0 && errno != ENOENT))
        return failed("remove", folder_path, name, err);
    if (fsync(folder) != 0)
        return failed("sync the folder of", folder_path, name, err);
    return STATUS_OK;
}
