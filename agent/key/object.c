/* See object.h. */
#include "object.h"

#include "ckr.h"
#include "messages.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ID_MAX 128
#define POINT_MAX 256
#define LISTING_SIZE 320
#define INSIDE "make the key inside the token, for example with dpop init"

/* prime256v1, as RFC 5480 names it: OBJECT IDENTIFIER 1.2.840.10045.3.1.7 */
static const uint8_t p256_params[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

/* What there is to know about a private key before it is used. Attributes that the token has not are not "known". */
struct facts {
    uint8_t id[ID_MAX];
    size_t id_len;
    CK_KEY_TYPE type;
    uint8_t params[POINT_MAX];
    size_t params_len;
    uint32_t known, set; /* KEY_* */
};

enum status object_search(const struct module *m, CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count,
                          struct object_found *out, struct error *err)
{
    struct object_found found = {0};
    CK_RV rv = m->f->C_FindObjectsInit(session, attributes, count);
    if (rv != CKR_OK)
        return module_failed(m, "C_FindObjectsInit", rv, err);
    while (found.count < OBJECT_FOUND_MAX) { /* a module may give fewer than it was asked for, and has more */
        CK_ULONG n = 0;
        rv = m->f->C_FindObjects(session, found.handles + found.count, OBJECT_FOUND_MAX - found.count, &n);
        if (rv != CKR_OK || n == 0 || n > OBJECT_FOUND_MAX - found.count)
            break;
        found.count += n;
    }
    (void)m->f->C_FindObjectsFinal(session);
    if (rv != CKR_OK)
        return module_failed(m, "C_FindObjects", rv, err);
    *out = found;
    return STATUS_OK;
}

int object_attribute(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                     void *out, size_t size, size_t *len)
{
    CK_ATTRIBUTE a = {type, out, size};
    CK_RV rv = m->f->C_GetAttributeValue(session, handle, &a, 1);
    if (rv != CKR_OK || a.ulValueLen > size)
        return -1;
    *len = a.ulValueLen;
    return 0;
}

static void read_facts(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, struct facts *out)
{
    static const struct {
        CK_ATTRIBUTE_TYPE type;
        uint32_t bit;
    } flags[] = {
        {CKA_SENSITIVE, KEY_SENSITIVE},     {CKA_ALWAYS_SENSITIVE, KEY_ALWAYS_SENSITIVE},
        {CKA_EXTRACTABLE, KEY_EXTRACTABLE}, {CKA_NEVER_EXTRACTABLE, KEY_NEVER_EXTRACTABLE},
        {CKA_LOCAL, KEY_LOCAL},             {CKA_PRIVATE, KEY_PRIVATE},
        {CKA_SIGN, KEY_SIGN},               {CKA_ALWAYS_AUTHENTICATE, KEY_ALWAYS_AUTHENTICATE},
    };
    size_t len;
    *out = (struct facts){.type = CK_UNAVAILABLE_INFORMATION};
    if (object_attribute(m, session, handle, CKA_ID, out->id, sizeof(out->id), &out->id_len) != 0)
        out->id_len = 0;
    if (object_attribute(m, session, handle, CKA_KEY_TYPE, &out->type, sizeof(out->type), &len) != 0 ||
        len != sizeof(out->type))
        out->type = CK_UNAVAILABLE_INFORMATION;
    if (object_attribute(m, session, handle, CKA_EC_PARAMS, out->params, sizeof(out->params), &out->params_len) != 0)
        out->params_len = 0;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        CK_BBOOL value;
        if (object_attribute(m, session, handle, flags[i].type, &value, sizeof(value), &len) != 0 || len != sizeof(value))
            continue;
        out->known |= flags[i].bit;
        out->set |= value != CK_FALSE ? flags[i].bit : 0;
    }
}

