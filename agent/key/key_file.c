/* See key_file.h. */
#include "key_file.h"

#include "key_der.h"
#include "key_jwk.h"
#include "key_password.h"
#include "key_pem.h"
#include "key_pkcs12.h"
#include "messages.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <sodium.h>
#include <string.h>

#define STACK_WIPED 65536 /* deeper than OpenSSL and jansson go */
#define NEXT_FILE "give a private key as PEM, DER, PKCS#12 or JWK"

/* ---- recognition ---- */

static const struct {
    struct span begin;
    const char *what, *next;
} others[] = {
    {{(const uint8_t *)"PuTTY-User-Key-File", 19}, "a PuTTY key",
     "convert it: puttygen FILE -O private-openssh -o NEW; ssh-keygen -p -m PKCS8 -f NEW"},
    {{(const uint8_t *)"\xfe\xed\xfe\xed", 4}, "a Java keystore (JKS)",
     "convert it: keytool -importkeystore -srckeystore FILE -destkeystore NEW -deststoretype pkcs12"},
    {{(const uint8_t *)"\xce\xce\xce\xce", 4}, "a Java keystore (JCEKS)",
     "convert it: keytool -importkeystore -srckeystore FILE -destkeystore NEW -deststoretype pkcs12"},
    {{(const uint8_t *)"ssh-", 4}, "an SSH public key", NEXT_FILE},
    {{(const uint8_t *)"ecdsa-sha2-", 11}, "an SSH public key", NEXT_FILE},
};

static enum status refuse_unknown(struct span file, struct error *err)
{
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (file.len >= others[i].begin.len && memcmp(file.data, others[i].begin.data, others[i].begin.len) == 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, others[i].next, "the file is %s", others[i].what);
    return error_set(err, STATUS_INVALID_ARGUMENT, NEXT_FILE, "the file is no private key of a kind that is known");
}

static enum status read_der(struct span der, const struct secret *password, struct private_key *out, struct error *err)
{
    switch (key_der_recognise(der)) {
    case KEY_DER_SEC1:
        return key_der_sec1(der, out, err);
    case KEY_DER_PKCS8:
        return key_der_pkcs8(der, out, err);
    case KEY_DER_ENCRYPTED:
        return key_der_encrypted(der, password, out, err);
    case KEY_DER_PKCS12:
        return key_pkcs12_read(der, password, out, err);
    case KEY_DER_RSA:
        return private_key_other("of the type", "RSA", err);
    case KEY_DER_PUBLIC:
        return key_der_public_only(err);
    case KEY_DER_CERTIFICATE:
        return key_der_certificate_only(err);
    default:
        return refuse_unknown(der, err);
    }
}

static enum status read_any(struct span file, const struct secret *password, struct private_key *out, struct error *err)
{
    if (file.len >= 3 && memcmp(file.data, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
        file = span_of(file.data + 3, file.len - 3);
    if (file.len == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT_FILE, "the key file is empty");
    if (key_jwk_recognise(file))
        return key_jwk_read(file, out, err);
    if (key_pem_recognise(file))
        return key_pem_read(file, password, out, err);
    return read_der(file, password, out, err);
}

/* ---- OpenSSL's context ---- */

struct context {
    OSSL_LIB_CTX *own, *before;
    OSSL_PROVIDER *standard, *legacy; /* legacy: NULL where it is not installed */
};

static void leave(struct context *c)
{
    ERR_clear_error();
    if (c->before != NULL)
        (void)OSSL_LIB_CTX_set0_default(c->before);
    if (c->legacy != NULL)
        (void)OSSL_PROVIDER_unload(c->legacy);
    if (c->standard != NULL)
        (void)OSSL_PROVIDER_unload(c->standard);
    OSSL_LIB_CTX_free(c->own);
}

static int enter(struct context *c)
{
    *c = (struct context){.own = OSSL_LIB_CTX_new()};
    if (c->own != NULL)
        c->standard = OSSL_PROVIDER_load(c->own, "default");
    if (c->standard != NULL) {
        c->legacy = OSSL_PROVIDER_load(c->own, "legacy");
        c->before = OSSL_LIB_CTX_set0_default(c->own);
    }
    ERR_clear_error();
    if (c->before != NULL)
        return 0;
    leave(c);
    return -1;
}

enum status key_file_read(const struct secret *file, const struct secret *password, struct private_key *out,
                          struct error *err)
{
    struct context context;
    if (password != NULL && password->len > KEY_PASSWORD_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the key file's password is longer than %d bytes",
                         KEY_PASSWORD_MAX);
    if (enter(&context) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "OpenSSL gives no library context");
    enum status status = read_any(secret_span(file), password, out, err);
    leave(&context);
    sodium_stackzero(STACK_WIPED);
    return status;
}

/* ---- descriptors ---- */

enum status key_file_load(int fd, struct secret **out, struct error *err)
{
    return secret_read_descriptor(fd, "key file", LIMIT_KEY_FILE, false, out, err);
}

enum status key_file_load_password(int fd, struct secret **out, struct error *err)
{
    return secret_read_descriptor(fd, "key file's password", KEY_PASSWORD_MAX, true, out, err);
}
