/* See destroy.h. */
#include "destroy.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINT_MAX 256
#define CERTIFICATE_MAX 16384

/* The key that is to go. */
struct target {
    struct uri uri;
    struct span jkt;
    uint8_t id[OBJECT_ID_MAX];
    size_t id_len; /* 0: not known */
};

static bool is_targets(const struct target *t, const struct jwk *jwk)
{
    char jkt[JWK_THUMBPRINT_SIZE];
    return jwk_thumbprint(jwk, jkt) == 0 && span_is(t->jkt, jkt);
}

static enum status destroy_object(const struct make_place *p, CK_OBJECT_HANDLE handle, const char *what,
                                  struct error *err)
{
    char call[64];
    CK_RV rv = p->m->f->C_DestroyObject(p->session, handle);
    if (rv == CKR_OK || rv == CKR_OBJECT_HANDLE_INVALID) /* somebody else was faster */
        return STATUS_OK;
    (void)snprintf(call, sizeof(call), "C_DestroyObject of the %s", what);
    return module_failed(p->m, call, rv, err);
}

static bool public_is_targets(const struct make_place *p, const struct target *t, CK_OBJECT_HANDLE handle)
{
    uint8_t point[POINT_MAX];
    struct jwk jwk;
    size_t len;
    return object_attribute(p->m, p->session, handle, CKA_EC_POINT, point, sizeof(point), &len) == 0 &&
           jwk_from_point(span_of(point, len), &jwk) == 0 && is_targets(t, &jwk);
}

static bool certificate_is_targets(const struct make_place *p, const struct target *t, CK_OBJECT_HANDLE handle)
{
    uint8_t point[POINT_MAX], *der = malloc(CERTIFICATE_MAX);
    const uint8_t *at = der;
    struct jwk jwk;
    size_t len;
    bool result = false;
    X509 *certificate = NULL;
    ERR_set_mark();
    if (der != NULL && object_attribute(p->m, p->session, handle, CKA_VALUE, der, CERTIFICATE_MAX, &len) == 0)
        certificate = d2i_X509(NULL, &at, (long)len);
    const EVP_PKEY *pkey = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    if (pkey != NULL &&
        EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len) == 1)
        result = jwk_from_point(span_of(point, len), &jwk) == 0 && is_targets(t, &jwk);
    ERR_pop_to_mark();
    X509_free(certificate);
    free(der);
    return result;
}

/* What belongs to the key beside the private object, by its CKA_ID. */
static enum status destroy_rest(const struct make_place *p, const struct target *t, struct error *err)
{
    static const struct {
        CK_OBJECT_CLASS class;
        const char *what;
        bool (*is_targets)(const struct make_place *p, const struct target *t, CK_OBJECT_HANDLE handle);
    } kinds[] = {{CKO_CERTIFICATE, "certificate", certificate_is_targets},
                 {CKO_PUBLIC_KEY, "public key", public_is_targets}};
    enum status status = STATUS_OK;
    for (size_t k = 0; t->id_len > 0 && k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        CK_OBJECT_CLASS class = kinds[k].class;
        struct object_found found;
        uint8_t id[OBJECT_ID_MAX];
        memcpy(id, t->id, t->id_len);
        CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, id, t->id_len}};
        status = object_search(p->m, p->session, attributes, 2, &found, err);
        for (CK_ULONG i = 0; status == STATUS_OK && i < found.count; i++)
            if (kinds[k].is_targets(p, t, found.handles[i]))
                status = destroy_object(p, found.handles[i], kinds[k].what, err);
        if (status != STATUS_OK)
            break;
    }
    return status;
}

static enum status search_by_uri(const struct make_place *p, const struct target *t, CK_OBJECT_CLASS class,
                                 struct object_found *out, struct error *err)
{
    const CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(t->uri.parsed, CKA_LABEL);
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(t->uri.parsed, CKA_ID);
    CK_ATTRIBUTE attributes[3] = {{CKA_CLASS, &class, sizeof(class)}};
    CK_ULONG count = 1;
    if (label != NULL)
        attributes[count++] = *label;
    if (id != NULL)
        attributes[count++] = *id;
    return object_search(p->m, p->session, attributes, count, out, err);
}

/* The private object is gone: a public one that the URI fits tells the CKA_ID of the rest. */
static enum status destroy_remains(const struct make_place *p, struct target *t, struct error *err)
{
    struct object_found found;
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(t->uri.parsed, CKA_ID);
    enum status status = search_by_uri(p, t, CKO_PUBLIC_KEY, &found, err);
    if (status != STATUS_OK)
        return status;
    if (id != NULL && id->ulValueLen <= sizeof(t->id)) {
        memcpy(t->id, id->pValue, id->ulValueLen);
        t->id_len = id->ulValueLen;
    }
    for (CK_ULONG i = 0; t->id_len == 0 && i < found.count; i++)
        if (public_is_targets(p, t, found.handles[i]) &&
            object_attribute(p->m, p->session, found.handles[i], CKA_ID, t->id, sizeof(t->id), &t->id_len) != 0)
            t->id_len = 0;
    return destroy_rest(p, t, err);
}

static enum status destroy_whole(const struct make_place *p, struct target *t, struct error *err)
{
    struct object o;
    char jkt[JWK_THUMBPRINT_SIZE];
    enum status status = object_find(p->m, p->session, &t->uri, true, p->pin, &o, err);
    if (status != STATUS_OK)
        return status;
    if (jwk_thumbprint(&o.jwk, jkt) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "the thumbprint could not be computed");
    if (!span_is(t->jkt, jkt))
        return error_set(err, STATUS_KEY_WRONG, "see what is in the token: pkcs11-tool --list-objects",
                         "the uri leads to another key in token \"%s\": its thumbprint is %s, not %.*s; it stays",
                         p->token->label, jkt, (int)t->jkt.len, (const char *)t->jkt.data);
    memcpy(t->id, o.id, o.id_len);
    t->id_len = o.id_len;
    status = make_check_signature(p, &o, err);
    if (status == STATUS_OK)
        status = destroy_object(p, o.handle, "private key", err);
    return status == STATUS_OK ? destroy_rest(p, t, err) : status;
}

/* The front chose this process for the token that the URI names. */
static enum status check_token(const struct make_place *p, const struct target *t, struct error *err)
{
    struct token named;
    enum status status = token_find(p->m, &t->uri, &named, err);
    if (status == STATUS_KEY_ABSENT) /* another one, not ours, which the session shows to be there */
        return err->status = STATUS_KEY_WRONG;
    if (status == STATUS_OK && named.slot != p->token->slot)
        status = error_set(err, STATUS_KEY_WRONG, NULL, "the uri names token \"%s\", not \"%s\"", named.label,
                           p->token->label);
    return status;
}

enum status destroy_by_uri(const struct make_place *p, struct span uri, struct span jkt, struct error *err)
{
    struct target t = {.jkt = jkt};
    struct object_found found;
    char *text = span_dup(uri);
    if (text == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    enum status status = uri_parse(text, &t.uri, err);
    free(text);
    if (status != STATUS_OK)
        return status;
    status = check_token(p, &t, err);
    if (status == STATUS_OK)
        status = search_by_uri(p, &t, CKO_PRIVATE_KEY, &found, err);
    if (status == STATUS_OK)
        status = found.count == 0 ? destroy_remains(p, &t, err) : destroy_whole(p, &t, err);
    uri_free(&t.uri);
    return status;
}
