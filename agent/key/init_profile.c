/* See init_profile.h. */
#include "init_profile.h"

#include "config_option.h"
#include "ini.h"
#include "init_folder.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct work {
    const struct add_profile *request;
    const char *configuration; /* as the agent was told */
    char *target;              /* the file itself, where that is a symbolic link */
    char *name, *secret_file, *registration_file;
    struct stat before; /* of the target, when it was read */
    struct buffer text; /* the new configuration */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

/* It becomes a section's and a file's name. */
static bool valid_name(struct span name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    for (size_t i = 0; i < name.len; i++)
        if (memchr(allowed, name.data[i], sizeof(allowed) - 1) == NULL)
            return false;
    return name.len > 0 && name.len < LIMIT_CONFIG_NAME && name.data[0] != '.';
}

/* NAME.secret beside the configuration. */
static char *beside(const struct work *w, const char *suffix)
{
    const char *slash = strrchr(w->configuration, '/');
    char *path;
    int folder = slash != NULL ? (int)(slash - w->configuration) + 1 : 0;
    return asprintf(&path, "%.*s%s%s", folder, w->configuration, w->name, suffix) < 0 ? NULL : path;
}

static enum status make_names(struct work *w, struct error *err)
{
    if (!valid_name(w->request->name))
        return error_set(err, STATUS_INVALID_ARGUMENT, "use up to 63 letters, digits, '.', '_' and '-', no '.' in front",
                         "\"%.*s\" is no name for a profile here", (int)w->request->name.len,
                         (const char *)w->request->name.data);
    w->name = span_dup(w->request->name);
    if (w->name == NULL)
        return no_memory(err);
    w->target = realpath(w->configuration, NULL);
    if (w->target == NULL)
        return error_set(err, errno == ENOENT ? STATUS_NOT_CONFIGURED : STATUS_CONFIGURATION,
                         errno == ENOENT ? "dpop init makes a first key and configuration" : NULL, "cannot find %s: %s",
                         w->configuration, strerror(errno));
    w->secret_file = beside(w, ".secret");
    w->registration_file = beside(w, ".registration");
    return w->secret_file != NULL && w->registration_file != NULL ? STATUS_OK : no_memory(err);
}

static enum status read_text(struct work *w, struct error *err)
{
    enum status status = STATUS_OK;
    int fd = open(w->target, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &w->before) != 0)
        status = error_set(err, STATUS_CONFIGURATION, NULL, "cannot open %s: %s", w->target, strerror(errno));
    while (status == STATUS_OK) {
        uint8_t *room = buffer_room(&w->text, 4096);
        ssize_t n = room != NULL ? read(fd, room, 4096) : -1;
        if (room == NULL)
            status = error_set(err, STATUS_CONFIGURATION, "make it smaller", "%s has no room for another profile", w->target);
        else if (n > 0)
            buffer_added(&w->text, (size_t)n);
        else if (n == 0)
            break;
        else if (errno != EINTR)
            status = error_set(err, STATUS_CONFIGURATION, NULL, "cannot read %s: %s", w->target, strerror(errno));
    }
    if (fd >= 0)
        (void)close(fd);
    return status;
}

/* One line, one option, and none that would have the agent read or write a file of somebody's choice. */
static enum status check_option(struct span line, struct error *err)
{
    static const char *const paths[] = {"ca-file", "client-certificate-file"};
    char name[LIMIT_CONFIG_NAME];
    struct ini_reader reader = {.rest = line};
    struct ini_line parsed, second;
    const struct config_option *option = NULL;
    if (memchr(line.data, '\n', line.len) == NULL && ini_next(&reader, &parsed) && parsed.wrong == NULL &&
        parsed.option.data != NULL && !ini_next(&reader, &second) && span_copy(parsed.option, name, sizeof(name)) == 0)
        option = config_option_find("profile", name);
    bool taken = option != NULL && option->kind != KIND_PATH && strcmp(option->name, "client-secret-credential") != 0;
    for (size_t i = 0; option != NULL && i < sizeof(paths) / sizeof(paths[0]); i++)
        taken = taken || strcmp(option->name, paths[i]) == 0;
    if (taken)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "\"%.100s\" is no option that a new profile may have",
                     option != NULL ? option->name : "a line");
}

static void put_line(struct buffer *b, struct span line)
{
    buffer_put(b, line.data, line.len);
    buffer_put_text(b, "\n");
}

static enum status put_profile(struct work *w, struct error *err)
{
    struct span old = buffer_span(&w->text), line;
    size_t cursor = 0;
    enum status status = STATUS_OK;
    buffer_put_text(&w->text, old.len > 0 && old.data[old.len - 1] != '\n' ? "\n\n[profile " : "\n[profile ");
    buffer_put_text(&w->text, w->name);
    buffer_put_text(&w->text, "]\n");
    while (status == STATUS_OK && list_next(&w->request->options, &cursor, &line)) {
        status = check_option(line, err);
        if (status == STATUS_OK)
            put_line(&w->text, line);
    }
    if (w->request->client_secret.data != NULL) {
        buffer_put_text(&w->text, "client-secret-file = ");
        put_line(&w->text, span_text(w->secret_file));
    }
    if (status == STATUS_OK && w->text.failed)
        status = error_set(err, STATUS_CONFIGURATION, "make it smaller", "%s has no room for another profile", w->target);
    return status;
}

