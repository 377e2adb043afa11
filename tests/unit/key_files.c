/* See key_files.h. */
#include "key_files.h"

#include "jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/x509.h>
#include <string.h>

X509 *key_files_certificate(EVP_PKEY *key)
{
    X509 *c = X509_new();
    X509_NAME *name = c != NULL ? X509_get_subject_name(c) : NULL;
    if (name == NULL || X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"test", -1, -1, 0) != 1 ||
        X509_set_issuer_name(c, name) != 1 || X509_gmtime_adj(X509_getm_notBefore(c), 0) == NULL ||
        X509_gmtime_adj(X509_getm_notAfter(c), 86400) == NULL || X509_set_pubkey(c, key) != 1 ||
        X509_sign(c, key, EVP_sha256()) == 0) {
        X509_free(c);
        return NULL;
    }
    return c;
}

/* ---- PEM ---- */

static int sec1_pem(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return PEM_write_bio_PrivateKey_traditional(out, key, NULL, NULL, 0, NULL, NULL);
}

static int sec1_pem_with_parameters(BIO *out, EVP_PKEY *key, const char *password)
{
    return PEM_write_bio_Parameters(out, key) == 1 && sec1_pem(out, key, password) == 1;
}

static int sec1_pem_with(BIO *out, EVP_PKEY *key, const EVP_CIPHER *cipher, const char *password)
{
    return PEM_write_bio_PrivateKey_traditional(out, key, cipher, (const uint8_t *)password, (int)strlen(password),
                                                NULL, NULL);
}

static int sec1_pem_aes(BIO *out, EVP_PKEY *key, const char *password)
{
    return sec1_pem_with(out, key, EVP_aes_256_cbc(), password);
}

static int sec1_pem_3des(BIO *out, EVP_PKEY *key, const char *password)
{
    return sec1_pem_with(out, key, EVP_des_ede3_cbc(), password);
}

static int sec1_pem_des(BIO *out, EVP_PKEY *key, const char *password)
{
    return sec1_pem_with(out, key, EVP_des_cbc(), password);
}

static int pkcs8_pem(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
}

static int encrypted_pem(BIO *out, EVP_PKEY *key, const char *password)
{
    return PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_256_cbc(), password, (int)strlen(password), NULL, NULL);
}

static int certificate_and_key_pem(BIO *out, EVP_PKEY *key, const char *password)
{
    X509 *c = key_files_certificate(key);
    int r = c != NULL && BIO_puts(out, "subject=CN = test\n\n") > 0 && PEM_write_bio_X509(out, c) == 1 &&
            pkcs8_pem(out, key, password) == 1 && PEM_write_bio_X509(out, c) == 1;
    X509_free(c);
    return r;
}

static int key_with_byte_order_mark(BIO *out, EVP_PKEY *key, const char *password)
{
    return BIO_puts(out, "\xef\xbb\xbf") == 3 && pkcs8_pem(out, key, password) == 1;
}

/* ---- DER ---- */

static int sec1_der(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return i2d_PrivateKey_bio(out, key);
}

static int pkcs8_der(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return i2d_PKCS8PrivateKeyInfo_bio(out, key);
}

static int encrypted_der(BIO *out, EVP_PKEY *key, const char *password)
{
    return i2d_PKCS8PrivateKey_bio(out, key, EVP_aes_128_cbc(), password, (int)strlen(password), NULL, NULL);
}

static int encrypted_der_with(BIO *out, EVP_PKEY *key, int nid, const char *password)
{
    return i2d_PKCS8PrivateKey_nid_bio(out, key, nid, password, (int)strlen(password), NULL, NULL);
}

static int encrypted_der_3des(BIO *out, EVP_PKEY *key, const char *password)
{
    return encrypted_der_with(out, key, NID_pbe_WithSHA1And3_Key_TripleDES_CBC, password);
}

static int encrypted_der_rc2(BIO *out, EVP_PKEY *key, const char *password)
{
    return encrypted_der_with(out, key, NID_pbe_WithSHA1And128BitRC2_CBC, password);
}

static int encrypted_der_md5_des(BIO *out, EVP_PKEY *key, const char *password)
{
    return encrypted_der_with(out, key, NID_pbeWithMD5AndDES_CBC, password);
}

static int encrypted_der_scrypt(BIO *out, EVP_PKEY *key, const char *password)
{
    int r = 0;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_ALGOR *algorithm = PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), NULL, 0, NULL, 1024, 8, 1);
    X509_SIG *encrypted = info != NULL && algorithm != NULL
                              ? PKCS8_set0_pbe(password, (int)strlen(password), info, algorithm)
                              : NULL;
    if (encrypted != NULL)
        r = i2d_PKCS8_bio(out, encrypted); /* it owns the algorithm now */
    X509_SIG_free(encrypted);
    PKCS8_PRIV_KEY_INFO_free(info);
    return r;
}

/* ---- PKCS#12: how the key is encrypted, how the certificate, and how often the password is hashed for the MAC ---- */

static int pkcs12_with(BIO *out, EVP_PKEY *key, const char *password, int key_nid, int certificate_nid, int mac_rounds)
{
    X509 *c = key_files_certificate(key);
    PKCS12 *p12 = NULL;
    if (c != NULL)
        p12 = PKCS12_create(password, "work", key, c, NULL, key_nid, certificate_nid, 2048, mac_rounds, 0);
    int r = p12 != NULL ? i2d_PKCS12_bio(out, p12) : 0;
    PKCS12_free(p12);
    X509_free(c);
    return r;
}

static int pkcs12(BIO *out, EVP_PKEY *key, const char *password)
{
    return pkcs12_with(out, key, password, 0, 0, 2048);
}

