/*
 * A login record as it stands in its file: sealed with the data key, and bound to whose it is.
 *
 *   "dpop-agent login\n"
 *   uint16 version        1
 *   nonce                 24 random bytes, new with each write
 *   sealed record         XChaCha20-Poly1305-IETF: as long as the record, and 16 bytes more
 *
 * The associated data are the version, and profile, issuer, client_id and thumbprint, each with its length before it: a
 * record of one profile, or of the same profile with another client, issuer or key, does not open as another's. Nothing
 * here does I/O; what opens is in locked memory.
 */
#ifndef STORE_SEALED_LOGIN_H
#define STORE_SEALED_LOGIN_H

#include "internal.h"

#define SEALED_LOGIN_NONCE_SIZE 24
#define SEALED_LOGIN_RECORD_MAX (512 * 1024) /* more than any login_record has */
#define SEALED_LOGIN_FILE_MAX (SEALED_LOGIN_RECORD_MAX + 128)
#define SEALED_LOGIN_NAME_SIZE 40

/* The name of a profile's file: "login-" and 32 hex digits of BLAKE2b, since a profile's name is no good file name. */
void sealed_login_file_name(struct span profile, char out[SEALED_LOGIN_NAME_SIZE]);

enum status sealed_login_seal(const uint8_t key[DATA_KEY_SIZE], const struct login_name *whose,
                              const uint8_t nonce[SEALED_LOGIN_NONCE_SIZE], struct span record, struct buffer *out,
                              struct error *err) MUST_CHECK;

/* `path` names the file in errors. A file that does not open: STATUS_LOGIN_REQUIRED. `*record` (*len bytes) is the
   caller's, to be freed with sodium_free. */
enum status sealed_login_open(const uint8_t key[DATA_KEY_SIZE], const struct login_name *whose, struct span file,
                              const char *path, uint8_t **record, size_t *len, struct error *err) MUST_CHECK;

#endif
