/*
 * See x509.h. OpenSSL encodes names, extensions and what is to be signed; the signature comes from elsewhere, which its
 * signing functions do not foresee, so the outer SEQUENCE is written here.
 */
#include "x509.h"

#include "x509_subject.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define DER_INTEGER 0x02
#define DER_BIT_STRING 0x03
#define DER_SEQUENCE 0x30
#define NEXT_REPORT "report this: the key should not have been taken"
#define SIGNATURE_DER_MAX 128
#define YEAR_9999_ENDS 253402300799

/* OpenSSL's form of the key; NULL: not on the curve, or no memory. */
static EVP_PKEY *public_key(const struct jwk *key)
{
    /* SubjectPublicKeyInfo of an uncompressed P-256 point (RFC 5480), up to the coordinates. */
    static const uint8_t head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                   0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
    uint8_t der[sizeof(head) + 2 * JWK_COORDINATE_SIZE];
    const uint8_t *in = der;
    memcpy(der, head, sizeof(head));
    memcpy(der + sizeof(head), key->x, JWK_COORDINATE_SIZE);
    memcpy(der + sizeof(head) + JWK_COORDINATE_SIZE, key->y, JWK_COORDINATE_SIZE);
    return d2i_PUBKEY(NULL, &in, (long)sizeof(der));
}

/* Hands over DER that OpenSSL made; its length is not positive when that failed. */
static enum status put_der(struct buffer *tbs, uint8_t *der, int der_len, struct error *e)
{
    enum status status = STATUS_OK;
    if (der_len <= 0)
        status = error_set(e, STATUS_NO_MEMORY, NULL, "OpenSSL could not encode what is to be signed");
    else if (buffer_room(tbs, (size_t)der_len) == NULL)
        status = error_set(e, STATUS_NO_MEMORY, NULL, "no room for the %d bytes that are to be signed", der_len);
    else
        buffer_put(tbs, der, (size_t)der_len);
    OPENSSL_free(der);
    return status;
}

static enum status request_tbs(EVP_PKEY *public, X509_NAME *name, struct buffer *tbs, struct error *e)
{
    uint8_t *der = NULL;
    int der_len = -1;
    X509_REQ *request = X509_REQ_new();
    if (request != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_subject_name(request, name) == 1 && X509_REQ_set_pubkey(request, public) == 1)
        der_len = i2d_re_X509_REQ_tbs(request, &der);
    X509_REQ_free(request);
    return put_der(tbs, der, der_len, e);
}

static int add_extensions(X509 *certificate)
{
    static const struct {
        int nid;
        const char *value;
    } extensions[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage, "clientAuth"},
        {NID_subject_key_identifier, "hash"},
    };
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, extensions[i].nid, extensions[i].value);
        int added = extension != NULL ? X509_add_ext(certificate, extension, -1) : 0;
        X509_EXTENSION_free(extension);
        if (added != 1)
            return -1;
    }
    return 0;
}

/* Positive, never zero, of 16 bytes (RFC 5280 section 4.1.2.2). */
static int set_serial(X509 *certificate, const uint8_t random[X509_SERIAL_SIZE])
{
    uint8_t serial[X509_SERIAL_SIZE];
    memcpy(serial, random, sizeof(serial));
    serial[0] = (serial[0] & 0x3f) | 0x40;
    BIGNUM *number = BN_bin2bn(serial, sizeof(serial), NULL);
    bool ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok ? 0 : -1;
}

/* The signature's algorithm is part of what is signed; OpenSSL sets it only when it signs itself. */
static int set_algorithm(X509 *certificate)
{
    X509_ALGOR *algorithm = (X509_ALGOR *)X509_get0_tbs_sigalg(certificate);
    return X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_ecdsa_with_SHA256), V_ASN1_UNDEF, NULL) == 1 ? 0 : -1;
}

/* All of a certificate but its subject's key and name. */
struct validity {
    int64_t not_before, not_after;
    const uint8_t *serial;
};

static enum status certificate_tbs(EVP_PKEY *public, X509_NAME *name, const struct validity *v, struct buffer *tbs,
                                   struct error *e)
{
    uint8_t *der = NULL;
    int der_len = -1;
    X509 *certificate = X509_new();
    if (certificate != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 &&
        set_serial(certificate, v->serial) == 0 && set_algorithm(certificate) == 0 &&
        X509_set_issuer_name(certificate, name) == 1 && X509_set_subject_name(certificate, name) == 1 &&
        ASN1_TIME_set(X509_getm_notBefore(certificate), v->not_before) != NULL &&
        ASN1_TIME_set(X509_getm_notAfter(certificate), v->not_after) != NULL &&
        X509_set_pubkey(certificate, public) == 1 && add_extensions(certificate) == 0)
        der_len = i2d_re_X509_tbs(certificate, &der);
    X509_free(certificate);
    return put_der(tbs, der, der_len, e);
}

/* `v` NULL: a request. */
static enum status make_tbs(const struct jwk *key, const char *subject, const struct validity *v, struct buffer *tbs,
                            struct error *e)
{
    X509_NAME *name = NULL;
    EVP_PKEY *public = NULL;
    ERR_set_mark(); /* what is refused here leaves nothing in OpenSSL's error queue, which others read */
    enum status status = x509_subject(subject, &name, e);
    if (status != STATUS_OK)
        goto out;
    public = public_key(key);
    if (public == NULL)
        status = error_set(e, STATUS_INTERNAL, NEXT_REPORT, "the public key is no point of P-256");
    else
        status = v == NULL ? request_tbs(public, name, tbs, e) : certificate_tbs(public, name, v, tbs, e);
out:
    EVP_PKEY_free(public);
    X509_NAME_free(name);
    ERR_pop_to_mark();
    return status;
}

