/*
 * Certificate requests and certificates: signed here with a key of OpenSSL's in the place of the token's, then read and
 * verified by OpenSSL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "x509.h"

#define BEFORE 1795262400 /* 2026-11-21 12:00 */
#define AFTER (BEFORE + 365 * 24 * 3600)

static EVP_PKEY *pkey;
static struct jwk key;
static const uint8_t serial[X509_SERIAL_SIZE] = {0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static int make_key(void **state)
{
    (void)state;
    uint8_t point[1 + 2 * JWK_COORDINATE_SIZE];
    size_t len = 0;
    pkey = EVP_EC_gen("P-256");
    return pkey != NULL &&
                   EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len) == 1 &&
                   jwk_from_point(span_of(point, len), &key) == 0
               ? 0
               : -1;
}

static int free_key(void **state)
{
    (void)state;
    EVP_PKEY_free(pkey);
    return 0;
}

/* r‖s, as a token gives it. */
static void sign(const struct buffer *tbs, uint8_t signature[JWK_SIGNATURE_SIZE])
{
    uint8_t digest[JWK_DIGEST_SIZE], der[128];
    size_t len = sizeof(der);
    const uint8_t *at = der;
    assert_int_equal(x509_digest(tbs, digest), 0);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(EVP_PKEY_sign_init(context), 1);
    assert_int_equal(EVP_PKEY_sign(context, der, &len, digest, sizeof(digest)), 1);
    EVP_PKEY_CTX_free(context);
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), signature, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), signature + 32, 32), 32);
    ECDSA_SIG_free(sig);
}

/* Signs, and gives the PEM, which the caller frees. */
static char *finish(struct buffer *tbs, bool certificate)
{
    uint8_t signature[JWK_SIGNATURE_SIZE];
    char *pem = NULL;
    sign(tbs, signature);
    assert_int_equal(x509_pem(tbs, signature, certificate, &pem), 0);
    buffer_free(tbs);
    return pem;
}

static X509_REQ *request(const char *subject)
{
    struct buffer tbs;
    struct error err;
    buffer_init(&tbs, X509_TBS_MAX);
    if (x509_request_tbs(&key, subject, &tbs, &err) != STATUS_OK)
        fail_msg("%s: %s", subject, err.message);
    char *pem = finish(&tbs, false);
    assert_int_equal(strncmp(pem, "-----BEGIN CERTIFICATE REQUEST-----\n", 36), 0);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    assert_non_null(req);
    BIO_free(bio);
    free(pem);
    return req;
}

static X509 *certificate(const char *subject, int64_t not_after)
{
    struct buffer tbs;
    struct error err;
    buffer_init(&tbs, X509_TBS_MAX);
    assert_int_equal(x509_certificate_tbs(&key, subject, BEFORE, not_after, serial, &tbs, &err), STATUS_OK);
    char *pem = finish(&tbs, true);
    assert_int_equal(strncmp(pem, "-----BEGIN CERTIFICATE-----\n", 28), 0);
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(x509);
    BIO_free(bio);
    free(pem);
    return x509;
}

static void assert_name(const X509_NAME *name, const char *rfc4514)
{
    char *text = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) > 0);
    size_t len = (size_t)BIO_get_mem_data(bio, &text);
    assert_int_equal(len, strlen(rfc4514));
    assert_memory_equal(text, rfc4514, len);
    BIO_free(bio);
}

static void assert_subject(const char *subject, const char *rfc4514)
{
    X509_REQ *req = request(subject);
    assert_name(X509_REQ_get_subject_name(req), rfc4514);
    X509_REQ_free(req);
}

