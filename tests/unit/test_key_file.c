/*
 * Key files: every form of key_files.c comes out as the same key, and everything else is refused with what it is. The
 * memory is searched in test_key_make.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <sodium.h>

#include "key_file.h"
#include "key_files.h"
#include "key_password.h"
#include "messages.h"
#include "wiping_heap.h"

#define PASSWORD "p\xc3\xa4ss word"

static EVP_PKEY *key; /* of all forms */
static uint8_t scalar[PRIVATE_KEY_SIZE];
static struct jwk point;

static void read_parts(EVP_PKEY *of, uint8_t d[32], struct jwk *jwk)
{
    BIGNUM *n[3] = {NULL};
    assert_int_equal(EVP_PKEY_get_bn_param(of, OSSL_PKEY_PARAM_PRIV_KEY, &n[0]), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(of, OSSL_PKEY_PARAM_EC_PUB_X, &n[1]), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(of, OSSL_PKEY_PARAM_EC_PUB_Y, &n[2]), 1);
    assert_int_equal(BN_bn2binpad(n[0], d, 32), 32);
    assert_int_equal(BN_bn2binpad(n[1], jwk->x, 32), 32);
    assert_int_equal(BN_bn2binpad(n[2], jwk->y, 32), 32);
    for (size_t i = 0; i < 3; i++)
        BN_free(n[i]);
}

static int make_the_key(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    assert_int_equal(wiping_heap_install(), 0);
    assert_true(key_files_load_legacy());
    key = key_files_generate("prime256v1");
    assert_non_null(key);
    read_parts(key, scalar, &point);
    return 0;
}

static int free_the_key(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

/* ---- reading ---- */

static enum status read_span(struct span bytes, const char *password, struct private_key *out, struct error *err)
{
    struct secret *file = secret_new(bytes), *p = password != NULL ? secret_new(span_text(password)) : NULL;
    assert_non_null(file);
    enum status status = key_file_read(file, p, out, err);
    secret_free(file);
    secret_free(p);
    return status;
}

static void assert_reads(const char *name, struct span bytes, const char *password)
{
    struct private_key k;
    struct error err;
    if (read_span(bytes, password, &k, &err) != STATUS_OK)
        fail_msg("%s: %s", name, err.message);
    assert_memory_equal(k.d, scalar, sizeof(scalar));
    assert_memory_equal(&k.jwk, &point, sizeof(point));
    private_key_free(&k);
}

/* Refused with this status, these words, and a next step. */
static void assert_refused(const char *name, struct span bytes, const char *password, enum status status,
                           const char *words)
{
    struct private_key k = {0};
    struct error err = {0};
    enum status seen = read_span(bytes, password, &k, &err);
    if (seen != status || strstr(err.message, words) == NULL || err.next[0] == '\0')
        fail_msg("%s: status %d, \"%s\", next \"%s\"; not status %d with \"%s\"", name, seen, err.message,
                 err.next, status, words);
    assert_null(k.d);
}

static struct buffer written(const struct key_form *form, EVP_PKEY *of)
{
    struct buffer b;
    buffer_init(&b, LIMIT_KEY_FILE);
    if (!key_files_write(form, of, PASSWORD, &b))
        fail_msg("%s cannot be written", form->name);
    return b;
}

static void every_form_gives_the_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < key_form_count; i++) {
        struct buffer b = written(&key_forms[i], key);
        if (!key_forms[i].encrypted)
            assert_reads(key_forms[i].name, buffer_span(&b), NULL);
        if (key_forms[i].encrypted || strstr(key_forms[i].name, "PKCS#12") == NULL)
            assert_reads(key_forms[i].name, buffer_span(&b), PASSWORD);
        buffer_free(&b);
    }
}

static void a_missing_and_a_wrong_password_are_told_apart(void **state)
{
    static const char *const wrong[] = {"", "wrong", PASSWORD "x", "p"};
    (void)state;
    for (size_t i = 0; i < key_form_count; i++) {
        struct buffer b = written(&key_forms[i], key);
        if (key_forms[i].encrypted) {
            assert_refused(key_forms[i].name, buffer_span(&b), NULL, STATUS_SECRET_UNREADABLE,
                           "the key file is encrypted");
            for (size_t w = 0; w < sizeof(wrong) / sizeof(wrong[0]); w++)
                assert_refused(key_forms[i].name, buffer_span(&b), wrong[w], STATUS_INVALID_ARGUMENT,
                               "the password does not open the key file");
        }
        buffer_free(&b);
    }
}

