/* See public_key.h. */
#include "public_key.h"

#include "recover.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define POINT_MAX 256
#define CERTIFICATE_MAX 16384

static bool read_point(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, struct jwk *out)
{
    uint8_t point[POINT_MAX];
    size_t len;
    return object_attribute(m, session, handle, CKA_EC_POINT, point, sizeof(point), &len) == 0 &&
           jwk_from_point(span_of(point, len), out) == 0;
}

/* Objects of a class with the private key's CKA_ID. */
static enum status search(const struct module *m, CK_SESSION_HANDLE session, const struct object *o,
                          CK_OBJECT_CLASS class,
                          struct object_found *out, struct error *err)
{
    uint8_t id[OBJECT_ID_MAX];
    memcpy(id, o->id, o->id_len);
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, id, o->id_len}};
    *out = (struct object_found){.count = 0};
    return o->id_len > 0 ? object_search(m, session, attributes, 2, out, err) : STATUS_OK;
}

static bool from_der(const uint8_t *der, size_t len, struct jwk *out)
{
    uint8_t point[POINT_MAX];
    size_t point_len = 0;
    ERR_set_mark();
    X509 *certificate = d2i_X509(NULL, &der, (long)len);
    const EVP_PKEY *key = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    bool good = key != NULL && EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                                               &point_len) == 1 &&
                jwk_from_point(span_of(point, point_len), out) == 0;
    X509_free(certificate);
    ERR_pop_to_mark();
    return good;
}

static bool read_certificate(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle,
                             struct jwk *out)
{
    size_t len;
    uint8_t *der = malloc(CERTIFICATE_MAX);
    bool good = der != NULL && object_attribute(m, session, handle, CKA_VALUE, der, CERTIFICATE_MAX, &len) == 0 &&
                from_der(der, len, out);
    free(der);
    return good;
}

static enum status recover(const struct module *m, CK_SESSION_HANDLE session, const struct object *o, struct jwk *out,
                           struct error *err)
{
    struct recover_sample samples[2];
    for (size_t i = 0; i < 2; i++) {
        randombytes_buf(samples[i].digest, sizeof(samples[i].digest));
        enum status status = object_sign(m, session, o, samples[i].digest, samples[i].signature, err);
        if (status != STATUS_OK)
            return status;
    }
    if (recover_public_key(samples, out) != 0)
        return error_set(err, STATUS_KEY_FAILED, "look at the token: what it signs is no signature of one P-256 key",
                         "the token has no public key for the key, and two signatures of %s do not tell it", m->path);
    return STATUS_OK;
}

enum status public_key_find(const struct module *m, CK_SESSION_HANDLE session, const struct object *o, struct jwk *out,
                            struct error *err)
{
    struct object_found found;
    enum status status = search(m, session, o, CKO_PUBLIC_KEY, &found, err);
    if (status != STATUS_OK)
        return status;
    if (found.count > 1)
        return error_set(err, STATUS_KEY_UNFIT, "have one public key object with the private key's CKA_ID in the token",
                         "the token has more than one public key object for the key");
    if (found.count == 1 && read_point(m, session, found.handles[0], out))
        return STATUS_OK;
    if (read_point(m, session, o->handle, out))
        return STATUS_OK;
    status = search(m, session, o, CKO_CERTIFICATE, &found, err);
    if (status != STATUS_OK)
        return status;
    if (found.count == 1 && read_certificate(m, session, found.handles[0], out))
        return STATUS_OK;
    return recover(m, session, o, out, err);
}
