/*
 * Any bytes as a key file, with and without a password: no crash, and what comes out is a key whose public half
 * belongs to it.
 */
#include "key_file.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_file(const struct secret *file, const struct secret *password)
{
    struct private_key key = {0}, again = {0};
    struct error err = {0};
    enum status status = key_file_read(file, password, &key, &err);
    if (status != STATUS_OK && (key.d != NULL || err.message[0] == '\0' || err.status != status))
        abort();
    if (status == STATUS_OK && private_key_from_bytes(key.d, &key.jwk, &again, &err) != STATUS_OK)
        abort();
    private_key_free(&key);
    private_key_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (sodium_init() < 0)
        abort();
    struct secret *file = secret_new(span_of(data, size)), *password = secret_new(span_text("password"));
    if (file == NULL || password == NULL)
        abort();
    read_file(file, NULL);
    read_file(file, password);
    secret_free(file);
    secret_free(password);
    return 0;
}
