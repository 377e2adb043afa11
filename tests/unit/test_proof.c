/*
 * DPoP proofs: what is in them, member by member, read with an independent JSON parser; signed here with a key made by
 * OpenSSL, as the key process would; and every claim that is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <string.h>

#include "http_token.h"
#include "proof.h"

#define ATH "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"

static const struct proof_claims plain = {
    .htm = {(const uint8_t *)"POST", 4},
    .htu = {(const uint8_t *)"https://server.example.com/token", 32},
    .iat = 1562262616,
    .jti = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255},
};

static EVP_PKEY *key;
static struct jwk jwk;

/* A key with a coordinate that begins with a zero byte, which must not shorten it: one in 128 is such a key. */
static int make_key(void **state)
{
    (void)state;
    do {
        uint8_t point[65];
        size_t len = 0;
        EVP_PKEY_free(key);
        key = EVP_EC_gen("P-256");
        if (key == NULL ||
            EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof(point), &len) != 1 ||
            len != sizeof(point) || jwk_from_point(span_of(point, len), &jwk) != 0)
            return -1;
    } while (jwk.x[0] != 0 && jwk.y[0] != 0);
    return 0;
}

static int free_key(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

/* What C_Sign does: the digest in, r‖s out. */
static void sign(const uint8_t digest[32], uint8_t signature[64])
{
    uint8_t der[80];
    const uint8_t *at = der;
    size_t len = sizeof(der);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    assert_int_equal(EVP_PKEY_sign_init(context), 1);
    assert_int_equal(EVP_PKEY_sign(context, der, &len, digest, 32), 1);
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_non_null(sig);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), signature, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), signature + 32, 32), 32);
    ECDSA_SIG_free(sig);
    EVP_PKEY_CTX_free(context);
}

/* Signs what is in the buffer and completes it. */
static void complete(struct buffer *b)
{
    uint8_t digest[32], signature[64];
    assert_false(b->failed);
    assert_int_equal(proof_digest(buffer_span(b), digest), 0);
    sign(digest, signature);
    proof_append_signature(b, signature);
    assert_false(b->failed);
}

static struct span part(struct span jws, int wanted)
{
    for (; wanted > 0; wanted--) {
        const uint8_t *dot = memchr(jws.data, '.', jws.len);
        assert_non_null(dot);
        jws = span_of(dot + 1, jws.len - (size_t)(dot + 1 - jws.data));
    }
    const uint8_t *end = memchr(jws.data, '.', jws.len);
    return span_of(jws.data, end != NULL ? (size_t)(end - jws.data) : jws.len);
}

static json_t *json_part(struct span jws, int wanted)
{
    uint8_t text[24576];
    size_t len = 0;
    assert_int_equal(base64url_decode(part(jws, wanted), text, sizeof(text), &len), 0);
    json_t *json = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    return json;
}

static void assert_member(const json_t *object, const char *name, const char *value)
{
    const json_t *member = json_object_get(object, name);
    assert_true(json_is_string(member));
    assert_string_equal(json_string_value(member), value);
}

static void decode_32(const json_t *object, const char *name, uint8_t out[32])
{
    size_t len = 0;
    const char *text = json_string_value(json_object_get(object, name));
    assert_int_equal(base64url_decode(span_text(text), out, 32, &len), 0);
    assert_int_equal(len, 32);
}

static void assert_verifies(struct span jws)
{
    uint8_t digest[32], signature[64];
    size_t len = 0;
    struct span last = part(jws, 2);
    assert_int_equal(base64url_decode(last, signature, sizeof(signature), &len), 0);
    assert_int_equal(len, 64);
    assert_int_equal(proof_digest(span_of(jws.data, jws.len - last.len - 1), digest), 0);
    assert_int_equal(jwk_verify(&jwk, digest, signature), 0);
}

static struct buffer made(const struct proof_claims *claims)
{
    struct proof_header header;
    struct buffer b;
    struct error e = {0};
    proof_header_init(&header, &jwk);
    assert_int_equal(strlen(header.text), header.len);
    buffer_init(&b, PROOF_MAX);
    if (proof_signing_input(&header, claims, &b, &e) != STATUS_OK)
        fail_msg("%s", e.message);
    complete(&b);
    return b;
}

