/* See init_rewrite.h. */
#include "init_rewrite.h"

#include "ini.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool init_rewrite_valid_name(struct span name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    for (size_t i = 0; i < name.len; i++)
        if (memchr(allowed, name.data[i], sizeof(allowed) - 1) == NULL)
            return false;
    return name.len > 0 && name.len < LIMIT_CONFIG_NAME && name.data[0] != '.';
}

static enum status read_old(struct init_rewrite *r, struct error *err)
{
    enum status status = STATUS_OK;
    int fd = open(r->target, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &r->before) != 0)
        status = error_set(err, STATUS_CONFIGURATION, NULL, "cannot open %s: %s", r->target, strerror(errno));
    while (status == STATUS_OK) {
        uint8_t *room = buffer_room(&r->old, 4096);
        ssize_t n = room != NULL ? read(fd, room, 4096) : -1;
        if (room == NULL)
            status = error_set(err, STATUS_CONFIGURATION, "make it smaller", "%s has no room for more", r->target);
        else if (n > 0)
            buffer_added(&r->old, (size_t)n);
        else if (n == 0)
            break;
        else if (errno != EINTR)
            status = error_set(err, STATUS_CONFIGURATION, NULL, "cannot read %s: %s", r->target, strerror(errno));
    }
    if (fd >= 0)
        (void)close(fd);
    return status;
}

enum status init_rewrite_open(struct init_rewrite *r, const char *configuration, struct error *err)
{
    struct config *trusted = NULL;
    *r = (struct init_rewrite){.configuration = configuration, .target = realpath(configuration, NULL)};
    buffer_init(&r->old, CONFIG_MAX_FILE);
    buffer_init(&r->text, CONFIG_MAX_FILE);
    if (r->target == NULL)
        return error_set(err, errno == ENOENT ? STATUS_NOT_CONFIGURED : STATUS_CONFIGURATION,
                         errno == ENOENT ? "dpop init makes a first key and configuration" : NULL, "cannot find %s: %s",
                         configuration, strerror(errno));
    enum status status = read_old(r, err);
    if (status == STATUS_OK)
        status = config_read_file(r->target, &trusted, err); /* who owns it, who may write it */
    config_free(trusted);
    return status == STATUS_OK ? config_parse(buffer_span(&r->old), configuration, ROLE_SUPERVISOR, &r->parsed, err)
                               : status;
}

enum status init_rewrite_check(const struct init_rewrite *r, config_checker check, struct config **out,
                               struct error *err)
{
    struct config *after = NULL;
    if (r->text.failed)
        return error_set(err, STATUS_CONFIGURATION, "make it smaller", "%s has no room for more", r->target);
    enum status status = config_parse(buffer_span(&r->text), r->configuration, ROLE_SUPERVISOR, &after, err);
    if (status == STATUS_OK)
        status = check(after, err);
    if (status == STATUS_OK)
        *out = after;
    else
        config_free(after);
    return status;
}

/* Has somebody edited it since it was read? */
static bool changed(const struct init_rewrite *r)
{
    struct stat now;
    return stat(r->target, &now) != 0 || now.st_ino != r->before.st_ino || now.st_dev != r->before.st_dev ||
           now.st_size != r->before.st_size || now.st_mtim.tv_sec != r->before.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != r->before.st_mtim.tv_nsec;
}

static enum status fill(const struct init_rewrite *r, int fd, struct error *err)
{
    struct stat st;
    struct span text = buffer_span(&r->text);
    bool failed = fstat(fd, &st) != 0;
    for (size_t done = 0; done < text.len && !failed;) {
        ssize_t n = write(fd, text.data + done, text.len - done);
        failed = n < 0 && errno != EINTR;
        done += n > 0 ? (size_t)n : 0;
    }
    if (!failed && (st.st_uid != r->before.st_uid || st.st_gid != r->before.st_gid) &&
        fchown(fd, r->before.st_uid, r->before.st_gid) != 0)
        return error_set(err, STATUS_CONFIGURATION, "make the change by hand, or give the file to the agent's user",
                         "%s belongs to uid %u and gid %u, and the new file cannot: %s", r->target,
                         (unsigned int)r->before.st_uid, (unsigned int)r->before.st_gid, strerror(errno));
    if (failed || fchmod(fd, r->before.st_mode & 07777) != 0 || fsync(fd) != 0)
        return error_set(err, STATUS_STORE_FAILED, NULL, "cannot write beside %s: %s", r->target, strerror(errno));
    return STATUS_OK;
}

static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash != NULL ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0 || fsync(fd) != 0) /* it is in its place: to take back now what it names would break it */
        log_warning("cannot flush the folder of %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    free(folder);
}

enum status init_rewrite_replace(const struct init_rewrite *r, struct error *err)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", r->target) < 0)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        enum status status =
            error_set(err, STATUS_STORE_FAILED, "make the change by hand, or let the agent write there",
                      "cannot write beside %s: %s", r->target, strerror(errno));
        free(temporary);
        return status;
    }
    enum status status = fill(r, fd, err);
    (void)close(fd);
    if (status == STATUS_OK && changed(r))
        status = error_set(err, STATUS_BUSY, "try again", "%s was changed meanwhile", r->target);
    if (status == STATUS_OK && rename(temporary, r->target) != 0)
        status = error_set(err, STATUS_STORE_FAILED, NULL, "cannot replace %s: %s", r->target, strerror(errno));
    if (status == STATUS_OK)
        sync_folder(r->target);
    else
        (void)unlink(temporary);
    free(temporary);
    return status;
}

void init_rewrite_close(struct init_rewrite *r)
{
    config_free(r->parsed);
    buffer_free(&r->old);
    buffer_free(&r->text);
    free(r->target);
    *r = (struct init_rewrite){.configuration = NULL};
}