/* The old text, and then the new one, as the supervisor will see it. */
static enum status check_text(const struct work *w, struct span old, config_checker check, struct error *err)
{
    struct config *before = NULL, *after = NULL;
    enum status status = config_read_file(w->target, &before, err); /* who owns it, who may write it */
    config_free(before);
    before = NULL;
    if (status == STATUS_OK)
        status = config_parse(old, w->configuration, ROLE_SUPERVISOR, &before, err);
    if (status == STATUS_OK && config_profile(before, span_text(w->name)) != NULL)
        status = error_set(err, STATUS_EXISTS, "choose another name", "there is a [profile %s] already in %s", w->name,
                           w->configuration);
    if (status == STATUS_OK)
        status = config_parse(buffer_span(&w->text), w->configuration, ROLE_SUPERVISOR, &after, err);
    if (status == STATUS_OK && (after->profile_count != before->profile_count + 1 || after->key_count != before->key_count))
        status = error_set(err, STATUS_INTERNAL, NULL, "the new text has more than one new profile");
    if (status == STATUS_OK)
        status = check(after, err);
    config_free(before);
    config_free(after);
    return status;
}

static enum status write_secrets(const struct work *w, struct init_folder *f, struct error *err)
{
    enum status status = STATUS_OK;
    if (w->request->client_secret.data != NULL)
        status = init_folder_write(f, w->secret_file, w->request->client_secret, "client secret file", err);
    if (status == STATUS_OK && w->request->registration.data != NULL)
        status = init_folder_write(f, w->registration_file, w->request->registration, "registration file", err);
    return status;
}

/* Has somebody edited it since it was read? */
static bool changed(const struct work *w)
{
    struct stat now;
    return stat(w->target, &now) != 0 || now.st_ino != w->before.st_ino || now.st_dev != w->before.st_dev ||
           now.st_size != w->before.st_size || now.st_mtim.tv_sec != w->before.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != w->before.st_mtim.tv_nsec;
}

static enum status fill(const struct work *w, int fd, struct error *err)
{
    struct stat st;
    struct span text = buffer_span(&w->text);
    bool failed = fstat(fd, &st) != 0;
    for (size_t done = 0; done < text.len && !failed;) {
        ssize_t n = write(fd, text.data + done, text.len - done);
        failed = n < 0 && errno != EINTR;
        done += n > 0 ? (size_t)n : 0;
    }
    if (!failed && (st.st_uid != w->before.st_uid || st.st_gid != w->before.st_gid) &&
        fchown(fd, w->before.st_uid, w->before.st_gid) != 0)
        return error_set(err, STATUS_CONFIGURATION, "add the profile by hand, or give the file to the agent's user",
                         "%s belongs to uid %u and gid %u, and the new file cannot: %s", w->target,
                         (unsigned int)w->before.st_uid, (unsigned int)w->before.st_gid, strerror(errno));
    if (failed || fchmod(fd, w->before.st_mode & 07777) != 0 || fsync(fd) != 0)
        return error_set(err, STATUS_STORE_FAILED, NULL, "cannot write beside %s: %s", w->target, strerror(errno));
    return STATUS_OK;
}

static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash != NULL ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0 || fsync(fd) != 0) /* it is in its place: to take the secret back now would break it */
        log_warning("cannot flush the folder of %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    free(folder);
}

static enum status replace(const struct work *w, struct error *err)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", w->target) < 0)
        return no_memory(err);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        enum status status = error_set(err, STATUS_STORE_FAILED, "add the profile by hand, or let the agent write there",
                                       "cannot write beside %s: %s", w->target, strerror(errno));
        free(temporary);
        return status;
    }
    enum status status = fill(w, fd, err);
    (void)close(fd);
    if (status == STATUS_OK && changed(w))
        status = error_set(err, STATUS_BUSY, "try again", "%s was changed meanwhile", w->target);
    if (status == STATUS_OK && rename(temporary, w->target) != 0)
        status = error_set(err, STATUS_STORE_FAILED, NULL, "cannot replace %s: %s", w->target, strerror(errno));
    if (status == STATUS_OK)
        sync_folder(w->target);
    else
        (void)unlink(temporary);
    free(temporary);
    return status;
}

static enum status add(struct work *w, const char *state_folder, config_checker check, struct init_folder *f, struct error *err)
{
    enum status status = make_names(w, err);
    if (status == STATUS_OK && state_folder != NULL)
        status = init_folder_lock(f, state_folder, err);
    if (status == STATUS_OK)
        status = read_text(w, err);
    size_t old = buffer_span(&w->text).len;
    if (status == STATUS_OK)
        status = put_profile(w, err);
    if (status == STATUS_OK)
        status = check_text(w, span_of(buffer_span(&w->text).data, old), check, err);
    if (status == STATUS_OK)
        status = write_secrets(w, f, err);
    return status == STATUS_OK ? replace(w, err) : status;
}

enum status init_profile_add(const struct add_profile *request, const char *configuration, const char *state_folder,
                             config_checker check, struct init_profile *out, struct error *err)
{
    struct work w = {.request = request, .configuration = configuration};
    struct init_folder folder;
    buffer_init(&w.text, CONFIG_MAX_FILE);
    init_folder_open(&folder);
    enum status status = add(&w, state_folder, check, &folder, err);
    init_folder_close(&folder, status != STATUS_OK);
    buffer_free(&w.text);
    free(w.target);
    free(w.name);
    free(w.registration_file);
    if (status == STATUS_OK && request->client_secret.data != NULL)
        out->secret_file = w.secret_file;
    else
        free(w.secret_file);
    return status;
}

void init_profile_free(struct init_profile *p)
{
    free(p->secret_file);
    *p = (struct init_profile){NULL};
}