/* The requirements, in the order in which they are reported. What the token does not say counts against the key. */
static enum status judge(const struct facts *facts, bool allow_imported, struct error *err)
{
    static const struct {
        uint32_t bit;
        bool wanted;
        bool may_be_imported;
        const char *wrong, *next;
    } rules[] = {
        {KEY_PRIVATE, true, false, "not private (CKA_PRIVATE): it can be used without the PIN", INSIDE},
        {KEY_SENSITIVE, true, false, "not sensitive (CKA_SENSITIVE): it can be read out", INSIDE},
        {KEY_EXTRACTABLE, false, false, "extractable (CKA_EXTRACTABLE)", INSIDE},
        {KEY_SIGN, true, false, "not for signing (CKA_SIGN)", "use a key that may sign"},
        {KEY_LOCAL, true, true, "not made in the token (CKA_LOCAL)", INSIDE ", or set allow-imported = yes"},
        {KEY_NEVER_EXTRACTABLE, true, true, "one that was extractable once (CKA_NEVER_EXTRACTABLE)",
         INSIDE ", or set allow-imported = yes"},
        {KEY_ALWAYS_SENSITIVE, true, true, "one that was not always sensitive (CKA_ALWAYS_SENSITIVE)",
         INSIDE ", or set allow-imported = yes"},
    };
    if (facts->type != CKK_EC || facts->params_len != sizeof(p256_params) ||
        memcmp(facts->params, p256_params, sizeof(p256_params)) != 0)
        return error_set(err, STATUS_KEY_UNFIT, "make an EC key on the curve prime256v1 (P-256)",
                         "the key is not a P-256 key (%s)", facts->type == CKK_EC ? "another curve" : "another type");
    if (facts->set & KEY_ALWAYS_AUTHENTICATE)
        return error_set(err, STATUS_KEY_UNFIT, "use a key without CKA_ALWAYS_AUTHENTICATE",
                         "the key wants its PIN for every signature (CKA_ALWAYS_AUTHENTICATE), which is not supported");
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        bool known = (facts->known & rules[i].bit) != 0, value = (facts->set & rules[i].bit) != 0;
        if ((known && value == rules[i].wanted) || (rules[i].may_be_imported && allow_imported))
            continue;
        return error_set(err, STATUS_KEY_UNFIT, rules[i].next, "the key is %s%s", rules[i].wrong,
                         known ? "" : "; the token does not tell");
    }
    return STATUS_OK;
}

static enum status read_public(const struct module *m, CK_SESSION_HANDLE session, const struct facts *facts,
                               struct jwk *out, struct error *err)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_EC;
    uint8_t id[ID_MAX], point[POINT_MAX];
    size_t len;
    struct object_found found;
    memcpy(id, facts->id, facts->id_len);
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)}, {CKA_KEY_TYPE, &type, sizeof(type)}, {CKA_ID, id, facts->id_len}};
    if (facts->id_len == 0)
        return error_set(err, STATUS_KEY_UNFIT, "give the private and the public key object the same CKA_ID",
                         "the key has no CKA_ID to find its public key by");
    enum status status = object_search(m, session, attributes, 3, &found, err);
    if (status != STATUS_OK)
        return status;
    if (found.count != 1)
        return error_set(err, STATUS_KEY_UNFIT,
                         "have exactly one public key object with the private key's CKA_ID in the token",
                         "the token has %s public key object for the key", found.count == 0 ? "no" : "more than one");
    if (object_attribute(m, session, found.handles[0], CKA_EC_POINT, point, sizeof(point), &len) != 0 ||
        jwk_from_point(span_of(point, len), out) != 0)
        return error_set(err, STATUS_KEY_UNFIT, NULL, "the public key object's CKA_EC_POINT is no point of P-256");
    return STATUS_OK;
}

static void list_candidates(const struct module *m, CK_SESSION_HANDLE session, const struct object_found *found,
                            char listing[LISTING_SIZE])
{
    listing[0] = '\0';
    for (CK_ULONG i = 0; i < found->count; i++) {
        uint8_t id[ID_MAX], label[64];
        char hex[2 * 20 + 1] = "", text[65];
        size_t len = 0, at = strlen(listing);
        if (object_attribute(m, session, found->handles[i], CKA_LABEL, label, sizeof(label), &len) != 0)
            len = 0;
        error_put_text(text, sizeof(text), span_of(label, len));
        if (object_attribute(m, session, found->handles[i], CKA_ID, id, sizeof(id), &len) == 0)
            (void)sodium_bin2hex(hex, sizeof(hex), id, len < 20 ? len : 20);
        (void)snprintf(listing + at, LISTING_SIZE - at, "%sobject \"%s\" with id %s", i > 0 ? ", " : "", text, hex);
    }
}

