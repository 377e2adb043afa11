/* See logins.h. */
#include "logins.h"

#include "durable_file.h"
#include "log.h"
#include "sealed_login.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4200
#define ASIDE_SIZE (SEALED_LOGIN_NAME_SIZE + 16)

enum status logins_load(const struct logins *l, const struct login_name *whose, uint8_t **record, size_t *len,
                        struct error *err)
{
    char name[SEALED_LOGIN_NAME_SIZE], path[PATH_SIZE];
    struct buffer file;
    bool absent = false;
    sealed_login_file_name(whose->profile, name);
    (void)snprintf(path, sizeof(path), "%s/%s", l->path, name);
    buffer_init(&file, SEALED_LOGIN_FILE_MAX);
    enum status status = durable_file_read(l->folder, l->path, name, &file, &absent, err);
    if (status == STATUS_OK && absent)
        *record = NULL;
    else if (status == STATUS_OK)
        status = sealed_login_open(l->key, whose, buffer_span(&file), path, record, len, err);
    buffer_free(&file);
    return status;
}

static void aside_name(const char *name, int number, char out[ASIDE_SIZE])
{
    (void)snprintf(out, ASIDE_SIZE, "%s.unreadable-%d", name, number);
}

/* The first free number; or, if none is free, the last, after the others have moved down over the oldest. */
static enum status set_aside(const struct logins *l, const char *name, struct error *err)
{
    char to[ASIDE_SIZE], from[ASIDE_SIZE];
    int number = 1;
    aside_name(name, number, to);
    while (number < LOGINS_UNREADABLE_MAX && faccessat(l->folder, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        aside_name(name, ++number, to);
    bool full = faccessat(l->folder, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    for (int i = 1; full && i < LOGINS_UNREADABLE_MAX; i++) {
        aside_name(name, i, to);
        aside_name(name, i + 1, from);
        if (renameat(l->folder, from, l->folder, to) != 0)
            break; /* the next rename then replaces the last one instead */
    }
    aside_name(name, number, to);
    if (renameat(l->folder, name, l->folder, to) != 0)
        return error_set(err, STATUS_STORE_FAILED, "make the state folder writable", "cannot rename %s/%s: %s", l->path,
                         name, strerror(errno));
    log_warning("%s/%s does not open with what is configured now; it is kept as %s", l->path, name, to);
    return STATUS_OK;
}

enum status logins_save(const struct logins *l, const struct login_name *whose, struct span record, struct error *err)
{
    char name[SEALED_LOGIN_NAME_SIZE];
    uint8_t nonce[SEALED_LOGIN_NONCE_SIZE];
    uint8_t *old = NULL;
    size_t old_len;
    struct buffer file;
    sealed_login_file_name(whose->profile, name);
    buffer_init(&file, SEALED_LOGIN_FILE_MAX);
    randombytes_buf(nonce, sizeof(nonce));
    enum status status = sealed_login_seal(l->key, whose, nonce, record, &file, err);
    if (status != STATUS_OK)
        goto out;
    status = logins_load(l, whose, &old, &old_len, err);
    sodium_free(old);
    if (status == STATUS_LOGIN_REQUIRED)
        status = set_aside(l, name, err);
    if (status == STATUS_OK)
        status = durable_file_write(l->folder, l->path, name, buffer_span(&file), err);
out:
    buffer_free(&file);
    return status;
}

enum status logins_delete(const struct logins *l, struct span profile, struct error *err)
{
    char name[SEALED_LOGIN_NAME_SIZE];
    sealed_login_file_name(profile, name);
    return durable_file_remove(l->folder, l->path, name, err);
}
