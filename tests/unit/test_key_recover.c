/* The public key from two signatures: with OpenSSL's keys and signatures, of either parity, and with what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "recover.h"

#define ROUNDS 1000

static EVP_PKEY *make_key(struct jwk *jwk)
{
    uint8_t point[1 + 2 * JWK_COORDINATE_SIZE];
    size_t len;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len), 1);
    assert_int_equal(jwk_from_point(span_of(point, len), jwk), 0);
    return key;
}

static void sign(EVP_PKEY *key, struct recover_sample *out)
{
    uint8_t der[256];
    const uint8_t *at = der;
    size_t len = sizeof(der);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    assert_int_equal(RAND_bytes(out->digest, sizeof(out->digest)), 1);
    assert_int_equal(EVP_PKEY_sign_init(context), 1);
    assert_int_equal(EVP_PKEY_sign(context, der, &len, out->digest, sizeof(out->digest)), 1);
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_non_null(signature);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), out->signature, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), out->signature + 32, 32), 32);
    ECDSA_SIG_free(signature);
    EVP_PKEY_CTX_free(context);
}

static void the_key_of_two_signatures_is_found_whatever_its_parity(void **state)
{
    unsigned int odd = 0;
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct jwk expected, found = {{0}, {0}};
        struct recover_sample samples[2];
        EVP_PKEY *key = make_key(&expected);
        sign(key, &samples[0]);
        sign(key, &samples[1]);
        assert_int_equal(recover_public_key(samples, &found), 0);
        assert_memory_equal(&found, &expected, sizeof(found));
        odd += expected.y[31] & 1;
        EVP_PKEY_free(key);
    }
    assert_in_range(odd, ROUNDS / 4, ROUNDS * 3 / 4);
}

static void one_bit_wrong_or_another_key_gives_none(void **state)
{
    (void)state;
    struct jwk expected, other, found = {{0}, {0}};
    struct recover_sample good[2], samples[2];
    EVP_PKEY *key = make_key(&expected), *stranger = make_key(&other);
    sign(key, &good[0]);
    sign(key, &good[1]);
    for (size_t bit = 0; bit < 8 * JWK_SIGNATURE_SIZE; bit++) {
        memcpy(samples, good, sizeof(samples));
        samples[bit % 2].signature[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(recover_public_key(samples, &found), -1);
    }
    memcpy(samples, good, sizeof(samples));
    samples[0].digest[5] ^= 1;
    assert_int_equal(recover_public_key(samples, &found), -1);
    samples[0] = good[0];
    sign(stranger, &samples[1]);
    assert_int_equal(recover_public_key(samples, &found), -1);
    samples[1] = samples[0]; /* the same digest proves nothing */
    assert_int_equal(recover_public_key(samples, &found), -1);
    EVP_PKEY_free(key);
    EVP_PKEY_free(stranger);
}

static void halves_of_zeros_and_of_ones_are_no_signature(void **state)
{
    (void)state;
    struct jwk jwk, found;
    struct recover_sample good[2], samples[2];
    EVP_PKEY *key = make_key(&jwk);
    sign(key, &good[0]);
    sign(key, &good[1]);
    for (int half = 0; half < 2; half++)
        for (int value = 0; value < 256; value += 255) {
            memcpy(samples, good, sizeof(samples));
            memset(samples[0].signature + 32 * half, value, 32);
            assert_int_equal(recover_public_key(samples, &found), -1);
        }
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_of_two_signatures_is_found_whatever_its_parity),
        cmocka_unit_test(one_bit_wrong_or_another_key_gives_none),
        cmocka_unit_test(halves_of_zeros_and_of_ones_are_no_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
