/*
 * The password of a key file, and why a file does not open: none was given, it is wrong, the cipher is not to be had,
 * or the file would have us compute for minutes.
 */
#ifndef KEY_KEY_PASSWORD_H
#define KEY_KEY_PASSWORD_H

#include "secret.h"

#include <openssl/x509.h>

#define KEY_PASSWORD_MAX 1024
#define KEY_PASSWORD_ROUNDS_MAX 10000000 /* some seconds; OpenSSL writes 2048, careful people 1,000,000 */

enum status key_password_needed(struct error *err);
/* After an operation of OpenSSL failed with the password (NULL: none was given); empties OpenSSL's error queue. */
enum status key_password_failed(const struct secret *password, struct error *err);
enum status key_password_check_rounds(const X509_ALGOR *algorithm, struct error *err) MUST_CHECK;
enum status key_password_too_many_rounds(struct error *err);

#endif