static int pkcs12_old_certificate(BIO *out, EVP_PKEY *key, const char *password)
{
    return pkcs12_with(out, key, password, NID_pbe_WithSHA1And3_Key_TripleDES_CBC, NID_pbe_WithSHA1And40BitRC2_CBC, 1);
}

static int pkcs12_old_key(BIO *out, EVP_PKEY *key, const char *password)
{
    return pkcs12_with(out, key, password, NID_pbe_WithSHA1And128BitRC2_CBC, NID_pbe_WithSHA1And40BitRC2_CBC, 2048);
}

static int pkcs12_no_mac(BIO *out, EVP_PKEY *key, const char *password)
{
    return pkcs12_with(out, key, password, 0, 0, -1);
}

static int pkcs12_clear(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return pkcs12_with(out, key, NULL, -1, -1, -1);
}

static int pkcs12_no_password(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return pkcs12_with(out, key, NULL, 0, 0, 2048);
}

static int pkcs12_empty_password(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return pkcs12_with(out, key, "", 0, 0, 2048);
}

/* ---- JWK ---- */

static int number(EVP_PKEY *key, const char *name, char text[BASE64URL_LENGTH(32) + 1])
{
    uint8_t bytes[32];
    BIGNUM *n = NULL;
    int r = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_bn2binpad(n, bytes, sizeof(bytes)) == sizeof(bytes);
    BN_clear_free(n);
    if (r)
        base64url_encode(bytes, sizeof(bytes), text);
    return r;
}

/* x, y and d between what goes before and behind them. */
static int jwk_with(BIO *out, EVP_PKEY *key, const char *before, const char *behind)
{
    char x[44], y[44], d[44];
    return number(key, OSSL_PKEY_PARAM_EC_PUB_X, x) && number(key, OSSL_PKEY_PARAM_EC_PUB_Y, y) &&
           number(key, OSSL_PKEY_PARAM_PRIV_KEY, d) &&
           BIO_printf(out, "%s\"x\":\"%s\",\"y\":\"%s\", \"d\": \"%s\"%s", before, x, y, d, behind) > 0;
}

static int jwk(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return jwk_with(out, key, "{\"kty\":\"EC\",\"crv\":\"P-256\",", "}");
}

static int jwk_of_use(BIO *out, EVP_PKEY *key, const char *password)
{
    (void)password;
    return jwk_with(out, key, "\n { ", ", \"kty\": \"EC\", \"crv\": \"P-256\", \"use\": \"sig\", \"alg\": \"ES256\", "
                                      "\"key_ops\": [\"verify\", \"sign\"], \"kid\": \"\xc3\xbc\" }\n");
}

const struct key_form key_forms[] = {
    {"SEC1 PEM", false, false, false, sec1_pem},
    {"SEC1 PEM behind EC PARAMETERS", false, false, false, sec1_pem_with_parameters},
    {"SEC1 PEM, DEK-Info AES-256", true, false, false, sec1_pem_aes},
    {"SEC1 PEM, DEK-Info 3DES", true, false, false, sec1_pem_3des},
    {"SEC1 PEM, DEK-Info DES", true, true, true, sec1_pem_des},
    {"PKCS#8 PEM", false, false, false, pkcs8_pem},
    {"PKCS#8 PEM, encrypted", true, false, false, encrypted_pem},
    {"PKCS#8 PEM among certificates", false, false, false, certificate_and_key_pem},
    {"PKCS#8 PEM with a byte order mark", false, false, false, key_with_byte_order_mark},
    {"SEC1 DER", false, false, false, sec1_der},
    {"PKCS#8 DER", false, false, false, pkcs8_der},
    {"PKCS#8 DER, AES-128", true, false, false, encrypted_der},
    {"PKCS#8 DER, 3DES", true, false, false, encrypted_der_3des},
    {"PKCS#8 DER, RC2", true, true, true, encrypted_der_rc2},
    {"PKCS#8 DER, MD5 and DES", true, true, true, encrypted_der_md5_des},
    {"PKCS#8 DER, scrypt", true, false, false, encrypted_der_scrypt},
    {"PKCS#12", true, false, false, pkcs12},
    {"PKCS#12, 3DES and RC2 for the certificate", true, true, false, pkcs12_old_certificate},
    {"PKCS#12, RC2 for the key", true, true, true, pkcs12_old_key},
    {"PKCS#12 without a MAC", true, false, false, pkcs12_no_mac},
    {"PKCS#12 in clear", false, false, false, pkcs12_clear},
    {"PKCS#12 with no password", false, false, false, pkcs12_no_password},
    {"PKCS#12 with an empty password", false, false, false, pkcs12_empty_password},
    {"JWK", false, false, false, jwk},
    {"JWK with use, alg and key_ops", false, false, false, jwk_of_use},
};
const size_t key_form_count = sizeof(key_forms) / sizeof(key_forms[0]);

bool key_files_load_legacy(void)
{
    return OSSL_PROVIDER_load(NULL, "default") != NULL && OSSL_PROVIDER_load(NULL, "legacy") != NULL;
}

EVP_PKEY *key_files_generate(const char *curve)
{
    return EVP_EC_gen(curve);
}

bool key_files_write(const struct key_form *form, EVP_PKEY *key, const char *password, struct buffer *out)
{
    char *data;
    BIO *bio = BIO_new(BIO_s_mem());
    bool good = bio != NULL && form->write(bio, key, password) == 1;
    long len = good ? BIO_get_mem_data(bio, &data) : 0;
    if (good && len > 0)
        buffer_put(out, data, (size_t)len);
    BIO_free(bio);
    return good && !out->failed;
}