enum status x509_request_tbs(const struct jwk *key, const char *subject, struct buffer *tbs, struct error *e)
{
    return make_tbs(key, subject, NULL, tbs, e);
}

enum status x509_certificate_tbs(const struct jwk *key, const char *subject, int64_t not_before, int64_t not_after,
                                 const uint8_t serial[X509_SERIAL_SIZE], struct buffer *tbs, struct error *e)
{
    if (not_before < 0 || not_after <= not_before || not_after > YEAR_9999_ENDS)
        return error_set(e, STATUS_INVALID_ARGUMENT, "choose a number of days that ends before the year 10000",
                         "the certificate would not be valid at any time, or beyond the year 9999");
    return make_tbs(key, subject, &(struct validity){not_before, not_after, serial}, tbs, e);
}

int x509_digest(const struct buffer *tbs, uint8_t digest[JWK_DIGEST_SIZE])
{
    struct span bytes = buffer_span(tbs);
    return SHA256(bytes.data, bytes.len, digest) != NULL ? 0 : -1;
}

/* Tag and length of at most 65535 (X.690 section 8.1.3). */
static void put_der_head(struct buffer *out, uint8_t tag, size_t len)
{
    buffer_put(out, &tag, 1);
    if (len > 0xff)
        buffer_put(out, (const uint8_t[]){0x82, (uint8_t)(len >> 8), (uint8_t)len}, 3);
    else if (len > 0x7f)
        buffer_put(out, (const uint8_t[]){0x81, (uint8_t)len}, 2);
    else
        buffer_put(out, (const uint8_t[]){(uint8_t)len}, 1);
}

/* A positive INTEGER: without leading zeros, but for the one that keeps it positive. */
static void put_der_integer(struct buffer *out, const uint8_t *number, size_t len)
{
    while (len > 1 && number[0] == 0) {
        number++;
        len--;
    }
    bool sign = number[0] > 0x7f;
    put_der_head(out, DER_INTEGER, len + sign);
    buffer_put(out, "\0", sign);
    buffer_put(out, number, len);
}

/* SEQUENCE { r, s } (RFC 3279 section 2.2.3) */
static void put_der_signature(struct buffer *out, const uint8_t signature[JWK_SIGNATURE_SIZE])
{
    struct buffer numbers;
    buffer_init(&numbers, SIGNATURE_DER_MAX);
    put_der_integer(&numbers, signature, JWK_SIGNATURE_SIZE / 2);
    put_der_integer(&numbers, signature + JWK_SIGNATURE_SIZE / 2, JWK_SIGNATURE_SIZE / 2);
    out->failed |= numbers.failed;
    put_der_head(out, DER_SEQUENCE, numbers.len);
    buffer_put(out, buffer_span(&numbers).data, numbers.len);
    buffer_free(&numbers);
}

/* SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING }: a request and a certificate are alike in this. */
static void put_signed(struct buffer *out, struct span tbs, const uint8_t signature[JWK_SIGNATURE_SIZE])
{
    static const uint8_t ecdsa_with_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                                0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}; /* RFC 5758 section 3.2 */
    struct buffer der, content;
    buffer_init(&der, SIGNATURE_DER_MAX);
    buffer_init(&content, X509_TBS_MAX + 2 * SIGNATURE_DER_MAX);
    put_der_signature(&der, signature);
    buffer_put(&content, tbs.data, tbs.len);
    buffer_put(&content, ecdsa_with_sha256, sizeof(ecdsa_with_sha256));
    put_der_head(&content, DER_BIT_STRING, der.len + 1);
    buffer_put(&content, "\0", 1); /* no unused bits */
    buffer_put(&content, buffer_span(&der).data, der.len);
    out->failed |= der.failed || content.failed;
    put_der_head(out, DER_SEQUENCE, content.len);
    buffer_put(out, buffer_span(&content).data, content.len);
    buffer_free(&der);
    buffer_free(&content);
}

static char *to_pem(const char *name, struct span der)
{
    char *text = NULL, *pem = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL && PEM_write_bio(bio, name, "", der.data, (long)der.len) > 0) {
        long len = BIO_get_mem_data(bio, &text);
        pem = len > 0 ? span_dup(span_of(text, (size_t)len)) : NULL;
    }
    BIO_free(bio);
    return pem;
}

int x509_pem(const struct buffer *tbs, const uint8_t signature[JWK_SIGNATURE_SIZE], bool certificate, char **pem)
{
    struct buffer out;
    char *text = NULL;
    buffer_init(&out, X509_TBS_MAX + 4 * SIGNATURE_DER_MAX);
    put_signed(&out, buffer_span(tbs), signature);
    if (!out.failed)
        text = to_pem(certificate ? PEM_STRING_X509 : PEM_STRING_X509_REQ, buffer_span(&out));
    buffer_free(&out);
    if (text == NULL)
        return -1;
    *pem = text;
    return 0;
}
