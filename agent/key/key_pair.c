/* See key_pair.h. */
#include "key_pair.h"

#include "ckr.h"
#include "object.h"

#include <sodium.h>
#include <string.h>

#define POINT_MAX 256
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NEXT_GENERATE "make a key in the token: dpop key generate NAME (on a TPM: tpm2_ptool import can)"

/* What the attributes' values point to: PKCS#11 takes them without const. */
struct values {
    CK_BBOOL yes, no;
    CK_OBJECT_CLASS public_class, private_class;
    CK_KEY_TYPE type;
    uint8_t curve[10];
    uint8_t label[KEY_PAIR_LABEL_MAX];
    CK_ULONG label_len;
    uint8_t id[KEY_PAIR_ID_SIZE];
};

static void fill(struct values *v, struct span label)
{
    static const uint8_t prime256v1[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    *v = (struct values){.yes = CK_TRUE,
                         .no = CK_FALSE,
                         .public_class = CKO_PUBLIC_KEY,
                         .private_class = CKO_PRIVATE_KEY,
                         .type = CKK_EC,
                         .label_len = label.len < KEY_PAIR_LABEL_MAX ? label.len : KEY_PAIR_LABEL_MAX};
    memcpy(v->curve, prime256v1, sizeof(prime256v1));
    memcpy(v->label, label.data, v->label_len);
    randombytes_buf(v->id, sizeof(v->id));
}

void key_pair_point(const struct jwk *jwk, uint8_t out[KEY_PAIR_POINT_SIZE])
{
    out[0] = 0x04; /* OCTET STRING */
    out[1] = KEY_PAIR_POINT_SIZE - KEY_PAIR_POINT_HEADER;
    out[2] = 0x04; /* uncompressed */
    memcpy(out + 3, jwk->x, JWK_COORDINATE_SIZE);
    memcpy(out + 3 + JWK_COORDINATE_SIZE, jwk->y, JWK_COORDINATE_SIZE);
}

void key_pair_destroy(const struct module *m, CK_SESSION_HANDLE session, const struct key_pair *pair)
{
    if (pair->private_key != CK_INVALID_HANDLE)
        (void)m->f->C_DestroyObject(session, pair->private_key);
    if (pair->public_key != CK_INVALID_HANDLE)
        (void)m->f->C_DestroyObject(session, pair->public_key);
}

static bool worth_another_try(CK_RV rv)
{
    return rv != CKR_OK && ckr_status(rv) != STATUS_KEY_ABSENT;
}

static CK_RV call_generate(const struct module *m, CK_SESSION_HANDLE session, struct values *v, struct key_pair *pair)
{
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE public_template[] = {{CKA_EC_PARAMS, v->curve, sizeof(v->curve)},
                                      {CKA_TOKEN, &v->yes, sizeof(v->yes)},
                                      {CKA_LABEL, v->label, v->label_len},
                                      {CKA_ID, v->id, sizeof(v->id)},
                                      {CKA_WRAP, &v->no, sizeof(v->no)}};
    CK_ATTRIBUTE private_template[] = {
        {CKA_TOKEN, &v->yes, sizeof(v->yes)},       {CKA_PRIVATE, &v->yes, sizeof(v->yes)},
        {CKA_SENSITIVE, &v->yes, sizeof(v->yes)},   {CKA_EXTRACTABLE, &v->no, sizeof(v->no)},
        {CKA_SIGN, &v->yes, sizeof(v->yes)},        {CKA_LABEL, v->label, v->label_len},
        {CKA_ID, v->id, sizeof(v->id)},             {CKA_SIGN_RECOVER, &v->no, sizeof(v->no)},
        {CKA_DECRYPT, &v->no, sizeof(v->no)},       {CKA_UNWRAP, &v->no, sizeof(v->no)},
        {CKA_DERIVE, &v->no, sizeof(v->no)},
    };
    CK_RV rv = m->f->C_GenerateKeyPair(session, &mechanism, public_template, COUNT(public_template), private_template,
                                       COUNT(private_template), &pair->public_key, &pair->private_key);
    if (worth_another_try(rv)) /* without what follows the CKA_IDs */
        rv = m->f->C_GenerateKeyPair(session, &mechanism, public_template, 4, private_template, 7, &pair->public_key,
                                     &pair->private_key);
    return rv;
}

/* Nobody tries again to make a key, as is done with signatures. */
static enum status not_made(const struct module *m, const char *call, CK_RV rv, struct error *err)
{
    const char *next = "try again; if it stays, make the key with the token's own tool";
    if (rv == CKR_TOKEN_WRITE_PROTECTED || rv == CKR_SESSION_READ_ONLY)
        next = "the token may not be written to: take the protection away, or use another token";
    else if (rv == CKR_DEVICE_MEMORY)
        next = "the token is full: delete a key that is not needed, or use another token";
    else if (rv == CKR_FUNCTION_NOT_SUPPORTED || rv == CKR_MECHANISM_INVALID || rv == CKR_TEMPLATE_INCONSISTENT)
        next = "the token makes no P-256 keys for programs: make the key with its own tool, and write a [key …] "
               "section for it";
    (void)module_failed(m, call, rv, err);
    struct error what = *err;
    return error_set(err, what.status, what.status == STATUS_KEY_ABSENT ? what.next : next, "%s", what.message);
}

enum status key_pair_generate(const struct module *m, CK_SESSION_HANDLE session, struct span label,
                              struct key_pair *out, struct error *err)
{
    struct values v;
    struct key_pair pair = {.private_key = CK_INVALID_HANDLE, .public_key = CK_INVALID_HANDLE};
    uint8_t point[POINT_MAX];
    size_t len;
    fill(&v, label);
    memcpy(pair.id, v.id, sizeof(pair.id));
    CK_RV rv = call_generate(m, session, &v, &pair);
    if (rv != CKR_OK)
        return not_made(m, "C_GenerateKeyPair", rv, err);
    if (object_attribute(m, session, pair.public_key, CKA_EC_POINT, point, sizeof(point), &len) != 0 ||
        jwk_from_point(span_of(point, len), &pair.jwk) != 0) {
        key_pair_destroy(m, session, &pair);
        return error_set(err, STATUS_KEY_FAILED, NULL, "%s made a key that is no point of P-256", m->path);
    }
    *out = pair;
    return STATUS_OK;
}

static CK_RV create_public(const struct module *m, CK_SESSION_HANDLE session, struct values *v, struct key_pair *pair)
{
    uint8_t point[KEY_PAIR_POINT_SIZE];
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &v->public_class, sizeof(v->public_class)},
                                 {CKA_KEY_TYPE, &v->type, sizeof(v->type)},
                                 {CKA_TOKEN, &v->yes, sizeof(v->yes)},
                                 {CKA_LABEL, v->label, v->label_len},
                                 {CKA_ID, v->id, sizeof(v->id)},
                                 {CKA_EC_PARAMS, v->curve, sizeof(v->curve)},
                                 {CKA_EC_POINT, point, sizeof(point)}};
    key_pair_point(&pair->jwk, point);
    return m->f->C_CreateObject(session, attributes, COUNT(attributes), &pair->public_key);
}