static void test_the_header_has_typ_alg_and_the_public_key_with_coordinates_of_32_bytes_and_nothing_else(void **state)
{
    (void)state;
    struct buffer b = made(&plain);
    json_t *header = json_part(buffer_span(&b), 0), *member = json_object_get(header, "jwk");
    uint8_t x[32], y[32];
    assert_int_equal(json_object_size(header), 3);
    assert_member(header, "typ", "dpop+jwt");
    assert_member(header, "alg", "ES256");
    assert_int_equal(json_object_size(member), 4);
    assert_member(member, "kty", "EC");
    assert_member(member, "crv", "P-256");
    decode_32(member, "x", x);
    decode_32(member, "y", y);
    assert_memory_equal(x, jwk.x, 32);
    assert_memory_equal(y, jwk.y, 32);
    json_decref(header);
    buffer_free(&b);
}

static void test_a_proof_has_three_parts_and_its_signature_verifies(void **state)
{
    (void)state;
    struct buffer b = made(&plain);
    struct span jws = buffer_span(&b);
    size_t dots = 0;
    for (size_t i = 0; i < jws.len; i++)
        dots += jws.data[i] == '.';
    assert_int_equal(dots, 2);
    assert_int_equal(part(jws, 2).len, 86);
    assert_verifies(jws);
    buffer_free(&b);
}

static void test_without_token_and_nonce_the_payload_is_jti_htm_htu_iat(void **state)
{
    (void)state;
    struct buffer b = made(&plain);
    json_t *payload = json_part(buffer_span(&b), 1);
    assert_int_equal(json_object_size(payload), 4);
    assert_member(payload, "jti", "AAECAwQFBgcICQoLDA0O_w");
    assert_member(payload, "htm", "POST");
    assert_member(payload, "htu", "https://server.example.com/token");
    assert_true(json_is_integer(json_object_get(payload, "iat")));
    assert_int_equal(json_integer_value(json_object_get(payload, "iat")), 1562262616);
    json_decref(payload);
    buffer_free(&b);
}

static void test_ath_and_nonce_are_copied_exactly_when_they_are_given(void **state)
{
    (void)state;
    struct proof_claims claims = plain;
    char nonce[100] = "";
    for (char c = 0x21, *at = nonce; c <= 0x7e; c++)
        if (c != '"' && c != '\\')
            *at++ = c;
    claims.ath = span_text(ATH);
    claims.nonce = span_text(nonce);
    struct buffer b = made(&claims);
    json_t *payload = json_part(buffer_span(&b), 1);
    assert_int_equal(json_object_size(payload), 6);
    assert_member(payload, "ath", ATH);
    assert_member(payload, "nonce", nonce);
    assert_verifies(buffer_span(&b));
    json_decref(payload);
    buffer_free(&b);
}

static void test_the_header_of_rfc_9449_has_the_same_members_as_ours_for_the_same_key(void **state)
{
    (void)state;
    json_t *rfc = json_load_file(TEST_VECTORS "/rfc.json", JSON_REJECT_DUPLICATES, NULL), *example, *proof;
    example = json_object_get(rfc, "rfc9449");
    json_t *member = json_object_get(example, "jwk");
    struct jwk theirs;
    struct proof_header header;
    size_t i;
    decode_32(member, "x", theirs.x);
    decode_32(member, "y", theirs.y);
    proof_header_init(&header, &theirs);
    json_t *ours = json_part(span_of(header.text, header.len), 0);
    json_array_foreach(json_object_get(example, "proofs"), i, proof) {
        json_t *expected = json_part(span_text(json_string_value(json_object_get(proof, "jwt"))), 0);
        assert_true(json_equal(ours, expected));
        json_decref(expected);
    }
    json_decref(ours);
    json_decref(rfc);
}

static void test_the_ath_of_rfc_9449s_token_is_the_rfcs(void **state)
{
    (void)state;
    json_t *rfc = json_load_file(TEST_VECTORS "/rfc.json", JSON_REJECT_DUPLICATES, NULL);
    json_t *example = json_object_get(rfc, "rfc9449");
    char ath[PROOF_ATH_SIZE];
    assert_int_equal(proof_ath(span_text(json_string_value(json_object_get(example, "access_token"))), ath), 0);
    assert_string_equal(ath, json_string_value(json_object_get(example, "ath")));
    assert_true(proof_ath_valid(span_text(ath)));
    json_decref(rfc);
}

