/* See jwk.h. */
#include "jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define UNCOMPRESSED 0x04
#define POINT_SIZE (1 + 2 * JWK_COORDINATE_SIZE)
#define COORDINATE_TEXT_SIZE (BASE64URL_LENGTH(JWK_COORDINATE_SIZE) + 1)

/* OpenSSL's form of the key; NULL when the point is not on the curve. The caller frees it. */
static EVP_PKEY *to_pkey(const struct jwk *jwk)
{
    char group[] = "prime256v1";
    uint8_t point[POINT_SIZE] = {UNCOMPRESSED};
    memcpy(point + 1, jwk->x, JWK_COORDINATE_SIZE);
    memcpy(point + 1 + JWK_COORDINATE_SIZE, jwk->y, JWK_COORDINATE_SIZE);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(context);
    return pkey;
}

int jwk_from_point(struct span ec_point, struct jwk *jwk)
{
    static const uint8_t der_header[] = {0x04, POINT_SIZE}; /* OCTET STRING of 65 bytes */
    struct span point = ec_point, header;
    if (point.len == sizeof(der_header) + POINT_SIZE &&
        (span_take(&point, sizeof(der_header), &header) != 0 ||
         memcmp(header.data, der_header, sizeof(der_header)) != 0))
        return -1;
    if (point.len != POINT_SIZE || point.data[0] != UNCOMPRESSED)
        return -1;
    struct jwk candidate;
    memcpy(candidate.x, point.data + 1, JWK_COORDINATE_SIZE);
    memcpy(candidate.y, point.data + 1 + JWK_COORDINATE_SIZE, JWK_COORDINATE_SIZE);
    ERR_set_mark();
    EVP_PKEY *pkey = to_pkey(&candidate);
    ERR_pop_to_mark();
    if (pkey == NULL)
        return -1;
    EVP_PKEY_free(pkey);
    *jwk = candidate;
    return 0;
}

void jwk_json(const struct jwk *jwk, char out[JWK_JSON_SIZE])
{
    char x[COORDINATE_TEXT_SIZE], y[COORDINATE_TEXT_SIZE];
    base64url_encode(jwk->x, JWK_COORDINATE_SIZE, x);
    base64url_encode(jwk->y, JWK_COORDINATE_SIZE, y);
    (void)snprintf(out, JWK_JSON_SIZE, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
}

int jwk_thumbprint(const struct jwk *jwk, char out[JWK_THUMBPRINT_SIZE])
{
    char json[JWK_JSON_SIZE];
    uint8_t digest[JWK_DIGEST_SIZE];
    jwk_json(jwk, json);
    if (SHA256((const uint8_t *)json, strlen(json), digest) == NULL)
        return -1;
    base64url_encode(digest, sizeof(digest), out);
    return 0;
}

/* OpenSSL verifies ASN.1 signatures only. Returns the length of the DER text in *der, which the caller frees; -1. */
static int to_der(const uint8_t signature[JWK_SIGNATURE_SIZE], uint8_t **der)
{
    int len = -1;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature, JWK_SIGNATURE_SIZE / 2, NULL);
    BIGNUM *s = BN_bin2bn(signature + JWK_SIGNATURE_SIZE / 2, JWK_SIGNATURE_SIZE / 2, NULL);
    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1)
        goto out;
    r = s = NULL; /* sig owns them */
    len = i2d_ECDSA_SIG(sig, der);
out:
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return len > 0 ? len : -1;
}

int jwk_verify(const struct jwk *jwk, const uint8_t digest[JWK_DIGEST_SIZE],
               const uint8_t signature[JWK_SIGNATURE_SIZE])
{
    int result = -1;
    uint8_t *der = NULL;
    EVP_PKEY_CTX *context = NULL;
    ERR_set_mark(); /* a bad signature leaves nothing in OpenSSL's error queue, which others read */
    EVP_PKEY *pkey = to_pkey(jwk);
    int der_len = to_der(signature, &der);
    if (pkey == NULL || der_len < 0)
        goto out;
    context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    if (context != NULL && EVP_PKEY_verify_init(context) == 1 &&
        EVP_PKEY_verify(context, der, (size_t)der_len, digest, JWK_DIGEST_SIZE) == 1)
        result = 0;
out:
    EVP_PKEY_CTX_free(context);
    OPENSSL_free(der);
    EVP_PKEY_free(pkey);
    ERR_pop_to_mark();
    return result;
}
