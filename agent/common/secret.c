/* See secret.h. */
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_LIMIT 4096

static struct secret *allocate(size_t len)
{
    struct secret *s = malloc(sizeof(*s));
    if (s == NULL)
        return NULL;
    s->len = len;
    s->data = sodium_malloc(len + 1);
    if (s->data == NULL) {
        free(s);
        return NULL;
    }
    s->data[len] = '\0';
    return s;
}

struct secret *secret_new(struct span bytes)
{
    struct secret *s = allocate(bytes.len);
    if (s != NULL && bytes.len > 0)
        memcpy(s->data, bytes.data, bytes.len);
    return s;
}

void secret_free(struct secret *s)
{
    if (s == NULL)
        return;
    sodium_free(s->data);
    free(s);
}

struct span secret_span(const struct secret *s)
{
    return span_of(s->data, s->len);
}

static enum status credential_path(const char *credential, const char *what, char path[PATH_LIMIT], struct error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (folder == NULL)
        return error_set(err, STATUS_SECRET_UNREADABLE, "start the agent as a systemd service with LoadCredential=",
                         "%s: no credential \"%s\": systemd passed no credentials", what, credential);
    int n = snprintf(path, PATH_LIMIT, "%s/%s", folder, credential);
    if (n < 0 || n >= PATH_LIMIT || strchr(credential, '/') != NULL)
        return error_set(err, STATUS_SECRET_UNREADABLE, NULL, "%s: \"%s\" is no credential name", what, credential);
    return STATUS_OK;
}

/* Others may not read a file that holds a secret; systemd sees to its credentials itself. */
static enum status check_file(int fd, const char *path, const char *what, bool credential, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return error_set(err, STATUS_SECRET_UNREADABLE, "name a regular file", "%s: %s is not a regular file", what,
                         path);
    if (credential)
        return STATUS_OK;
    if (st.st_uid != geteuid())
        return error_set(err, STATUS_SECRET_UNREADABLE, "chown it to the user that the agent runs as",
                         "%s: %s belongs to uid %u, not to the agent's uid %u", what, path, (unsigned int)st.st_uid,
                         (unsigned int)geteuid());
    if (st.st_mode & 077)
        return error_set(err, STATUS_SECRET_UNREADABLE, "chmod 600 it", "%s: others may access %s (mode %04o)", what,
                         path, (unsigned int)(st.st_mode & 07777));
    return STATUS_OK;
}

static enum status read_all(int fd, const char *path, const char *what, size_t max, struct secret **out,
                            struct error *err)
{
    struct secret *s = allocate(max + 1); /* one more than allowed shows that a file is too long */
    size_t len = 0;
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", what);
    for (;;) {
        ssize_t n = read(fd, s->data + len, max + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            secret_free(s);
            return error_set(err, STATUS_SECRET_UNREADABLE, NULL, "%s: cannot read %s: %s", what, path,
                             strerror(errno));
        }
        len += (size_t)n;
        if (n == 0 || len > max)
            break;
    }
    bool too_long = len > max;
    if (!too_long && len > 0 && s->data[len - 1] == '\n')
        len--;
    if (too_long || len == 0) {
        secret_free(s);
        return error_set(err, STATUS_SECRET_UNREADABLE, NULL,
                         too_long ? "%s: %s is longer than %zu bytes" : "%s: %s is empty", what, path, max);
    }
    *out = secret_new(span_of(s->data, len));
    secret_free(s);
    return *out != NULL ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", what);
}

enum status secret_read(const char *file, const char *credential, const char *what, size_t max, struct secret **out,
                        struct error *err)
{
    char path[PATH_LIMIT];
    if (credential != NULL) {
        enum status status = credential_path(credential, what, path, err);
        if (status != STATUS_OK)
            return status;
        file = path;
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, STATUS_SECRET_UNREADABLE,
                         errno == ENOENT ? "make the file, or correct its path in the configuration"
                                         : "let the agent's user read it",
                         "%s: cannot open %s: %s", what, file, strerror(errno));
    enum status status = check_file(fd, file, what, credential != NULL, err);
    if (status == STATUS_OK)
        status = read_all(fd, file, what, max, out, err);
    (void)close(fd);
    return status;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* Until the end, or until `size` bytes are there; -1: errno. A regular file by position: others may have read from
   it. */
static ssize_t read_descriptor(int fd, bool regular, uint8_t *room, size_t size)
{
    int64_t deadline = now_ms() + SECRET_DESCRIPTOR_MS;
    size_t len = 0;
    while (len < size) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - now_ms();
        if (!regular && left <= 0)
            return errno = ETIMEDOUT, -1;
        if (!regular && poll(&p, 1, (int)left) <= 0)
            continue;
        ssize_t n = regular ? pread(fd, room + len, size - len, (off_t)len) : read(fd, room + len, size - len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -1;
        if (n == 0)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)len;
}

enum status secret_read_descriptor(int fd, const char *what, size_t max, bool line, struct secret **out,
                                   struct error *err)
{
    struct stat st;
    bool there = fstat(fd, &st) == 0, regular = there && S_ISREG(st.st_mode);
    int flags = there && (regular || S_ISFIFO(st.st_mode)) ? fcntl(fd, F_GETFL) : -1;
    if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "give the path of a file, or a pipe",
                         "the %s is neither a regular file nor a pipe that can be read", what);
    struct secret *s = allocate(max + 2); /* a newline, and one more shows that it is too long */
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", what);
    enum status status = STATUS_OK;
    ssize_t n = read_descriptor(fd, regular, s->data, s->len);
    size_t len = n > 0 ? (size_t)n : 0;
    len -= line && len > 0 && s->data[len - 1] == '\n' ? 1 : 0;
    if (n < 0)
        status = error_set(err, errno == ETIMEDOUT ? STATUS_TIMEOUT : STATUS_INVALID_ARGUMENT, NULL,
                           "cannot read the %s: %s", what, strerror(errno));
    else if (len > max)
        status = error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the %s is longer than %zu bytes", what, max);
    else if ((*out = secret_new(span_of(s->data, len))) == NULL)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", what);
    secret_free(s);
    return status;
}
