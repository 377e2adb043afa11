/* See init_folder.h. */
#include "init_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void init_folder_open(struct init_folder *f)
{
    *f = (struct init_folder){.lock = -1};
}

static enum status note(struct init_folder *f, const char *path, struct error *err)
{
    char *copy = f->count < INIT_FOLDER_MAX_MADE ? strdup(path) : NULL;
    if (copy == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: too much to take back", path);
    f->made[f->count++] = copy;
    return STATUS_OK;
}

static bool was_before(const struct init_folder *f, const char *name)
{
    for (size_t i = 0; i < f->tokens_before_count; i++)
        if (strcmp(f->tokens_before[i], name) == 0)
            return true;
    return false;
}

/* Removes a file (the TPM's store), or the files in a folder, then the folder; a SoftHSM token is one level deep. */
static void remove_token(const char *path)
{
    DIR *dir = unlink(path) != 0 ? opendir(path) : NULL;
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL) {
        (void)closedir(dir);
        (void)rmdir(path);
    }
}

static void remove_new_tokens(const struct init_folder *f)
{
    DIR *dir = opendir(f->tokens);
    struct dirent *entry;
    char path[4096];
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int n = snprintf(path, sizeof(path), "%s/%s", f->tokens, entry->d_name);
        if (!was_before(f, entry->d_name) && n > 0 && (size_t)n < sizeof(path))
            remove_token(path);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

void init_folder_close(struct init_folder *f, bool undo)
{
    if (undo && f->tokens != NULL)
        remove_new_tokens(f);
    while (f->count > 0) {
        char *path = f->made[--f->count];
        if (undo)
            (void)remove(path); /* a folder that others have put something into stays */
        free(path);
    }
    for (size_t i = 0; i < f->tokens_before_count; i++)
        free(f->tokens_before[i]);
    free(f->tokens_before);
    free(f->tokens);
    if (f->lock >= 0)
        (void)close(f->lock);
    init_folder_open(f);
}

enum status init_folder_check_absent(const char *path, const char *what, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        return error_set(err, STATUS_EXISTS, "nothing was changed; move it away to start anew",
                         "there is a %s already: %s", what, path);
    if (errno != ENOENT && errno != ENOTDIR)
        return error_set(err, STATUS_STORE_FAILED, NULL, "%s %s: %s", what, path, strerror(errno));
    return STATUS_OK;
}

enum status init_folder_make(struct init_folder *f, const char *path, struct error *err)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return error_set(err, STATUS_EXISTS, "move it away", "%s is not a folder", path);
        return STATUS_OK;
    }
    enum status status = init_folder_make_parent(f, path, err);
    if (status != STATUS_OK)
        return status;
    if (mkdir(path, 0700) == 0)
        return note(f, path, err);
    if (errno == EEXIST) /* another process was faster: it is not ours to take back */
        return STATUS_OK;
    return error_set(err, STATUS_STORE_FAILED, NULL, "cannot make the folder %s: %s", path, strerror(errno));
}

enum status init_folder_make_parent(struct init_folder *f, const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return STATUS_OK;
    char *parent = strndup(path, (size_t)(slash - path));
    if (parent == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", path);
    enum status status = init_folder_make(f, parent, err);
    free(parent);
    return status;
}

enum status init_folder_lock(struct init_folder *f, const char *path, struct error *err)
{
    f->lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->lock < 0)
        return error_set(err, STATUS_STORE_FAILED, NULL, "state folder %s: %s", path, strerror(errno));
    if (flock(f->lock, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, STATUS_BUSY, "wait for it", "another init works in %s", path);
    return STATUS_OK;
}

static int write_all(int fd, struct span content)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.data, content.len);
        if (n < 0 && errno != EINTR)
            return -1;
        content = n > 0 ? span_of(content.data + n, content.len - (size_t)n) : content;
    }
    return fsync(fd);
}

static int sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = parent != NULL ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int r = fd >= 0 ? fsync(fd) : -1;
    if (fd >= 0)
        (void)close(fd);
    free(parent);
    return r;
}

enum status init_folder_write(struct init_folder *f, const char *path, struct span content, const char *what,
                              struct error *err)
{
    char *temporary = NULL;
    int fd = -1, error = 0;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", path);
    fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        error = errno;
    } else {
        if (write_all(fd, content) != 0 || link(temporary, path) != 0)
            error = errno;
        (void)close(fd);
        (void)unlink(temporary);
    }
    free(temporary);
    if (error == EEXIST)
        return init_folder_check_absent(path, what, err);
    if (error != 0)
        return error_set(err, STATUS_STORE_FAILED, NULL, "cannot write the %s %s: %s", what, path, strerror(error));
    enum status status = note(f, path, err);
    if (status != STATUS_OK) {
        (void)unlink(path);
        return status;
    }
    if (sync_parent(path) != 0)
        return error_set(err, STATUS_STORE_FAILED, NULL, "cannot flush the folder of %s: %s", path, strerror(errno));
    return STATUS_OK;
}

enum status init_folder_write_same(struct init_folder *f, const char *path, struct span content, const char *what,
                                   struct error *err)
{
    char there[1024];
    enum status status = init_folder_write(f, path, content, what, err);
    if (status != STATUS_EXISTS)
        return status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, there, sizeof(there)) : -1;
    if (fd >= 0)
        (void)close(fd);
    return n >= 0 && span_equal(span_of(there, (size_t)n), content) ? STATUS_OK : status;
}

enum status init_folder_watch_tokens(struct init_folder *f, const char *path, struct error *err)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    struct stat st;
    bool failed = false;
    if (dir == NULL || fstat(dirfd(dir), &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        if (dir != NULL)
            (void)closedir(dir);
        return error_set(err, STATUS_STORE_FAILED, "chown it to the agent's user and chmod 700 it",
                         "the token folder %s is not ours alone", path);
    }
    while (!failed && (entry = readdir(dir)) != NULL) {
        char **more = realloc(f->tokens_before, (f->tokens_before_count + 1) * sizeof(*more));
        if (more != NULL)
            f->tokens_before = more;
        char *name = more != NULL ? strdup(entry->d_name) : NULL;
        if (name != NULL)
            f->tokens_before[f->tokens_before_count++] = name;
        failed = name == NULL;
    }
    (void)closedir(dir);
    f->tokens = failed ? NULL : strdup(path);
    return f->tokens != NULL ? STATUS_OK
                             : error_set(err, STATUS_NO_MEMORY, NULL, "token folder %s: out of memory", path);
}

bool init_folder_had_tokens(const struct init_folder *f)
{
    for (size_t i = 0; i < f->tokens_before_count; i++)
        if (strcmp(f->tokens_before[i], ".") != 0 && strcmp(f->tokens_before[i], "..") != 0)
            return true;
    return false;
}