static void an_old_cipher_without_the_legacy_provider_is_named(void **state)
{
    (void)state;
    assert_int_equal(setenv("OPENSSL_MODULES", "/nowhere", 1), 0);
    for (size_t i = 0; i < key_form_count; i++) {
        struct buffer b = written(&key_forms[i], key);
        if (key_forms[i].legacy_to_read)
            assert_refused(key_forms[i].name, buffer_span(&b), PASSWORD, STATUS_INVALID_ARGUMENT, "legacy provider");
        else
            assert_reads(key_forms[i].name, buffer_span(&b), key_forms[i].encrypted ? PASSWORD : NULL);
        buffer_free(&b);
    }
    assert_int_equal(unsetenv("OPENSSL_MODULES"), 0);
}

static void no_part_of_a_file_is_taken_for_a_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < key_form_count; i++) {
        struct buffer b = written(&key_forms[i], key);
        struct span all = buffer_span(&b);
        for (size_t len = 0; len < all.len; len += len < 64 || len + 64 > all.len ? 1 : 61) {
            struct private_key k = {0};
            struct error err;
            /* What ends with a newline more or a certificate less is the same key. */
            if (read_span(span_of(all.data, len), PASSWORD, &k, &err) == STATUS_OK)
                assert_memory_equal(k.d, scalar, sizeof(scalar));
            private_key_free(&k);
        }
        buffer_free(&b);
    }
}

/* ---- other keys ---- */

static void keys_of_other_kinds_are_named(void **state)
{
    static const struct {
        const char *type, *curve, *words;
    } others[] = {{"EC", "P-384", "on the curve secp384r1"},   {"EC", "P-521", "on the curve secp521r1"},
                  {"EC", "secp256k1", "on the curve secp256k1"}, {"RSA", NULL, "rsaEncryption"},
                  {"ED25519", NULL, "ED25519"},                 {"X25519", NULL, "X25519"}};
    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        EVP_PKEY *other = others[i].curve != NULL ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", others[i].curve)
                          : strcmp(others[i].type, "RSA") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                                                               : EVP_PKEY_Q_keygen(NULL, NULL, others[i].type);
        assert_non_null(other);
        for (size_t f = 0; f < key_form_count; f++) {
            const char *name = key_forms[f].name;
            bool traditional = strncmp(name, "SEC1", 4) == 0, jwk = strncmp(name, "JWK", 3) == 0;
            bool certificate = strstr(name, "PKCS#12") != NULL || strstr(name, "certif") != NULL;
            if (jwk || (others[i].curve == NULL && (certificate || traditional)))
                continue;
            struct buffer b = written(&key_forms[f], other);
            assert_refused(name, buffer_span(&b), key_forms[f].encrypted ? PASSWORD : NULL, STATUS_KEY_UNFIT,
                           others[i].words);
            buffer_free(&b);
        }
        EVP_PKEY_free(other);
    }
}

static void a_curve_that_is_written_out_is_refused(void **state)
{
    EVP_PKEY *other = key_files_generate("prime256v1");
    (void)state;
    assert_int_equal(EVP_PKEY_set_utf8_string_param(other, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"), 1);
    for (size_t f = 0; f < key_form_count; f++) {
        if (strncmp(key_forms[f].name, "JWK", 3) == 0)
            continue;
        struct buffer b = written(&key_forms[f], other);
        assert_refused(key_forms[f].name, buffer_span(&b), key_forms[f].encrypted ? PASSWORD : NULL, STATUS_KEY_UNFIT,
                       "parameters written out");
        buffer_free(&b);
    }
    EVP_PKEY_free(other);
}

/* SEC1 of any bytes: ECPrivateKey { 1, d, prime256v1, the public key if `xy` }. */
static struct span sec1_of(const uint8_t d[32], const struct jwk *xy, uint8_t out[128])
{
    static const uint8_t head[] = {0x30, 0, 2, 1, 1, 4, 32},
                         name[] = {0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7},
                         tail[] = {0xa1, 68, 3, 66, 0, 4};
    size_t len = sizeof(head) + 32;
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), d, 32);
    memcpy(out + len, name, sizeof(name));
    len += sizeof(name);
    if (xy != NULL) {
        memcpy(out + len, tail, sizeof(tail));
        memcpy(out + len + sizeof(tail), xy, 64);
        len += sizeof(tail) + 64;
    }
    out[1] = (uint8_t)(len - 2);
    return span_of(out, len);
}