static CK_RV create_private(const struct module *m, CK_SESSION_HANDLE session, struct values *v,
                            const struct private_key *key, struct key_pair *pair)
{
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &v->private_class, sizeof(v->private_class)},
        {CKA_KEY_TYPE, &v->type, sizeof(v->type)},
        {CKA_TOKEN, &v->yes, sizeof(v->yes)},
        {CKA_PRIVATE, &v->yes, sizeof(v->yes)},
        {CKA_SENSITIVE, &v->yes, sizeof(v->yes)},
        {CKA_EXTRACTABLE, &v->no, sizeof(v->no)},
        {CKA_SIGN, &v->yes, sizeof(v->yes)},
        {CKA_LABEL, v->label, v->label_len},
        {CKA_ID, v->id, sizeof(v->id)},
        {CKA_EC_PARAMS, v->curve, sizeof(v->curve)},
        {CKA_VALUE, key->d, PRIVATE_KEY_SIZE},
        {CKA_SIGN_RECOVER, &v->no, sizeof(v->no)},
        {CKA_DECRYPT, &v->no, sizeof(v->no)},
        {CKA_UNWRAP, &v->no, sizeof(v->no)},
        {CKA_DERIVE, &v->no, sizeof(v->no)},
    };
    CK_RV rv = m->f->C_CreateObject(session, attributes, COUNT(attributes), &pair->private_key);
    if (worth_another_try(rv)) /* without what follows the CKA_VALUE */
        rv = m->f->C_CreateObject(session, attributes, 11, &pair->private_key);
    return rv;
}

/* The results with which tokens refuse keys from outside, as tpm2-pkcs11, smart cards and FIPS modules do. */
static bool takes_no_keys(CK_RV rv)
{
    static const CK_RV refusals[] = {
        CKR_FUNCTION_NOT_SUPPORTED, CKR_ATTRIBUTE_VALUE_INVALID, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_READ_ONLY,
        CKR_TEMPLATE_INCONSISTENT,  CKR_TEMPLATE_INCOMPLETE,     CKR_ACTION_PROHIBITED,      CKR_TOKEN_WRITE_PROTECTED,
    };
    for (size_t i = 0; i < COUNT(refusals); i++)
        if (refusals[i] == rv)
            return true;
    return false;
}

/* The public object first: what a crash in between leaves behind is then nothing that could sign. */
enum status key_pair_import(const struct module *m, CK_SESSION_HANDLE session, struct span label,
                            const struct private_key *key, struct key_pair *out, struct error *err)
{
    struct values v;
    struct key_pair pair = {.private_key = CK_INVALID_HANDLE, .public_key = CK_INVALID_HANDLE, .jwk = key->jwk};
    fill(&v, label);
    memcpy(pair.id, v.id, sizeof(pair.id));
    CK_RV rv = create_public(m, session, &v, &pair);
    if (rv == CKR_OK)
        rv = create_private(m, session, &v, key, &pair);
    if (rv == CKR_OK) {
        *out = pair;
        return STATUS_OK;
    }
    key_pair_destroy(m, session, &pair);
    if (takes_no_keys(rv))
        return error_set(err, STATUS_KEY_UNFIT, NEXT_GENERATE,
                         "the token takes no keys from outside: C_CreateObject in %s: %s", m->path, ckr_text(rv).text);
    return not_made(m, "C_CreateObject of the key", rv, err);
}
