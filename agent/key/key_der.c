/* See key_der.h. */
#include "key_der.h"

#include "key_password.h"

#include <limits.h>
#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pkcs12.h>

#define SHOWN 3 /* elements within the outermost one that tell what it is */

struct element {
    int tag; /* V_ASN1_…; -1: there is none */
    const uint8_t *content;
    long len;
};

/* The next element; moves `at` behind it. An element of indefinite length (BER, in PKCS#12) ends what can be seen. */
static struct element next(const uint8_t **at, const uint8_t *end)
{
    struct element e = {.tag = -1};
    int class;
    const uint8_t *p = *at;
    if (p >= end)
        return e;
    int r = ASN1_get_object(&p, &e.len, &e.tag, &class, end - p);
    if ((r & 0x80) != 0 || class != V_ASN1_UNIVERSAL) {
        ERR_clear_error();
        e.tag = -1;
        *at = end;
        return e;
    }
    e.content = p;
    e.len = (r & 1) != 0 ? (long)(end - p) : e.len;
    *at = p + e.len;
    return e;
}

static bool is_integer(const struct element *e, uint8_t value)
{
    return e->tag == V_ASN1_INTEGER && e->len == 1 && e->content[0] == value;
}

enum key_der_kind key_der_recognise(struct span der)
{
    const uint8_t *at = der.data, *end = at + der.len;
    struct element outer = next(&at, end), shown[SHOWN];
    if (outer.tag != V_ASN1_SEQUENCE)
        return KEY_DER_NONE;
    at = outer.content;
    end = at + outer.len;
    for (size_t i = 0; i < SHOWN; i++)
        shown[i] = next(&at, end);
    int second = shown[1].tag;
    if (is_integer(&shown[0], 0) || is_integer(&shown[0], 1)) {
        if (second == V_ASN1_SEQUENCE)
            return KEY_DER_PKCS8;
        if (second == V_ASN1_OCTET_STRING)
            return KEY_DER_SEC1;
        return second == V_ASN1_INTEGER ? KEY_DER_RSA : KEY_DER_NONE;
    }
    if (is_integer(&shown[0], 3) && second == V_ASN1_SEQUENCE)
        return KEY_DER_PKCS12;
    if (shown[0].tag != V_ASN1_SEQUENCE)
        return KEY_DER_NONE;
    if (second == V_ASN1_OCTET_STRING)
        return KEY_DER_ENCRYPTED;
    if (second == V_ASN1_BIT_STRING)
        return KEY_DER_PUBLIC;
    return second == V_ASN1_SEQUENCE && shown[2].tag == V_ASN1_BIT_STRING ? KEY_DER_CERTIFICATE : KEY_DER_NONE;
}

enum status key_der_certificate_only(struct error *err)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "give the file with the private key",
                     "the file holds a certificate, and no private key");
}

enum status key_der_public_only(struct error *err)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "give the file with the private key",
                     "the file holds a public key only");
}

enum status key_der_damaged(const char *what, struct error *err)
{
    ERR_clear_error();
    return error_set(err, STATUS_INVALID_ARGUMENT, "export the key again from where it comes from",
                     "the file's %s is damaged, or of a kind that OpenSSL does not know", what);
}

enum status key_der_sec1(struct span der, struct private_key *out, struct error *err)
{
    const uint8_t *at = der.data;
    EVP_PKEY *pkey = d2i_PrivateKey(EVP_PKEY_EC, NULL, &at, (long)der.len);
    if (pkey == NULL || at != der.data + der.len) {
        EVP_PKEY_free(pkey);
        return key_der_damaged("EC private key", err);
    }
    enum status status = private_key_from_pkey(pkey, out, err);
    EVP_PKEY_free(pkey);
    return status;
}

enum status key_der_from_info(const PKCS8_PRIV_KEY_INFO *info, struct private_key *out, struct error *err)
{
    const ASN1_OBJECT *algorithm = NULL;
    char name[64] = "(unknown)";
    if (PKCS8_pkey_get0(&algorithm, NULL, NULL, NULL, info) != 1)
        return key_der_damaged("PKCS#8 private key", err);
    if (OBJ_obj2nid(algorithm) != NID_X9_62_id_ecPublicKey) {
        (void)OBJ_obj2txt(name, sizeof(name), algorithm, 0);
        return private_key_other("of the algorithm", name, err);
    }
    EVP_PKEY *pkey = EVP_PKCS82PKEY(info);
    if (pkey == NULL)
        return key_der_damaged("PKCS#8 private key", err);
    enum status status = private_key_from_pkey(pkey, out, err);
    EVP_PKEY_free(pkey);
    return status;
}

enum status key_der_pkcs8(struct span der, struct private_key *out, struct error *err)
{
    const uint8_t *at = der.data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)der.len);
    enum status status = info == NULL || at != der.data + der.len ? key_der_damaged("PKCS#8 private key", err)
                                                                 : key_der_from_info(info, out, err);
    PKCS8_PRIV_KEY_INFO_free(info);
    return status;
}

enum status key_der_encrypted(struct span der, const struct secret *password, struct private_key *out,
                              struct error *err)
{
    const uint8_t *at = der.data;
    const X509_ALGOR *algorithm;
    PKCS8_PRIV_KEY_INFO *info = NULL;
    X509_SIG *encrypted = d2i_X509_SIG(NULL, &at, (long)der.len);
    if (encrypted == NULL || at != der.data + der.len) {
        X509_SIG_free(encrypted);
        return key_der_damaged("encrypted private key", err);
    }
    X509_SIG_get0(encrypted, &algorithm, NULL);
    enum status status = password == NULL ? key_password_needed(err) : key_password_check_rounds(algorithm, err);
    if (status == STATUS_OK) {
        info = PKCS8_decrypt(encrypted, (const char *)password->data, (int)password->len);
        status = info != NULL ? key_der_from_info(info, out, err) : key_password_failed(password, err);
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    X509_SIG_free(encrypted);
    return status;
}