static void the_scalar_is_in_range_and_the_public_key_belongs_to_it(void **state)
{
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                      0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    uint8_t d[32] = {0}, der[128];
    struct jwk other = point;
    (void)state;
    assert_reads("without a public key", sec1_of(scalar, NULL, der), NULL);
    assert_reads("with its public key", sec1_of(scalar, &point, der), NULL);
    assert_refused("d = n, not told", sec1_of(order, &point, der), NULL, STATUS_KEY_UNFIT, "no number from 1 to n - 1");
    memset(d, 0xff, sizeof(d));
    assert_refused("d over n", sec1_of(d, &point, der), NULL, STATUS_KEY_UNFIT, "no number from 1 to n - 1");
    memset(d, 0, sizeof(d));
    assert_refused("d = 0", sec1_of(d, &point, der), NULL, STATUS_KEY_UNFIT, "no number from 1 to n - 1");
    memcpy(d, order, sizeof(d));
    BIGNUM *n = BN_bin2bn(order, 32, NULL), *s = BN_bin2bn(scalar, 32, NULL);
    assert_int_equal(BN_sub(s, n, s), 1); /* n - d has the same x, and another y */
    assert_int_equal(BN_bn2binpad(s, d, 32), 32);
    assert_refused("of -d", sec1_of(d, &point, der), NULL, STATUS_KEY_UNFIT, "does not belong to the private key");
    BN_free(n);
    BN_clear_free(s);
    other.y[31] ^= 1;
    assert_refused("off the curve", sec1_of(scalar, &other, der), NULL, STATUS_INVALID_ARGUMENT, "damaged");
}

/* ---- what is no private key ---- */

static struct buffer public_pem(EVP_PKEY *of)
{
    struct buffer b;
    char *data;
    BIO *bio = BIO_new(BIO_s_mem());
    buffer_init(&b, LIMIT_KEY_FILE);
    assert_int_equal(PEM_write_bio_PUBKEY(bio, of), 1);
    long len = BIO_get_mem_data(bio, &data);
    buffer_put(&b, data, (size_t)len);
    BIO_free(bio);
    return b;
}

static const struct key_form *form_named(const char *name)
{
    for (size_t i = 0; i < key_form_count; i++)
        if (strcmp(key_forms[i].name, name) == 0)
            return &key_forms[i];
    fail_msg("no form %s", name);
    return NULL;
}

static void public_keys_and_certificates_alone_are_refused(void **state)
{
    uint8_t *der = NULL;
    (void)state;
    struct buffer b = public_pem(key);
    assert_refused("public PEM", buffer_span(&b), NULL, STATUS_INVALID_ARGUMENT, "a public key only");
    buffer_free(&b);
    int len = i2d_PUBKEY(key, &der);
    assert_true(len > 0);
    assert_refused("public DER", span_of(der, (size_t)len), NULL, STATUS_INVALID_ARGUMENT, "a public key only");
    OPENSSL_free(der);
    b = written(form_named("PKCS#8 PEM among certificates"), key);
    struct span all = buffer_span(&b);
    const uint8_t *at = memmem(all.data, all.len, "-----BEGIN PRIVATE", 18);
    assert_refused("certificate PEM", span_of(all.data, (size_t)(at - all.data)), NULL, STATUS_INVALID_ARGUMENT,
                   "a certificate, and no private key");
    BIO *bio = BIO_new_mem_buf(all.data, (int)all.len);
    X509 *c = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    der = NULL;
    len = i2d_X509(c, &der);
    assert_true(len > 0);
    assert_refused("certificate DER", span_of(der, (size_t)len), NULL, STATUS_INVALID_ARGUMENT,
                   "a certificate, and no private key");
    OPENSSL_free(der);
    X509_free(c);
    BIO_free(bio);
    buffer_free(&b);
}