static void assert_no_subject(const char *subject, const char *message)
{
    struct buffer tbs;
    struct error err;
    buffer_init(&tbs, X509_TBS_MAX);
    buffer_put(&tbs, "x", 1);
    assert_int_equal(x509_request_tbs(&key, subject, &tbs, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, message);
    assert_true(err.next[0] != '\0');
    assert_int_equal(x509_certificate_tbs(&key, subject, BEFORE, AFTER, serial, &tbs, &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(tbs.len, 1);
    assert_int_equal(ERR_peek_error(), 0);
    buffer_free(&tbs);
}

static void test_openssl_verifies_a_request_with_the_key_that_is_in_it(void **state)
{
    (void)state;
    X509_REQ *req = request("CN=app,O=Example,C=DE");
    assert_int_equal(X509_REQ_get_version(req), X509_REQ_VERSION_1);
    assert_int_equal(X509_REQ_verify(req, pkey), 1);
    EVP_PKEY *inside = X509_REQ_get_pubkey(req);
    assert_int_equal(EVP_PKEY_eq(inside, pkey), 1);
    assert_int_equal(X509_REQ_get_signature_nid(req), NID_ecdsa_with_SHA256);
    assert_name(X509_REQ_get_subject_name(req), "CN=app,O=Example,C=DE");
    EVP_PKEY_free(inside);
    X509_REQ_free(req);
}

static void test_openssl_verifies_a_certificate_and_it_is_its_own_issuer(void **state)
{
    (void)state;
    X509 *x509 = certificate("CN=app,O=Example,C=DE", AFTER);
    assert_int_equal(X509_get_version(x509), X509_VERSION_3);
    assert_int_equal(X509_verify(x509, pkey), 1);
    assert_int_equal(X509_self_signed(x509, 1), 1);
    assert_int_equal(X509_get_signature_nid(x509), NID_ecdsa_with_SHA256);
    assert_name(X509_get_subject_name(x509), "CN=app,O=Example,C=DE");
    assert_int_equal(X509_NAME_cmp(X509_get_subject_name(x509), X509_get_issuer_name(x509)), 0);
    X509_free(x509);
}

static void test_a_certificate_is_good_for_a_tls_client_alone(void **state)
{
    (void)state;
    X509 *x509 = certificate("CN=app", AFTER);
    uint8_t id[20];
    unsigned int id_len = 0;
    assert_int_equal(X509_check_purpose(x509, X509_PURPOSE_SSL_CLIENT, 0), 1);
    assert_int_equal(X509_check_purpose(x509, X509_PURPOSE_SSL_SERVER, 0), 0);
    assert_int_equal(X509_check_ca(x509), 0);
    assert_int_equal(X509_get_key_usage(x509), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(x509), XKU_SSL_CLIENT);
    assert_int_equal(X509_get_ext_count(x509), 4);
    assert_true(X509_get_ext_by_critical(x509, 1, -1) >= 0);
    assert_int_equal(X509_pubkey_digest(x509, EVP_sha1(), id, &id_len), 1);
    const ASN1_OCTET_STRING *written = X509_get0_subject_key_id(x509);
    assert_non_null(written);
    assert_int_equal(ASN1_STRING_length(written), id_len);
    assert_memory_equal(ASN1_STRING_get0_data(written), id, id_len);
    X509_free(x509);
}

static void test_a_certificates_serial_is_positive_whatever_the_random_bytes(void **state)
{
    (void)state;
    X509 *x509 = certificate("CN=app", AFTER);
    uint8_t bytes[X509_SERIAL_SIZE] = {0};
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), NULL);
    assert_int_equal(BN_is_negative(number), 0);
    assert_int_equal(BN_bn2bin(number, bytes), X509_SERIAL_SIZE);
    assert_int_equal(bytes[0], 0x7f);
    assert_memory_equal(bytes + 1, serial + 1, X509_SERIAL_SIZE - 1);
    BN_free(number);
    X509_free(x509);
}

static void test_validity_is_what_was_asked_for_beyond_2049_too(void **state)
{
    (void)state;
    static const int64_t ends[] = {AFTER, INT64_C(2524608000), INT64_C(253402300799)};
    for (size_t i = 0; i < 3; i++) {
        X509 *x509 = certificate("CN=app", ends[i]);
        assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notBefore(x509), BEFORE), 0);
        assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notAfter(x509), ends[i]), 0);
        X509_free(x509);
    }
}

static void test_a_certificate_that_is_never_valid_is_refused(void **state)
{
    (void)state;
    static const int64_t times[][2] = {
        {BEFORE, BEFORE}, {AFTER, BEFORE}, {-1, AFTER}, {BEFORE, INT64_C(253402300800)}, {INT64_MIN, INT64_MAX}};
    struct buffer tbs;
    struct error err;
    buffer_init(&tbs, X509_TBS_MAX);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        assert_int_equal(x509_certificate_tbs(&key, "CN=app", times[i][0], times[i][1], serial, &tbs, &err),
                         STATUS_INVALID_ARGUMENT);
    assert_int_equal(tbs.len, 0);
}

/* Halves of a signature with leading zeros are one in 128; they must come out shorter. */
static void test_500_signatures_verify_whatever_zeros_they_begin_with(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        X509_REQ *req = request("CN=app");
        assert_int_equal(X509_REQ_verify(req, pkey), 1);
        X509_REQ_free(req);
    }
}

