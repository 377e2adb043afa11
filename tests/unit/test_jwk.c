/* Public keys: their text, thumbprints, points and signatures, against the published examples and made-up ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <string.h>

#include "jwk.h"

static json_t *rfc;

static int load(void **state)
{
    (void)state;
    rfc = json_load_file(TEST_VECTORS "/rfc.json", JSON_REJECT_DUPLICATES, NULL);
    return rfc != NULL ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(rfc);
    return 0;
}

static void decode(const char *text, size_t text_len, uint8_t *out, size_t size)
{
    size_t len = 0;
    assert_int_equal(base64url_decode(span_of(text, text_len), out, size, &len), 0);
    assert_int_equal(len, size);
}

static struct jwk jwk_of(const char *example)
{
    json_t *json = json_object_get(json_object_get(rfc, example), "jwk");
    const char *x = json_string_value(json_object_get(json, "x")), *y = json_string_value(json_object_get(json, "y"));
    struct jwk jwk;
    decode(x, strlen(x), jwk.x, sizeof(jwk.x));
    decode(y, strlen(y), jwk.y, sizeof(jwk.y));
    return jwk;
}

static void assert_thumbprint(const char *example)
{
    struct jwk jwk = jwk_of(example);
    char thumbprint[JWK_THUMBPRINT_SIZE];
    assert_int_equal(jwk_thumbprint(&jwk, thumbprint), 0);
    assert_string_equal(thumbprint, json_string_value(json_object_get(json_object_get(rfc, example), "jkt")));
}

static void test_the_thumbprints_of_the_rfcs_keys_are_theirs(void **state)
{
    (void)state;
    assert_thumbprint("rfc9449");
    assert_thumbprint("rfc7515_a3");
}

static void test_the_text_has_the_four_members_in_the_thumbprint_order_without_white_space(void **state)
{
    (void)state;
    struct jwk jwk = jwk_of("rfc9449");
    char json[JWK_JSON_SIZE];
    jwk_json(&jwk, json);
    assert_string_equal(json, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs\","
                              "\"y\":\"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA\"}");
    assert_int_equal(strlen(json), JWK_JSON_SIZE - 1);
}

static void test_coordinates_that_begin_with_zeros_keep_their_32_bytes(void **state)
{
    (void)state;
    struct jwk jwk = {.x = {[31] = 5}, .y = {[0] = 0, [1] = 1}};
    char json[JWK_JSON_SIZE];
    jwk_json(&jwk, json);
    json_t *parsed = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_string_length(json_object_get(parsed, "x")), 43);
    assert_string_equal(json_string_value(json_object_get(parsed, "x")), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAU");
    assert_int_equal(json_string_length(json_object_get(parsed, "y")), 43);
    json_decref(parsed);
}

static const char *a3_jws(void)
{
    return json_string_value(json_object_get(json_object_get(rfc, "rfc7515_a3"), "jws"));
}

/* Verifies a compact JWS with the key. */
static int verify(const struct jwk *jwk, const char *jws, const uint8_t *other_signature)
{
    const char *dot = strrchr(jws, '.');
    uint8_t digest[32], signature[64];
    decode(dot + 1, strlen(dot + 1), signature, sizeof(signature));
    SHA256((const uint8_t *)jws, (size_t)(dot - jws), digest);
    return jwk_verify(jwk, digest, other_signature != NULL ? other_signature : signature);
}

static void test_the_signatures_of_the_rfcs_examples_verify(void **state)
{
    (void)state;
    struct jwk dpop = jwk_of("rfc9449"), a3 = jwk_of("rfc7515_a3");
    json_t *proofs = json_object_get(json_object_get(rfc, "rfc9449"), "proofs"), *proof;
    size_t i;
    assert_int_equal(json_array_size(proofs), 3);
    json_array_foreach(proofs, i, proof)
        assert_int_equal(verify(&dpop, json_string_value(json_object_get(proof, "jwt")), NULL), 0);
    assert_int_equal(verify(&a3, a3_jws(), NULL), 0);
}

static void test_another_keys_signature_does_not_verify(void **state)
{
    (void)state;
    struct jwk dpop = jwk_of("rfc9449");
    assert_int_equal(verify(&dpop, a3_jws(), NULL), -1);
}

static void test_a_changed_digest_or_signature_does_not_verify(void **state)
{
    (void)state;
    struct jwk jwk = jwk_of("rfc7515_a3");
    const char *jws = a3_jws();
    const char *dot = strrchr(jws, '.');
    uint8_t signature[64], digest[32];
    decode(dot + 1, strlen(dot + 1), signature, sizeof(signature));
    SHA256((const uint8_t *)jws, (size_t)(dot - jws), digest);
    assert_int_equal(jwk_verify(&jwk, digest, signature), 0);
    digest[31] ^= 1;
    assert_int_equal(jwk_verify(&jwk, digest, signature), -1);
    for (size_t i = 0; i < sizeof(signature); i++) {
        signature[i] ^= 0x80;
        assert_int_equal(verify(&jwk, jws, signature), -1);
        signature[i] ^= 0x80;
    }
}