static void test_a_code_challenge_is_made_as_an_ath_is(void **state)
{
    (void)state;
    json_t *rfc = json_load_file(TEST_VECTORS "/rfc.json", JSON_REJECT_DUPLICATES, NULL);
    json_t *example = json_object_get(rfc, "rfc7636_b");
    char challenge[PROOF_ATH_SIZE];
    assert_int_equal(proof_ath(span_text(json_string_value(json_object_get(example, "code_verifier"))), challenge), 0);
    assert_string_equal(challenge, json_string_value(json_object_get(example, "code_challenge_S256")));
    json_decref(rfc);
}

static void test_no_ath_is_made_of_an_empty_token_or_one_with_other_characters(void **state)
{
    (void)state;
    char ath[PROOF_ATH_SIZE] = "untouched";
    assert_int_equal(proof_ath(span_text(""), ath), -1);
    assert_int_equal(proof_ath(span_text(NULL), ath), -1);
    assert_int_equal(proof_ath(span_text("a\nb"), ath), -1);
    assert_int_equal(proof_ath(span_text("a\x7f"), ath), -1);
    assert_int_equal(proof_ath(span_text("\xc3\xa9"), ath), -1);
    assert_int_equal(proof_ath(span_of("a\0b", 3), ath), -1);
    assert_string_equal(ath, "untouched");
}

static void assert_refused(const struct proof_claims *claims, enum status expected, const char *why)
{
    struct proof_header header;
    struct buffer b;
    struct error e = {0};
    proof_header_init(&header, &jwk);
    buffer_init(&b, PROOF_MAX);
    buffer_put_text(&b, "before");
    assert_int_equal(proof_signing_input(&header, claims, &b, &e), expected);
    assert_int_equal(e.status, expected);
    if (strstr(e.message, why) == NULL)
        fail_msg("%s", e.message);
    assert_true(span_is(buffer_span(&b), "before"));
    buffer_free(&b);
}

static void test_a_method_that_is_not_an_http_token_of_64_characters_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "GET ", " GET", "G\"T", "GE\\T", "GET\r\n", "M(", "M/N", "M=1",
                                      "\xc3\xa9", "A,B", "A:B", "{A}",
                                      "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg"};
    struct proof_claims claims = plain;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        claims.htm = span_text(bad[i]);
        assert_refused(&claims, STATUS_INVALID_ARGUMENT, "htm");
    }
    claims.htm = span_of("GE\0T", 4);
    assert_refused(&claims, STATUS_INVALID_ARGUMENT, "htm");
    claims.htm = span_text(NULL);
    assert_refused(&claims, STATUS_INVALID_ARGUMENT, "htm");
}

static void test_a_method_of_64_token_characters_is_kept_with_its_case(void **state)
{
    (void)state;
    static const char htm[] = "get!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ";
    struct proof_claims claims = plain;
    assert_int_equal(strlen(htm), 64);
    claims.htm = span_text(htm);
    struct buffer b = made(&claims);
    json_t *payload = json_part(buffer_span(&b), 1);
    assert_member(payload, "htm", htm);
    json_decref(payload);
    buffer_free(&b);
}

static void test_a_nonce_with_other_characters_or_length_is_refused(void **state)
{
    (void)state;
    static char long_nonce[4098];
    static const char *const bad[] = {"", " ", "a b", "a\"", "a\\", "a\n", "a\x7f", "\xc3\xa9"};
    struct proof_claims claims = plain;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        claims.nonce = span_text(bad[i]);
        assert_refused(&claims, STATUS_INVALID_ARGUMENT, "nonce");
    }
    memset(long_nonce, 'n', 4097);
    claims.nonce = span_of(long_nonce, 4097);
    assert_refused(&claims, STATUS_INVALID_ARGUMENT, "nonce");
}

static void test_an_ath_that_is_not_32_bytes_of_base64url_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "abc", ATH "A", ATH "=", "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQE",
                                      "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEp",
                                      "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQE+"};
    struct proof_claims claims = plain;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        claims.ath = span_text(bad[i]);
        assert_refused(&claims, STATUS_INVALID_ARGUMENT, "ath");
        assert_false(proof_ath_valid(span_text(bad[i])));
    }
}

static void test_an_htu_that_is_empty_or_has_control_characters_and_a_clock_before_1970_are_refused(void **state)
{
    (void)state;
    struct proof_claims claims = plain;
    claims.htu = span_text("");
    assert_refused(&claims, STATUS_INVALID_ARGUMENT, "htu");
    claims.htu = span_text("https://a/\n");
    assert_refused(&claims, STATUS_INVALID_ARGUMENT, "htu");
    claims.htu = span_text("https://\xc3\xa9/");
    assert_refused(&claims, STATUS_INVALID_ARGUMENT, "htu");
    claims = plain;
    claims.iat = -1;
    assert_refused(&claims, STATUS_INTERNAL, "clock");
}