static void test_the_halves_of_a_signature_are_written_as_der_integers(void **state)
{
    (void)state;
    static const struct {
        uint8_t signature[JWK_SIGNATURE_SIZE];
        uint8_t der[10];
        size_t len;
    } cases[] = {
        {{[31] = 1, [63] = 0x7f}, {0x30, 6, 2, 1, 1, 2, 1, 0x7f}, 8},
        {{[31] = 0x80, [63] = 1}, {0x30, 7, 2, 2, 0, 0x80, 2, 1, 1}, 9},
        {{[30] = 1, [63] = 2}, {0x30, 7, 2, 2, 1, 0, 2, 1, 2}, 9},
        {{0}, {0x30, 6, 2, 1, 0, 2, 1, 0}, 8},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer tbs;
        struct error err;
        char *pem = NULL;
        const ASN1_BIT_STRING *written;
        buffer_init(&tbs, X509_TBS_MAX);
        assert_int_equal(x509_request_tbs(&key, "CN=app", &tbs, &err), STATUS_OK);
        assert_int_equal(x509_pem(&tbs, cases[i].signature, false, &pem), 0);
        BIO *bio = BIO_new_mem_buf(pem, -1);
        X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
        assert_non_null(req);
        X509_REQ_get0_signature(req, &written, NULL);
        assert_int_equal(ASN1_STRING_length(written), cases[i].len);
        assert_memory_equal(ASN1_STRING_get0_data(written), cases[i].der, cases[i].len);
        X509_REQ_free(req);
        BIO_free(bio);
        free(pem);
        buffer_free(&tbs);
    }
}

static void test_a_subject_is_read_as_rfc_4514_writes_it(void **state)
{
    (void)state;
    assert_subject("CN=app", "CN=app");
    assert_subject("CN=app,OU=a,OU=b,O=Example,L=Ulm,ST=BW,C=DE", "CN=app,OU=a,OU=b,O=Example,L=Ulm,ST=BW,C=DE");
    assert_subject("UID=u,DC=example,DC=com", "UID=u,DC=example,DC=com");
    assert_subject("serialNumber=1,emailAddress=a@b.example,STREET=x",
                   "serialNumber=1,emailAddress=a@b.example,street=x");
}

static void test_blanks_around_parts_and_the_case_of_their_names_are_no_matter(void **state)
{
    (void)state;
    assert_subject("  cn = my app  ,  o=Example ", "CN=my app,O=Example");
}

static void test_escaped_characters_are_part_of_a_value(void **state)
{
    (void)state;
    assert_subject("O=Sue\\, Grabbit\\2C and Runn\\+\\\"\\;\\<\\>\\\\",
                   "O=Sue\\, Grabbit\\, and Runn\\+\\\"\\;\\<\\>\\\\");
    assert_subject("CN=\\ a\\ ,O=b", "CN=\\ a\\ ,O=b");
    assert_subject("CN=\\#1=2\\=3#", "CN=\\#1=2=3#");
    assert_subject("CN=Lu\\C4\\8Di\\c4\\87", "CN=Lu\xc4\x8di\xc4\x87");
}

static void test_a_subject_may_be_any_utf_8(void **state)
{
    (void)state;
    assert_subject("CN=Bj\xc3\xb6rn \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x94\x91,C=SE",
                   "CN=Bj\xc3\xb6rn \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x94\x91,C=SE");
}

static void test_what_is_not_a_subject_is_refused_and_the_error_says_why(void **state)
{
    (void)state;
    static const char no_part[] =
        "the subject has a part that does not begin with CN=, L=, ST=, O=, OU=, C=, STREET=, DC=, "
        "UID=, serialNumber= or emailAddress=";
    static const char no_text[] = "the subject's CN is not UTF-8, or has control characters";
    static const char no_escape[] = "the subject's CN has a backslash that escapes nothing";
    assert_no_subject("", "the subject is empty");
    static const char *const parts[] = {" ",       "app",     "CN",          "=app",    "XX=app", "2.5.4.3=app",
                                        "CN=app,", ",CN=app", "CN=app,,O=b", "/CN=app", "C N=app"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        assert_no_subject(parts[i], no_part);
    assert_no_subject("CN=", "the subject's CN is empty");
    assert_no_subject("O=Example,CN= ,C=DE", "the subject's CN is empty");
    assert_no_subject("CN=#04024869", "the subject's CN begins with #: values in hexadecimal are not read");
    static const char *const bare[] = {"CN=a;O=b", "CN=a+OU=b", "CN=\"a\"", "CN=a<", "CN=a>"};
    for (size_t i = 0; i < sizeof(bare) / sizeof(bare[0]); i++)
        assert_no_subject(bare[i], "the subject's CN has one of \" + ; < > without a backslash before it");
    static const char *const escapes[] = {"CN=\\", "CN=a\\x", "CN=a\\4", "CN=a\\4g", "CN=a\\00"};
    for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++)
        assert_no_subject(escapes[i], no_escape);
    assert_no_subject("CN=\xff", no_text);
    assert_no_subject("CN=a\\ff", no_text);
    assert_no_subject("CN=a\nb", no_text);
    assert_no_subject("CN=a\\0ab", no_text);
}