static void test_signatures_of_zeros_and_of_all_ones_do_not_verify(void **state)
{
    (void)state;
    struct jwk jwk = jwk_of("rfc9449");
    uint8_t digest[32] = {0}, signature[64] = {0};
    assert_int_equal(jwk_verify(&jwk, digest, signature), -1);
    memset(signature, 0xff, sizeof(signature));
    assert_int_equal(jwk_verify(&jwk, digest, signature), -1);
}

static void test_a_failed_check_leaves_nothing_in_the_error_queue_of_openssl(void **state)
{
    (void)state;
    struct jwk jwk = jwk_of("rfc9449"), off_curve = {.x = {1}};
    uint8_t digest[32] = {0}, signature[64] = {0}, point[65] = {4, 1};
    ERR_clear_error();
    assert_int_equal(jwk_verify(&jwk, digest, signature), -1);
    assert_int_equal(jwk_verify(&off_curve, digest, signature), -1);
    assert_int_equal(jwk_from_point(span_of(point, sizeof(point)), &jwk), -1);
    assert_int_equal(ERR_peek_error(), 0);
}

/* 04 41 04‖x‖y: the bare point begins at byte 2. */
static void der_point(const struct jwk *jwk, uint8_t der[67])
{
    memcpy(der, (const uint8_t[]){0x04, 0x41, 0x04}, 3);
    memcpy(der + 3, jwk->x, 32);
    memcpy(der + 35, jwk->y, 32);
}

static void test_a_point_is_read_from_its_octet_string_and_bare(void **state)
{
    (void)state;
    struct jwk jwk = jwk_of("rfc9449"), read;
    uint8_t der[67];
    der_point(&jwk, der);
    memset(&read, 0, sizeof(read));
    assert_int_equal(jwk_from_point(span_of(der, 67), &read), 0);
    assert_memory_equal(&read, &jwk, sizeof(jwk));
    memset(&read, 0, sizeof(read));
    assert_int_equal(jwk_from_point(span_of(der + 2, 65), &read), 0);
    assert_memory_equal(&read, &jwk, sizeof(jwk));
}

static void assert_point_refused(const uint8_t *point, size_t len)
{
    struct jwk jwk, before;
    memset(&before, 0x55, sizeof(before));
    jwk = before;
    assert_int_equal(jwk_from_point(span_of(point, len), &jwk), -1);
    assert_memory_equal(&jwk, &before, sizeof(jwk));
}

static void test_a_point_that_is_not_on_the_curve_is_refused(void **state)
{
    (void)state;
    struct jwk jwk = jwk_of("rfc9449");
    uint8_t der[67];
    der_point(&jwk, der);
    der[66] ^= 1;
    assert_point_refused(der, 67);
    assert_point_refused(der + 2, 65);
    memset(der + 3, 0, 64);
    assert_point_refused(der, 67);
    memset(der + 3, 0xff, 64); /* not even below p */
    assert_point_refused(der, 67);
}

static void test_points_in_other_forms_and_lengths_are_refused(void **state)
{
    (void)state;
    struct jwk jwk = jwk_of("rfc9449");
    uint8_t der[68] = {0};
    der_point(&jwk, der);
    for (size_t len = 0; len <= sizeof(der); len++)
        if (len != 67)
            assert_point_refused(der, len);
    der[0] = 0x03; /* BIT STRING */
    assert_point_refused(der, 67);
    der[0] = 0x04;
    der[1] = 0x40;
    assert_point_refused(der, 67);
    der[1] = 0x41;
    der[2] = 0x02; /* compressed */
    assert_point_refused(der, 67);
    assert_point_refused(der + 2, 65);
    assert_point_refused(der + 2, 33);
    assert_point_refused(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_thumbprints_of_the_rfcs_keys_are_theirs),
        cmocka_unit_test(test_the_text_has_the_four_members_in_the_thumbprint_order_without_white_space),
        cmocka_unit_test(test_coordinates_that_begin_with_zeros_keep_their_32_bytes),
        cmocka_unit_test(test_the_signatures_of_the_rfcs_examples_verify),
        cmocka_unit_test(test_another_keys_signature_does_not_verify),
        cmocka_unit_test(test_a_changed_digest_or_signature_does_not_verify),
        cmocka_unit_test(test_signatures_of_zeros_and_of_all_ones_do_not_verify),
        cmocka_unit_test(test_a_failed_check_leaves_nothing_in_the_error_queue_of_openssl),
        cmocka_unit_test(test_a_point_is_read_from_its_octet_string_and_bare),
        cmocka_unit_test(test_a_point_that_is_not_on_the_curve_is_refused),
        cmocka_unit_test(test_points_in_other_forms_and_lengths_are_refused),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
