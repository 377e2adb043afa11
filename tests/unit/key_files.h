/*
 * Key files in every form that there is, written with OpenSSL, for a key and a password of the test's. One table: a
 * new form is a new line of it.
 */
#ifndef TEST_KEY_FILES_H
#define TEST_KEY_FILES_H

#include "buffer.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

struct key_form {
    const char *name;
    bool encrypted; /* with the password; else it is not looked at */
    bool legacy;    /* needs OpenSSL's legacy provider to be written, */
    bool legacy_to_read; /* and to be read */
    int (*write)(BIO *out, EVP_PKEY *key, const char *password); /* 1: done, as OpenSSL counts */
};
extern const struct key_form key_forms[];
extern const size_t key_form_count;

/* Loads the default and the legacy provider into this process; false: the legacy one is not installed. */
bool key_files_load_legacy(void);
EVP_PKEY *key_files_generate(const char *curve); /* NULL: failed, as below */
X509 *key_files_certificate(EVP_PKEY *key);          /* self-signed */
bool key_files_write(const struct key_form *form, EVP_PKEY *key, const char *password, struct buffer *out);

#endif