static void test_the_greatest_claims_fit_into_the_greatest_proof(void **state)
{
    (void)state;
    static char htu[8208], nonce[4096];
    struct proof_claims claims = plain;
    memset(htu, '"', sizeof(htu)); /* each becomes two: not a URL, but no reason to fail */
    memset(nonce, '~', sizeof(nonce));
    claims.htu = span_of(htu, sizeof(htu));
    claims.nonce = span_of(nonce, sizeof(nonce));
    claims.ath = span_text(ATH);
    claims.iat = INT64_MAX;
    struct buffer b = made(&claims);
    json_t *payload = json_part(buffer_span(&b), 1);
    assert_int_equal(json_string_length(json_object_get(payload, "htu")), sizeof(htu));
    assert_int_equal(json_string_length(json_object_get(payload, "nonce")), sizeof(nonce));
    assert_true(json_integer_value(json_object_get(payload, "iat")) == INT64_MAX);
    json_decref(payload);
    buffer_free(&b);
}

static void test_a_buffer_without_room_is_an_error_and_stays_as_it_was(void **state)
{
    (void)state;
    struct proof_header header;
    struct buffer b;
    struct error e = {0};
    proof_header_init(&header, &jwk);
    buffer_init(&b, header.len + 20);
    buffer_put_text(&b, "before");
    assert_int_equal(proof_signing_input(&header, &plain, &b, &e), STATUS_NO_MEMORY);
    assert_true(span_is(buffer_span(&b), "before"));
    buffer_free(&b);
}

static void test_a_thousand_proofs_verify(void **state)
{
    (void)state;
    struct proof_claims claims = plain;
    for (unsigned int i = 0; i < 1000; i++) {
        claims.jti[0] = (uint8_t)i;
        claims.jti[1] = (uint8_t)(i >> 8);
        struct buffer b = made(&claims);
        assert_verifies(buffer_span(&b));
        buffer_free(&b);
    }
}

static void test_a_token_has_only_the_characters_of_rfc_9110(void **state)
{
    (void)state;
    size_t count = 0;
    for (int c = 0; c < 256; c++)
        count += http_token_char((uint8_t)c);
    assert_int_equal(count, 26 + 26 + 10 + 15);
    assert_true(http_token_valid(span_text("!#$%&'*+-.^_`|~")));
    assert_false(http_token_valid(span_text("")));
    assert_false(http_token_valid(span_text("a/b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_header_has_typ_alg_and_the_public_key_with_coordinates_of_32_bytes_and_nothing_else),
        cmocka_unit_test(test_a_proof_has_three_parts_and_its_signature_verifies),
        cmocka_unit_test(test_without_token_and_nonce_the_payload_is_jti_htm_htu_iat),
        cmocka_unit_test(test_ath_and_nonce_are_copied_exactly_when_they_are_given),
        cmocka_unit_test(test_the_header_of_rfc_9449_has_the_same_members_as_ours_for_the_same_key),
        cmocka_unit_test(test_the_ath_of_rfc_9449s_token_is_the_rfcs),
        cmocka_unit_test(test_a_code_challenge_is_made_as_an_ath_is),
        cmocka_unit_test(test_no_ath_is_made_of_an_empty_token_or_one_with_other_characters),
        cmocka_unit_test(test_a_method_that_is_not_an_http_token_of_64_characters_is_refused),
        cmocka_unit_test(test_a_method_of_64_token_characters_is_kept_with_its_case),
        cmocka_unit_test(test_a_nonce_with_other_characters_or_length_is_refused),
        cmocka_unit_test(test_an_ath_that_is_not_32_bytes_of_base64url_is_refused),
        cmocka_unit_test(test_an_htu_that_is_empty_or_has_control_characters_and_a_clock_before_1970_are_refused),
        cmocka_unit_test(test_the_greatest_claims_fit_into_the_greatest_proof),
        cmocka_unit_test(test_a_buffer_without_room_is_an_error_and_stays_as_it_was),
        cmocka_unit_test(test_a_thousand_proofs_verify),
        cmocka_unit_test(test_a_token_has_only_the_characters_of_rfc_9110),
    };
    return cmocka_run_group_tests(tests, make_key, free_key);
}