static void test_a_part_that_x_520_does_not_allow_is_refused(void **state)
{
    (void)state;
    static const char text[] = " is too long, too short, or has characters that X.520 does not allow in it";
    static const char *const subjects[][2] = {
        {"C=DEU", "C"},
        {"C=D", "C"},
        {"C=\xc3\xa9", "C"},
        {"DC=\xc3\xa9", "DC"},
        {"emailAddress=\xc3\xa9@b", "emailAddress"},
    };
    char subject[256], message[256];
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        (void)snprintf(message, sizeof(message), "the subject's %s%s", subjects[i][1], text);
        assert_no_subject(subjects[i][0], message);
    }
    (void)snprintf(subject, sizeof(subject), "CN=%064d", 0);
    assert_subject(subject, subject);
    (void)snprintf(subject, sizeof(subject), "CN=%065d", 0);
    (void)snprintf(message, sizeof(message), "the subject's CN%s", text);
    assert_no_subject(subject, message);
}

static void test_a_subject_beyond_1_kib_is_refused(void **state)
{
    (void)state;
    char subject[X509_SUBJECT_MAX + 2] = "";
    while (strlen(subject) + 7 < X509_SUBJECT_MAX)
        (void)strcat(subject, subject[0] == '\0' ? "DC=a" : ",DC=a");
    X509_REQ_free(request(subject));
    while (strlen(subject) < X509_SUBJECT_MAX)
        (void)strcat(subject, "b");
    assert_no_subject(subject, "the subject is longer than 1 KiB");
}

static void test_a_key_that_is_not_on_the_curve_is_refused(void **state)
{
    (void)state;
    struct jwk other = {.x = {1}, .y = {2}};
    struct buffer tbs;
    struct error err;
    buffer_init(&tbs, X509_TBS_MAX);
    assert_int_equal(x509_request_tbs(&other, "CN=app", &tbs, &err), STATUS_INTERNAL);
    assert_int_equal(x509_certificate_tbs(&other, "CN=app", BEFORE, AFTER, serial, &tbs, &err), STATUS_INTERNAL);
    assert_int_equal(tbs.len, 0);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_without_room_nothing_is_appended(void **state)
{
    (void)state;
    struct buffer tbs;
    struct error err;
    buffer_init(&tbs, 100);
    assert_int_equal(x509_request_tbs(&key, "CN=app", &tbs, &err), STATUS_NO_MEMORY);
    assert_int_equal(tbs.len, 0);
    buffer_free(&tbs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openssl_verifies_a_request_with_the_key_that_is_in_it),
        cmocka_unit_test(test_openssl_verifies_a_certificate_and_it_is_its_own_issuer),
        cmocka_unit_test(test_a_certificate_is_good_for_a_tls_client_alone),
        cmocka_unit_test(test_a_certificates_serial_is_positive_whatever_the_random_bytes),
        cmocka_unit_test(test_validity_is_what_was_asked_for_beyond_2049_too),
        cmocka_unit_test(test_a_certificate_that_is_never_valid_is_refused),
        cmocka_unit_test(test_500_signatures_verify_whatever_zeros_they_begin_with),
        cmocka_unit_test(test_the_halves_of_a_signature_are_written_as_der_integers),
        cmocka_unit_test(test_a_subject_is_read_as_rfc_4514_writes_it),
        cmocka_unit_test(test_blanks_around_parts_and_the_case_of_their_names_are_no_matter),
        cmocka_unit_test(test_escaped_characters_are_part_of_a_value),
        cmocka_unit_test(test_a_subject_may_be_any_utf_8),
        cmocka_unit_test(test_what_is_not_a_subject_is_refused_and_the_error_says_why),
        cmocka_unit_test(test_a_part_that_x_520_does_not_allow_is_refused),
        cmocka_unit_test(test_a_subject_beyond_1_kib_is_refused),
        cmocka_unit_test(test_a_key_that_is_not_on_the_curve_is_refused),
        cmocka_unit_test(test_without_room_nothing_is_appended),
    };
    return cmocka_run_group_tests(tests, make_key, free_key);
}
