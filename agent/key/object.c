/* See object.h. */
#include "object.h"

#include "ckr.h"
#include "messages.h"
#include "public_key.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define PARAMS_MAX 256
#define LISTING_SIZE 320
#define NEXT_LIES "the agent opens the token anew by itself; if it stays, the module or the token is broken"
#define INSIDE "make the key inside the token (dpop key generate)"

/* prime256v1, as RFC 5480 names it: OBJECT IDENTIFIER 1.2.840.10045.3.1.7 */
static const uint8_t p256_params[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

/* What there is to know about a private key before it is used. Attributes that the token has not are not "known". */
struct facts {
    CK_KEY_TYPE type;
    uint8_t params[PARAMS_MAX];
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

/* What the object does not have, or does not tell, is no failure: it is judged. */
static CK_RV read_fact(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle,
                       CK_ATTRIBUTE_TYPE type,
                       void *out, size_t size, size_t *len)
{
    CK_ATTRIBUTE a = {type, out, size};
    CK_RV rv = m->f->C_GetAttributeValue(session, handle, &a, 1);
    *len = 0;
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_BUFFER_TOO_SMALL)
        return CKR_OK;
    if (rv == CKR_OK && a.ulValueLen <= size)
        *len = a.ulValueLen;
    return rv;
}

static CK_RV read_facts(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, struct facts *out)
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
    CK_RV rv = read_fact(m, session, handle, CKA_KEY_TYPE, &out->type, sizeof(out->type), &len);
    if (rv == CKR_OK && len != sizeof(out->type))
        out->type = CK_UNAVAILABLE_INFORMATION;
    if (rv == CKR_OK)
        rv = read_fact(m, session, handle, CKA_EC_PARAMS, out->params, sizeof(out->params), &out->params_len);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && rv == CKR_OK; i++) {
        CK_BBOOL value;
        rv = read_fact(m, session, handle, flags[i].type, &value, sizeof(value), &len);
        if (rv != CKR_OK || len != sizeof(value))
            continue;
        out->known |= flags[i].bit;
        out->set |= value != CK_FALSE ? flags[i].bit : 0;
    }
    return rv;
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
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        bool known = (facts->known & rules[i].bit) != 0, value = (facts->set & rules[i].bit) != 0;
        if ((known && value == rules[i].wanted) || (rules[i].may_be_imported && allow_imported))
            continue;
        return error_set(err, STATUS_KEY_UNFIT, rules[i].next, "the key is %s%s", rules[i].wrong,
                         known ? "" : "; the token does not tell");
    }
    return STATUS_OK;
}

static void list_candidates(const struct module *m, CK_SESSION_HANDLE session, const struct object_found *found,
                            char listing[LISTING_SIZE])
{
    listing[0] = '\0';
    for (CK_ULONG i = 0; i < found->count; i++) {
        uint8_t id[OBJECT_ID_MAX], label[64];
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

/* What tells objects apart. */
static CK_RV read_names(const struct module *m, CK_SESSION_HANDLE session, struct object *o)
{
    CK_RV rv = read_fact(m, session, o->handle, CKA_ID, o->id, sizeof(o->id), &o->id_len);
    return rv == CKR_OK ? read_fact(m, session, o->handle, CKA_LABEL, o->label, sizeof(o->label), &o->label_len) : rv;
}

enum status object_check(const struct module *m, CK_SESSION_HANDLE session, const struct object *o, struct error *err)
{
    struct object now = {.handle = o->handle};
    CK_RV rv = read_names(m, session, &now);
    if (rv != CKR_OK)
        return module_failed(m, "C_GetAttributeValue", rv, err);
    if (now.id_len == o->id_len && now.label_len == o->label_len && memcmp(now.id, o->id, o->id_len) == 0 &&
        memcmp(now.label, o->label, o->label_len) == 0)
        return STATUS_OK;
    return module_failed(m, "another object has the key's handle", CKR_KEY_HANDLE_INVALID, err);
}

enum status object_find(const struct module *m, CK_SESSION_HANDLE session, const struct uri *uri, bool allow_imported,
                        const struct secret *pin, struct object *out, struct error *err)
{
    const uint32_t inside = KEY_LOCAL | KEY_NEVER_EXTRACTABLE | KEY_ALWAYS_SENSITIVE;
    struct object o = {0};
    struct facts facts;
    enum status status = find_private(m, session, uri, &o.handle, err);
    if (status != STATUS_OK)
        return status;
    CK_RV rv = read_facts(m, session, o.handle, &facts);
    if (rv == CKR_OK)
        rv = read_names(m, session, &o);
    if (rv != CKR_OK)
        return module_failed(m, "C_GetAttributeValue", rv, err);
    status = judge(&facts, allow_imported, err);
    if (status != STATUS_OK)
        return status;
    if ((facts.set & KEY_ALWAYS_AUTHENTICATE) && pin == NULL)
        return error_set(err, STATUS_KEY_UNFIT, "use a key without CKA_ALWAYS_AUTHENTICATE",
                         "the key wants a PIN for every signature (CKA_ALWAYS_AUTHENTICATE), and there is none");
    o.attributes = facts.set;
    o.imported = (facts.set & inside) != inside;
    o.pin = (facts.set & KEY_ALWAYS_AUTHENTICATE) ? pin : NULL;
    status = public_key_find(m, session, &o, &o.jwk, err);
    if (status == STATUS_OK)
        *out = o;
    return status;
}

/* A key with CKA_ALWAYS_AUTHENTICATE wants the PIN again between C_SignInit and C_Sign. */
static enum status authenticate(const struct module *m, CK_SESSION_HANDLE session, const struct object *o,
                                struct error *err)
{
    CK_RV rv = o->pin == NULL ? CKR_OK : m->f->C_Login(session, CKU_CONTEXT_SPECIFIC, o->pin->data, o->pin->len);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return STATUS_OK;
    enum status status = module_failed(m, "C_Login for one signature", rv, err);
    if (ckr_pin_refused(rv) || rv == CKR_PIN_LOCKED)
        status = err->status = STATUS_KEY_LOCKED;
    return status;
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
    enum status status = authenticate(m, session, o, err);
    if (status != STATUS_OK)
        return status;
    rv = m->f->C_Sign(session, data, sizeof(data), out, &len);
    if (rv != CKR_OK)
        return module_failed(m, "C_Sign", rv, err);
    if (len != JWK_SIGNATURE_SIZE)
        return error_set(err, STATUS_KEY_FAILED, NEXT_LIES, "C_Sign in %s: the signature has %lu bytes, not %d",
                         m->path,
                         (unsigned long)len, JWK_SIGNATURE_SIZE);
    if (sodium_is_zero(out, JWK_SIGNATURE_SIZE / 2) ||
        sodium_is_zero(out + JWK_SIGNATURE_SIZE / 2, JWK_SIGNATURE_SIZE / 2))
        return error_set(err, STATUS_KEY_FAILED, NEXT_LIES, "C_Sign in %s: the signature is zero", m->path);
    memcpy(signature, out, JWK_SIGNATURE_SIZE);
    return STATUS_OK;
}
