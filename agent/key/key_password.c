/* See key_password.h. */
#include "key_password.h"

#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

enum status key_password_needed(struct error *err)
{
    return error_set(err, STATUS_SECRET_UNREADABLE, "give the file's password", "the key file is encrypted");
}

/* OpenSSL's reasons that are not about the password, but about what it can do. */
static bool says_unsupported(unsigned long code)
{
    static const struct {
        int library, reason;
    } rows[] = {
        {ERR_LIB_EVP, EVP_R_UNSUPPORTED_ALGORITHM},
        {ERR_LIB_EVP, EVP_R_UNKNOWN_PBE_ALGORITHM},
        {ERR_LIB_EVP, EVP_R_UNKNOWN_CIPHER},
        {ERR_LIB_EVP, EVP_R_UNSUPPORTED_CIPHER},
        {ERR_LIB_EVP, EVP_R_UNSUPPORTED_KEY_DERIVATION_FUNCTION},
        {ERR_LIB_EVP, EVP_R_UNSUPPORTED_PRF},
        {ERR_LIB_EVP, EVP_R_UNSUPPORTED_KEYLENGTH},
        {ERR_LIB_PEM, PEM_R_UNSUPPORTED_CIPHER},
        {ERR_LIB_PEM, PEM_R_UNSUPPORTED_ENCRYPTION},
        {ERR_LIB_PKCS12, PKCS12_R_UNKNOWN_DIGEST_ALGORITHM},
    };
    if (ERR_GET_REASON(code) == ERR_R_UNSUPPORTED || ERR_GET_REASON(code) == ERR_R_FETCH_FAILED)
        return true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (ERR_GET_LIB(code) == rows[i].library && ERR_GET_REASON(code) == rows[i].reason)
            return true;
    return false;
}

enum status key_password_failed(const struct secret *password, struct error *err)
{
    bool unsupported = false;
    for (unsigned long code = ERR_get_error(); code != 0; code = ERR_get_error())
        unsupported = unsupported || says_unsupported(code);
    if (unsupported)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "install OpenSSL's legacy provider (legacy.so), or encrypt the file anew with AES-256",
                         "the key file is encrypted in a way that OpenSSL here cannot undo (RC2, RC4 and DES need its "
                         "legacy provider)");
    if (password == NULL)
        return key_password_needed(err);
    return error_set(err, STATUS_INVALID_ARGUMENT, "give the right password",
                     "the password does not open the key file (or the file is damaged)");
}

enum status key_password_too_many_rounds(struct error *err)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "encrypt the file anew: openssl pkcs8 -topk8 -in FILE -out NEW",
                     "the key file's password is to be hashed more than %d times", KEY_PASSWORD_ROUNDS_MAX);
}

static bool in_bounds(const ASN1_INTEGER *rounds)
{
    int64_t n;
    return ASN1_INTEGER_get_int64(&n, rounds) == 1 && n <= KEY_PASSWORD_ROUNDS_MAX;
}

static const ASN1_STRING *sequence_of(const X509_ALGOR *algorithm, const ASN1_OBJECT **oid)
{
    int type;
    const void *value;
    X509_ALGOR_get0(oid, &type, &value, algorithm);
    return type == V_ASN1_SEQUENCE ? value : NULL;
}

static bool key_derivation_in_bounds(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *oid;
    const ASN1_STRING *parameters = sequence_of(algorithm, &oid);
    if (OBJ_obj2nid(oid) != NID_id_pbkdf2) /* scrypt: OpenSSL sets bounds of its own */
        return true;
    PBKDF2PARAM *kdf = parameters != NULL ? ASN1_item_unpack(parameters, ASN1_ITEM_rptr(PBKDF2PARAM)) : NULL;
    bool good = kdf == NULL || in_bounds(kdf->iter); /* what cannot be read is OpenSSL's to refuse */
    PBKDF2PARAM_free(kdf);
    return good;
}

enum status key_password_check_rounds(const X509_ALGOR *algorithm, struct error *err)
{
    const ASN1_OBJECT *oid;
    const ASN1_STRING *parameters = sequence_of(algorithm, &oid);
    bool good = true;
    if (parameters == NULL)
        return STATUS_OK;
    if (OBJ_obj2nid(oid) == NID_pbes2) {
        PBE2PARAM *pbes2 = ASN1_item_unpack(parameters, ASN1_ITEM_rptr(PBE2PARAM));
        good = pbes2 == NULL || key_derivation_in_bounds(pbes2->keyfunc);
        PBE2PARAM_free(pbes2);
    } else {
        PBEPARAM *pbes1 = ASN1_item_unpack(parameters, ASN1_ITEM_rptr(PBEPARAM));
        good = pbes1 == NULL || in_bounds(pbes1->iter);
        PBEPARAM_free(pbes1);
    }
    return good ? STATUS_OK : key_password_too_many_rounds(err);
}
