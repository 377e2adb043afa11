/* See private_key.h. */
#include "private_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <sodium.h>
#include <string.h>

#define CURVE_NAME "prime256v1"
#define NEXT_P256 "import a P-256 (ES256) key, or make one in the token: dpop key generate NAME"

enum status private_key_other(const char *what, const char *name, struct error *err)
{
    return error_set(err, STATUS_KEY_UNFIT, NEXT_P256, "the file holds a key %s %s; only P-256 keys are used", what,
                     name);
}

/* The point d·G; -1: d is not from 1 to n - 1, or memory is short. */
static int compute_public(const BIGNUM *d, struct jwk *out)
{
    int result = -1;
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = group != NULL ? EC_POINT_new(group) : NULL;
    BIGNUM *x = BN_new(), *y = BN_new();
    if (point == NULL || x == NULL || y == NULL || BN_is_zero(d) || BN_is_negative(d) ||
        BN_cmp(d, EC_GROUP_get0_order(group)) >= 0)
        goto out;
    if (EC_POINT_mul(group, point, d, NULL, NULL, NULL) == 1 &&
        EC_POINT_get_affine_coordinates(group, point, x, y, NULL) == 1 &&
        BN_bn2binpad(x, out->x, JWK_COORDINATE_SIZE) == JWK_COORDINATE_SIZE &&
        BN_bn2binpad(y, out->y, JWK_COORDINATE_SIZE) == JWK_COORDINATE_SIZE)
        result = 0;
out:
    BN_free(x);
    BN_free(y);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return result;
}

static enum status make(const BIGNUM *d, const struct jwk *said, struct private_key *out, struct error *err)
{
    struct private_key key = {.d = sodium_malloc(PRIVATE_KEY_SIZE)};
    if (key.d == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    enum status status = STATUS_OK;
    if (compute_public(d, &key.jwk) != 0 || BN_bn2binpad(d, key.d, PRIVATE_KEY_SIZE) != PRIVATE_KEY_SIZE)
        status = error_set(err, STATUS_KEY_UNFIT, NEXT_P256,
                           "the private key in the file is no number from 1 to n - 1 of P-256");
    else if (memcmp(key.jwk.x, said->x, sizeof(said->x)) != 0 || memcmp(key.jwk.y, said->y, sizeof(said->y)) != 0)
        status = error_set(err, STATUS_KEY_UNFIT, "export the key again from where it comes from",
                           "the public key in the file does not belong to the private key in it");
    if (status == STATUS_OK)
        *out = key;
    else
        private_key_free(&key);
    return status;
}

static enum status check_curve(const EVP_PKEY *pkey, struct error *err)
{
    char curve[64] = "";
    int explicit = 0;
    if (!EVP_PKEY_is_a(pkey, "EC")) {
        const char *type = EVP_PKEY_get0_type_name(pkey);
        return private_key_other("of the type", type != NULL ? type : "(unknown)", err);
    }
    if (EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &explicit) != 1 || explicit != 0)
        return error_set(err, STATUS_KEY_UNFIT,
                         "write the curve's name into it: openssl ec -in FILE -param_enc named_curve -out NEW",
                         "the key in the file has its curve's parameters written out instead of the curve's name");
    if (EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof(curve), NULL) != 1 ||
        strcmp(curve, CURVE_NAME) != 0)
        return private_key_other("on the curve", curve[0] != '\0' ? curve : "(unknown)", err);
    return STATUS_OK;
}

static int read_coordinate(const EVP_PKEY *pkey, const char *name, uint8_t out[JWK_COORDINATE_SIZE])
{
    BIGNUM *n = NULL;
    int len = EVP_PKEY_get_bn_param(pkey, name, &n) == 1 ? BN_bn2binpad(n, out, JWK_COORDINATE_SIZE) : -1;
    BN_free(n);
    return len == JWK_COORDINATE_SIZE ? 0 : -1;
}

enum status private_key_from_pkey(const EVP_PKEY *pkey, struct private_key *out, struct error *err)
{
    struct jwk said;
    BIGNUM *d = NULL;
    enum status status = check_curve(pkey, err);
    if (status != STATUS_OK)
        return status;
    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d) != 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "give the file with the private key",
                         "the file holds a public key only");
    if (read_coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_X, said.x) != 0 ||
        read_coordinate(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, said.y) != 0)
        memset(&said, 0, sizeof(said)); /* no point of the curve has x = y = 0 */
    BN_set_flags(d, BN_FLG_CONSTTIME);
    status = make(d, &said, out, err);
    BN_clear_free(d);
    return status;
}

enum status private_key_from_bytes(const uint8_t d[PRIVATE_KEY_SIZE], const struct jwk *said, struct private_key *out,
                                   struct error *err)
{
    BIGNUM *n = BN_bin2bn(d, PRIVATE_KEY_SIZE, NULL);
    if (n == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    BN_set_flags(n, BN_FLG_CONSTTIME);
    enum status status = make(n, said, out, err);
    BN_clear_free(n);
    return status;
}

void private_key_free(struct private_key *key)
{
    sodium_free(key->d); /* which wipes */
    *key = (struct private_key){0};
}