static void foreign_files_are_refused_with_what_they_are(void **state)
{
    static const struct {
        const char *text, *words, *next;
    } files[] = {
        {"", "is empty", "give a private key"},
        {"\xef\xbb\xbf", "is empty", "give a private key"},
        {"hello", "no private key of a kind that is known", "PEM, DER, PKCS#12 or JWK"},
        {"0", "no private key of a kind", ""},
        {"0\x82", "no private key of a kind", ""},
        {"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "OpenSSH's own format",
         "ssh-keygen -p -m PKCS8"},
        {"PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n", "a PuTTY key", "puttygen"},
        {"ecdsa-sha2-nistp256 AAAA= me@here\n", "an SSH public key", ""},
        {"\xfe\xed\xfe\xed..", "Java keystore (JKS)", "keytool -importkeystore"},
        {"-----BEGIN PGP MESSAGE-----\nAAAA\n-----END PGP MESSAGE-----\n", "no private key, but \"PGP MESSAGE\"",
         "give a PEM"},
        {"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", "damaged", ""},
        {"-----BEGIN PRIVATE KEY-----\nAAAA\n", "damaged", ""},
        {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged", ""},
        {"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "damaged", ""},
        {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "damaged", ""},
        {"-----BEGIN \n", "the PEM file holds nothing", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct private_key k;
        struct error err;
        assert_refused(files[i].text, span_text(files[i].text), PASSWORD, STATUS_INVALID_ARGUMENT, files[i].words);
        assert_int_equal(read_span(span_text(files[i].text), NULL, &k, &err), STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.next, files[i].next));
    }
}

static void two_keys_and_what_follows_a_key_are_refused(void **state)
{
    (void)state;
    struct buffer b = written(form_named("PKCS#8 PEM"), key), second = written(form_named("SEC1 PEM"), key);
    buffer_put(&b, buffer_span(&second).data, second.len);
    assert_refused("two", buffer_span(&b), NULL, STATUS_INVALID_ARGUMENT, "more than one private key");
    buffer_free(&b);
    buffer_free(&second);
    static const char *const forms[] = {"SEC1 DER", "PKCS#8 DER", "PKCS#8 DER, AES-128", "PKCS#12"};
    for (size_t i = 0; i < 4; i++) {
        b = written(form_named(forms[i]), key);
        buffer_put(&b, "x", 1);
        assert_refused(forms[i], buffer_span(&b), PASSWORD, STATUS_INVALID_ARGUMENT, "damaged");
        buffer_free(&b);
    }
}

/* ---- JWK ---- */

#define XY "\"x\":\"%1$s\",\"y\":\"%2$s\""
#define D "\"d\":\"%3$s\""
#define EC "\"kty\":\"EC\",\"crv\":\"P-256\","

static void jwks_are_read_strictly(void **state)
{
    static const struct {
        const char *format;
        enum status status;
        const char *words;
    } files[] = {
        {"{" EC XY "," D "}", STATUS_OK, ""},
        {"{" EC XY "," D ",\"key_ops\":[\"sign\"],\"use\":\"sig\",\"unknown\":{}}", STATUS_OK, ""},
        {"{" EC XY "}", STATUS_INVALID_ARGUMENT, "a public key only"},
        {"{" EC XY "," D "," D "}", STATUS_INVALID_ARGUMENT, "a member twice"},
        {"{" EC XY "," D ",\"a\":{\"b\":1,\"b\":2}}", STATUS_INVALID_ARGUMENT, "a member twice"},
        {"{" EC XY "," D "}}", STATUS_INVALID_ARGUMENT, "no JSON"},
        {"{" EC XY "," D, STATUS_INVALID_ARGUMENT, "no JSON"},
        {"{" EC XY ",\"d\":\"%3$s=\"}", STATUS_INVALID_ARGUMENT, "\"d\" is not 32 bytes"},
        {"{" EC XY ",\"d\":\"AA\"}", STATUS_INVALID_ARGUMENT, "\"d\" is not 32 bytes"},
        {"{" EC XY ",\"d\":1}", STATUS_INVALID_ARGUMENT, "\"d\" is not 32 bytes"},
        {"{" EC "\"x\":\"%1$s\"," D "}", STATUS_INVALID_ARGUMENT, "\"y\" is not 32 bytes"},
        {"{" EC "\"x\":\"%2$s\",\"y\":\"%1$s\"," D "}", STATUS_KEY_UNFIT, "does not belong to the private key"},
        {"{" EC XY ",\"d\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", STATUS_KEY_UNFIT, "no number from 1"},
        {"{" EC XY "," D ",\"use\":\"enc\"}", STATUS_KEY_UNFIT, "\"use\" says so"},
        {"{" EC XY "," D ",\"key_ops\":[\"deriveKey\"]}", STATUS_KEY_UNFIT, "\"key_ops\" says so"},
        {"{" EC XY "," D ",\"key_ops\":7}", STATUS_KEY_UNFIT, "\"key_ops\" says so"},
        {"{" EC XY "," D ",\"alg\":\"ECDH-ES\"}", STATUS_KEY_UNFIT, "\"alg\" says so"},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\"," XY "," D "}", STATUS_KEY_UNFIT, "on the curve P-384"},
        {"{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\",\"d\":\"AQ\"}", STATUS_KEY_UNFIT, "of the type RSA"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," D "}", STATUS_KEY_UNFIT, "of the type OKP"},
        {"{\"keys\":[{" EC XY "," D "}]}", STATUS_INVALID_ARGUMENT, "a set of keys"},
        {"{\"ciphertext\":\"AA\",\"protected\":\"AA\"}", STATUS_INVALID_ARGUMENT, "an encrypted JWK"},
        {"{}", STATUS_INVALID_ARGUMENT, "no JWK: it has no \"kty\""},
    };
    char x[44], y[44], d[44], text[1024];
    (void)state;
    base64url_encode(point.x, 32, x);
    base64url_encode(point.y, 32, y);
    base64url_encode(scalar, 32, d);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(text, sizeof(text), files[i].format, x, y, d);
#pragma GCC diagnostic pop
        if (files[i].status == STATUS_OK)
            assert_reads(files[i].format, span_text(text), NULL);
        else
            assert_refused(files[i].format, span_text(text), NULL, files[i].status, files[i].words);
    }
}

