/* See key_file.h. */
#include "key_file.h"

#include "key_der.h"
#include "key_jwk.h"
#include "key_password.h"
#include "key_pem.h"
#include "key_pkcs12.h"
#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <poll.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

/* Reads until the end or until `size` bytes are there; -1: errno. A file from its begin, wherever others read. */
static ssize_t read_regular(int fd, uint8_t *room, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = pread(fd, room + len, size - len, (off_t)len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

static int64_t milliseconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* The same from a pipe, whose other end is a program that may do anything; -1 with ETIMEDOUT when it does nothing. */
static ssize_t read_pipe(int fd, uint8_t *room, size_t size)
{
    int64_t end = milliseconds() + KEY_FILE_SECONDS * 1000;
    size_t len = 0;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return -1;
    while (len < size) {
        ssize_t n = read(fd, room + len, size - len);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = end - milliseconds();
        if (n == 0)
            break;
        if (n > 0)
            len += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return -1;
        else if (left <= 0)
            return errno = ETIMEDOUT, -1;
        else if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
            return -1;
    }
    return (ssize_t)len;
}

/* At most `max` bytes; one more shows that there are too many. */
static enum status load(int fd, const char *what, size_t max, struct secret **out, struct error *err)
{
    struct stat st;
    struct secret room = {.len = max + 1};
    bool is_pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode), is_file = !is_pipe && S_ISREG(st.st_mode);
    if (!is_file && !is_pipe)
        return error_set(err, STATUS_INVALID_ARGUMENT, "give the path of a file, or a pipe",
                         "the %s is neither a regular file nor a pipe", what);
    room.data = sodium_malloc(room.len);
    if (room.data == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    enum status status = STATUS_OK;
    ssize_t n = is_pipe ? read_pipe(fd, room.data, room.len) : read_regular(fd, room.data, room.len);
    if (n < 0)
        status = error_set(err, errno == ETIMEDOUT ? STATUS_TIMEOUT : STATUS_INVALID_ARGUMENT, NULL,
                           "cannot read the %s: %s", what, strerror(errno));
    else if ((size_t)n > max)
        status = error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the %s is longer than %zu bytes", what, max);
    else if ((*out = secret_new(span_of(room.data, (size_t)n))) == NULL)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    sodium_free(room.data);
    return status;
}

enum status key_file_load(int fd, struct secret **out, struct error *err)
{
    return load(fd, "key file", LIMIT_KEY_FILE, out, err);
}

enum status key_file_load_password(int fd, struct secret **out, struct error *err)
{
    struct secret *password = NULL;
    enum status status = load(fd, "key file's password", KEY_PASSWORD_MAX + 1, &password, err);
    if (status == STATUS_OK && password->len > 0 && password->data[password->len - 1] == '\n')
        password->data[--password->len] = '\0';
    if (status == STATUS_OK && password->len > KEY_PASSWORD_MAX)
        status = error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the key file's password is longer than %d bytes",
                           KEY_PASSWORD_MAX);
    if (status == STATUS_OK)
        *out = password;
    else
        secret_free(password);
    return status;
}
