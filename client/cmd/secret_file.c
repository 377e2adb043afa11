/* See secret_file.h. */
#include "secret_file.h"

#include "failure.h"
#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 4096
#define MOST (LIMIT_ACCESS_TOKEN + 2) /* with a line break */

static int read_all(int fd, struct buffer *out)
{
    for (;;) {
        uint8_t *room = buffer_room(out, CHUNK);
        if (room == NULL)
            return -1;
        ssize_t n = read(fd, room, CHUNK);
        if (n == 0)
            return 0;
        if (n > 0)
            buffer_added(out, (size_t)n);
        else if (errno != EINTR)
            return -1;
    }
}

int secret_file_open(const char *path, int *fd, struct stat *st, struct dpop_error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    *fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0 || fstat(*fd, st) != 0)
        return failure_set(err, STATUS_INVALID_ARGUMENT, SECRET_FILE_NEXT, "%s cannot be opened: %m", path);
    return DPOP_OK;
}

int secret_file_read(struct buffer *out, const char *path, struct dpop_error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return failure_set(err, STATUS_INVALID_ARGUMENT, SECRET_FILE_NEXT, "%s cannot be opened: %m", path);
    buffer_init(out, MOST + CHUNK + 1);
    int result = read_all(fd, out), error = errno;
    if (!is_stdin)
        (void)close(fd);
    while (out->len > 0 && strchr("\r\n", out->data[out->len - 1]) != NULL && out->data[out->len - 1] != '\0')
        out->len--;
    if (out->failed || out->len > LIMIT_ACCESS_TOKEN)
        result = failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s holds more than %d bytes", path,
                             LIMIT_ACCESS_TOKEN);
    else if (result != 0)
        result = failure_set(err, STATUS_INVALID_ARGUMENT, SECRET_FILE_NEXT, "%s cannot be read: %s", path,
                             strerror(error));
    else if (out->len == 0 || memchr(out->data, '\0', out->len) != NULL)
        result = failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s is empty, or holds a NUL byte", path);
    if (result != DPOP_OK)
        buffer_free(out);
    else
        buffer_put(out, "", 1);
    return result;
}