/* ---- a password that would cost minutes ---- */

static void too_many_rounds_are_refused_at_once(void **state)
{
    static const char *const forms[] = {"PKCS#8 DER, AES-128", "PKCS#8 DER, 3DES", "PKCS#12", "PKCS#12 without a MAC"};
    (void)state;
    X509_ALGOR *algorithm =
        PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), KEY_PASSWORD_ROUNDS_MAX + 1, NULL, 0, NULL, NID_hmacWithSHA256);
    struct error err;
    assert_non_null(algorithm);
    assert_int_equal(key_password_check_rounds(algorithm, &err), STATUS_INVALID_ARGUMENT);
    X509_ALGOR_free(algorithm);
    algorithm = PKCS5_pbe_set(NID_pbe_WithSHA1And3_Key_TripleDES_CBC, KEY_PASSWORD_ROUNDS_MAX + 1, NULL, 8);
    assert_int_equal(key_password_check_rounds(algorithm, &err), STATUS_INVALID_ARGUMENT);
    X509_ALGOR_free(algorithm);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct buffer b = written(form_named(forms[i]), key);
        assert_reads(forms[i], buffer_span(&b), PASSWORD);
        buffer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_gives_the_key),
        cmocka_unit_test(a_missing_and_a_wrong_password_are_told_apart),
        cmocka_unit_test(an_old_cipher_without_the_legacy_provider_is_named),
        cmocka_unit_test(no_part_of_a_file_is_taken_for_a_key),
        cmocka_unit_test(keys_of_other_kinds_are_named),
        cmocka_unit_test(a_curve_that_is_written_out_is_refused),
        cmocka_unit_test(the_scalar_is_in_range_and_the_public_key_belongs_to_it),
        cmocka_unit_test(public_keys_and_certificates_alone_are_refused),
        cmocka_unit_test(foreign_files_are_refused_with_what_they_are),
        cmocka_unit_test(two_keys_and_what_follows_a_key_are_refused),
        cmocka_unit_test(jwks_are_read_strictly),
        cmocka_unit_test(too_many_rounds_are_refused_at_once),
    };
    return cmocka_run_group_tests(tests, make_the_key, free_the_key);
}
