/*
 * The login records in the state folder: one file for each profile, sealed (sealed_login.h) and durable
 * (durable_file.h).
 *
 * A record that does not open is never overwritten: the next save renames it to NAME.unreadable-1, -2 or -3 first,
 * since it is perhaps only the configuration or the token that is wrong now. Of more than three the oldest goes. A file
 * that cannot be read at all is an error, and is not touched.
 */
#ifndef STORE_LOGINS_H
#define STORE_LOGINS_H

#include "internal.h"

#define LOGINS_UNREADABLE_MAX 3

/* Where, and with which key. */
struct logins {
    int folder;
    const char *path; /* of the folder, for errors */
    const uint8_t *key;
};

/* `*record` NULL: there is none; else `*len` bytes, to be freed with sodium_free. One that does not open:
   STATUS_LOGIN_REQUIRED. */
enum status logins_load(const struct logins *l, const struct login_name *whose, uint8_t **record, size_t *len,
                        struct error *err) MUST_CHECK;
/* STATUS_OK means durable; after any failure the old record is there unchanged, if it opened. */
enum status logins_save(const struct logins *l, const struct login_name *whose, struct span record,
                        struct error *err) MUST_CHECK;
/* Overwritten and gone, durably; it need not have been there. Wants no key, and leaves what was set aside. */
enum status logins_delete(const struct logins *l, struct span profile, struct error *err) MUST_CHECK;

#endif