static enum status find_private(const struct module *m, CK_SESSION_HANDLE session, const struct uri *uri,
                                CK_OBJECT_HANDLE *out, struct error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE attributes[3] = {{CKA_CLASS, &class, sizeof(class)}};
    CK_ULONG count = 1;
    struct object_found found;
    char listing[LISTING_SIZE];
    const CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(uri->parsed, CKA_LABEL);
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(uri->parsed, CKA_ID);
    if (label != NULL)
        attributes[count++] = *label;
    if (id != NULL)
        attributes[count++] = *id;
    enum status status = object_search(m, session, attributes, count, &found, err);
    if (status != STATUS_OK)
        return status;
    if (found.count == 0)
        return error_set(err, STATUS_KEY_ABSENT, "correct object and id in the uri, or make the key",
                         "the token has no private key \"%.*s\"", label != NULL ? (int)label->ulValueLen : 1,
                         label != NULL ? (const char *)label->pValue : "*");
    if (found.count > 1) {
        list_candidates(m, session, &found, listing);
        return error_set(err, STATUS_KEY_UNFIT, "add object=… or id=… to the uri",
                         "the uri fits %s%lu private keys: %s", found.count == OBJECT_FOUND_MAX ? "at least " : "",
                         (unsigned long)found.count, listing);
    }
    *out = found.handles[0];
    return STATUS_OK;
}

enum status object_find(const struct module *m, CK_SESSION_HANDLE session, const struct uri *uri, bool allow_imported,
                        struct object *out, struct error *err)
{
    const uint32_t inside = KEY_LOCAL | KEY_NEVER_EXTRACTABLE | KEY_ALWAYS_SENSITIVE;
    struct object o;
    struct facts facts;
    enum status status = find_private(m, session, uri, &o.handle, err);
    if (status != STATUS_OK)
        return status;
    read_facts(m, session, o.handle, &facts);
    status = judge(&facts, allow_imported, err);
    if (status == STATUS_OK)
        status = read_public(m, session, &facts, &o.jwk, err);
    if (status != STATUS_OK)
        return status;
    o.attributes = facts.set;
    o.imported = (facts.set & inside) != inside;
    *out = o;
    return STATUS_OK;
}

enum status object_sign(const struct module *m, CK_SESSION_HANDLE session, const struct object *o,
                        const uint8_t digest[JWK_DIGEST_SIZE], uint8_t signature[JWK_SIGNATURE_SIZE], struct error *err)
{
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    uint8_t data[JWK_DIGEST_SIZE], out[2 * JWK_SIGNATURE_SIZE];
    CK_ULONG len = sizeof(out);
    memcpy(data, digest, sizeof(data)); /* PKCS#11 takes it without const */
    CK_RV rv = m->f->C_SignInit(session, &mechanism, o->handle);
    if (rv != CKR_OK)
        return module_failed(m, "C_SignInit", rv, err);
    rv = m->f->C_Sign(session, data, sizeof(data), out, &len);
    if (rv != CKR_OK)
        return module_failed(m, "C_Sign", rv, err);
    if (len != JWK_SIGNATURE_SIZE)
        return error_set(err, STATUS_KEY_FAILED, NULL, "C_Sign in %s: the signature has %lu bytes, not %d", m->path,
                         (unsigned long)len, JWK_SIGNATURE_SIZE);
    if (sodium_is_zero(out, JWK_SIGNATURE_SIZE / 2) ||
        sodium_is_zero(out + JWK_SIGNATURE_SIZE / 2, JWK_SIGNATURE_SIZE / 2))
        return error_set(err, STATUS_KEY_FAILED, NULL, "C_Sign in %s: the signature is zero", m->path);
    memcpy(signature, out, JWK_SIGNATURE_SIZE);
    return STATUS_OK;
}
