/* See trace_files.h. */
#include "trace_files.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4200
#define NEXT_OTHER "correct trace-file in the profile, or its folder"

int trace_files_init(struct trace_files *t, const struct config *config)
{
    *t = (struct trace_files){.config = config, .failing = calloc(config->profile_count + 1, sizeof(bool))};
    return t->failing != NULL ? 0 : -1;
}

void trace_files_free(struct trace_files *t)
{
    free(t->failing);
    *t = (struct trace_files){0};
}

static enum status check(const char *path, const struct stat *st, struct error *err)
{
    if (!S_ISREG(st->st_mode))
        return error_set(err, STATUS_STORE_FAILED, NEXT_OTHER, "trace-file %s is not a regular file", path);
    if (st->st_uid != geteuid())
        return error_set(err, STATUS_STORE_FAILED, "move it away, or chown it to the user that the agent runs as",
                         "trace-file %s belongs to uid %u, not to the agent's uid %u", path, (unsigned int)st->st_uid,
                         (unsigned int)geteuid());
    if (st->st_mode & 077)
        return error_set(err, STATUS_STORE_FAILED, "chmod 600 it, or move it away",
                         "others may access trace-file %s (mode %04o)", path, (unsigned int)(st->st_mode & 07777));
    return STATUS_OK;
}

static enum status open_file(const char *path, int *out, off_t *size, struct error *err)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd < 0)
        return error_set(err, STATUS_STORE_FAILED, NEXT_OTHER, "cannot open trace-file %s: %s", path, strerror(errno));
    enum status status = STATUS_OK;
    if (fstat(fd, &st) != 0)
        status = error_set(err, STATUS_STORE_FAILED, NULL, "cannot look at trace-file %s: %s", path, strerror(errno));
    else
        status = check(path, &st, err);
    if (status != STATUS_OK) {
        (void)close(fd);
        return status;
    }
    *out = fd;
    *size = st.st_size;
    return STATUS_OK;
}

/* Puts what is full out of the way, and opens a new one. */
static enum status rotate(const char *path, int *fd, struct error *err)
{
    char old[PATH_SIZE];
    off_t size;
    int n = snprintf(old, sizeof(old), "%s.1", path);
    if (n < 0 || n >= (int)sizeof(old) || rename(path, old) != 0)
        return error_set(err, STATUS_STORE_FAILED, NEXT_OTHER, "trace-file %s is full and cannot be renamed: %s", path,
                         strerror(errno));
    (void)close(*fd);
    *fd = -1;
    return open_file(path, fd, &size, err);
}

static int append(int fd, struct span text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.data, text.len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            text = span_of(text.data + n, text.len - (size_t)n);
    }
    return 0;
}

static enum status write_file(const char *path, struct span text, struct error *err)
{
    int fd = -1;
    off_t size;
    enum status status = open_file(path, &fd, &size, err);
    if (status == STATUS_OK && size > 0 && (uint64_t)size + text.len > TRACE_FILES_MAX)
        status = rotate(path, &fd, err);
    if (status == STATUS_OK && append(fd, text) != 0)
        status = error_set(err, STATUS_STORE_FAILED, "see to free space", "cannot write trace-file %s: %s", path,
                           strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return status;
}

enum status trace_files_write(struct trace_files *t, struct span profile, struct span text, struct error *err)
{
    const struct profile_config *p = config_profile(t->config, profile);
    if (p == NULL || p->trace_file == NULL)
        return error_set(err, STATUS_UNKNOWN_PROFILE, NULL, "no profile \"%.*s\" with a trace-file", (int)profile.len,
                         (const char *)profile.data);
    bool *failing = &t->failing[p - t->config->profiles];
    enum status status = write_file(p->trace_file, text, err);
    if (status != STATUS_OK && !*failing)
        log_warning("profile \"%s\": %s%s%s", p->name, err->message, err->next[0] != '\0' ? "; " : "", err->next);
    *failing = status != STATUS_OK;
    return status;
}
