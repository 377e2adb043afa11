/*
 * A private key from the bytes of a file, recognised by its content: PEM, DER, PKCS#12 or a JWK, encrypted or not. Only
 * P-256 keys come out; everything else is refused with what it is and what to do.
 *
 * OpenSSL does the reading, in a library context of its own that has the legacy provider where that is installed, and
 * is gone with all that it held afterwards. What OpenSSL and jansson free is wiped where wiping_heap.h is installed,
 * as in the key process; the stack is wiped here.
 */
#ifndef KEY_KEY_FILE_H
#define KEY_KEY_FILE_H

#include "private_key.h"
#include "secret.h"

/* `password`: NULL when none was given. The caller frees the key (private_key_free). */
enum status key_file_read(const struct secret *file, const struct secret *password, struct private_key *out,
                          struct error *err) MUST_CHECK;

/* What a client passes as a descriptor (secret_read_descriptor): the file, of at most LIMIT_KEY_FILE bytes, and its
   password. */
enum status key_file_load(int fd, struct secret **out, struct error *err) MUST_CHECK;
enum status key_file_load_password(int fd, struct secret **out, struct error *err) MUST_CHECK;

#endif
