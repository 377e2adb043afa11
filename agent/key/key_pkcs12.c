/* See key_pkcs12.h. */
#include "key_pkcs12.h"

#include "key_der.h"
#include "key_password.h"

#include <openssl/err.h>
#include <openssl/pkcs12.h>

/* No password is written in two ways: as an empty text, and as no text. */
struct opening {
    const struct secret *given;
    const char *password;
    int password_len;
    struct private_key key;
    size_t certificates;
    bool closed; /* something did not open, and nobody knows what is in it */
};

static enum status check_rounds(const PKCS12 *p12, struct error *err)
{
    const ASN1_INTEGER *rounds = NULL;
    int64_t n = 1;
    if (PKCS12_mac_present(p12))
        PKCS12_get0_mac(NULL, NULL, NULL, &rounds, p12);
    if (rounds != NULL && (ASN1_INTEGER_get_int64(&n, rounds) != 1 || n > KEY_PASSWORD_ROUNDS_MAX))
        return key_password_too_many_rounds(err);
    return STATUS_OK;
}

/* Finds the form of the password that the file's MAC is made with. A file without one tells when a bag is opened. */
static enum status check_password(PKCS12 *p12, struct opening *o, struct error *err)
{
    const struct secret *password = o->given;
    bool empty = password == NULL || password->len == 0;
    enum status status = check_rounds(p12, err);
    if (status != STATUS_OK)
        return status;
    o->password = empty ? "" : (const char *)password->data;
    o->password_len = empty ? 0 : (int)password->len;
    if (!PKCS12_mac_present(p12) || PKCS12_verify_mac(p12, o->password, o->password_len) == 1)
        return STATUS_OK;
    if (empty && PKCS12_verify_mac(p12, NULL, 0) == 1) {
        o->password = NULL;
        return STATUS_OK;
    }
    return key_password_failed(password, err);
}

static enum status keep(struct opening *o, const PKCS8_PRIV_KEY_INFO *info, struct error *err)
{
    if (o->key.d != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "export one key into a file of its own",
                         "the file holds more than one private key");
    return key_der_from_info(info, &o->key, err);
}

static enum status open_shrouded(struct opening *o, const PKCS12_SAFEBAG *bag, struct error *err)
{
    const X509_ALGOR *algorithm = NULL;
    X509_SIG_get0(PKCS12_SAFEBAG_get0_pkcs8(bag), &algorithm, NULL);
    enum status status = key_password_check_rounds(algorithm, err);
    if (status != STATUS_OK)
        return status;
    PKCS8_PRIV_KEY_INFO *info = PKCS12_decrypt_skey(bag, o->password, o->password_len);
    if (info == NULL)
        return key_password_failed(o->given, err);
    status = keep(o, info, err);
    PKCS8_PRIV_KEY_INFO_free(info);
    return status;
}

static enum status look_into_bag(struct opening *o, const PKCS12_SAFEBAG *bag, struct error *err)
{
    switch (PKCS12_SAFEBAG_get_nid(bag)) {
    case NID_keyBag:
        return keep(o, PKCS12_SAFEBAG_get0_p8inf(bag), err);
    case NID_pkcs8ShroudedKeyBag:
        return open_shrouded(o, bag, err);
    case NID_certBag:
        o->certificates++;
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

static enum status look_into_safe(struct opening *o, PKCS7 *safe, struct error *err)
{
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    enum status status = STATUS_OK;
    if (PKCS7_type_is_data(safe)) {
        bags = PKCS12_unpack_p7data(safe);
    } else if (PKCS7_type_is_encrypted(safe) && safe->d.encrypted != NULL && safe->d.encrypted->enc_data != NULL) {
        status = key_password_check_rounds(safe->d.encrypted->enc_data->algorithm, err);
        bags = status == STATUS_OK ? PKCS12_unpack_p7encdata(safe, o->password, o->password_len) : NULL;
    }
    if (bags == NULL)
        o->closed = true;
    for (int i = 0; bags != NULL && status == STATUS_OK && i < sk_PKCS12_SAFEBAG_num(bags); i++)
        status = look_into_bag(o, sk_PKCS12_SAFEBAG_value(bags, i), err);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    return status;
}

static enum status look(PKCS12 *p12, struct opening *o, struct error *err)
{
    STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(p12);
    enum status status = safes == NULL ? key_der_damaged("PKCS#12 content", err) : STATUS_OK;
    for (int i = 0; safes != NULL && status == STATUS_OK && i < sk_PKCS7_num(safes); i++)
        status = look_into_safe(o, sk_PKCS7_value(safes, i), err);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    if (status != STATUS_OK || o->key.d != NULL)
        return status;
    if (o->closed)
        return key_password_failed(o->given, err);
    return o->certificates > 0 ? key_der_certificate_only(err)
                               : error_set(err, STATUS_INVALID_ARGUMENT, "give the file with the private key",
                                           "the PKCS#12 file holds no private key");
}

enum status key_pkcs12_read(struct span der, const struct secret *password, struct private_key *out, struct error *err)
{
    const uint8_t *at = der.data;
    struct opening o = {.given = password};
    PKCS12 *p12 = d2i_PKCS12(NULL, &at, (long)der.len);
    if (p12 == NULL || at != der.data + der.len) {
        PKCS12_free(p12);
        return key_der_damaged("PKCS#12 content", err);
    }
    enum status status = check_password(p12, &o, err);
    if (status == STATUS_OK)
        status = look(p12, &o, err);
    PKCS12_free(p12);
    if (status == STATUS_OK)
        *out = o.key;
    else
        private_key_free(&o.key);
    return status;
}
