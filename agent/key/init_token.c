/* See init_token.h. */
#include "init_token.h"

#include "token.h"

#include <sodium.h>
#include <string.h>

#define LABEL_SIZE 32 /* CK_TOKEN_INFO's, padded with blanks */
#define ID_SIZE 16
#define POINT_MAX 256

struct secret *init_token_random_pin(void)
{
    uint8_t random[INIT_TOKEN_PIN_LENGTH / 4 * 3];
    char text[INIT_TOKEN_PIN_LENGTH + 1];
    randombytes_buf(random, sizeof(random));
    (void)sodium_bin2base64(text, sizeof(text), random, sizeof(random), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    struct secret *pin = secret_new(span_of(text, INIT_TOKEN_PIN_LENGTH));
    wipe(random, sizeof(random));
    wipe(text, sizeof(text));
    return pin;
}

/*
 * C_InitToken and C_InitPIN. The security officer's PIN is random and forgotten: all that it could do is set another
 * user PIN, and a second secret that opens the key is one too many. A lost user PIN means a new key, as with a TPM.
 */
static enum status initialise(const struct module *m, const char *label, const struct secret *pin, struct token *out,
                              struct error *err)
{
    struct token blank;
    CK_UTF8CHAR padded[LABEL_SIZE];
    CK_SESSION_HANDLE session;
    enum status status = token_find_blank(m, &blank, err);
    if (status != STATUS_OK)
        return status;
    struct secret *officer = init_token_random_pin();
    if (officer == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, strlen(label));
    CK_RV rv = m->f->C_InitToken(blank.slot, officer->data, officer->len, padded);
    if (rv != CKR_OK) {
        status = module_failed(m, "C_InitToken", rv, err);
        goto out;
    }
    status = token_find_label(m, label, out, err); /* modules give an initialised token another slot */
    if (status != STATUS_OK)
        goto out;
    rv = m->f->C_OpenSession(out->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    if (rv == CKR_OK) {
        rv = m->f->C_Login(session, CKU_SO, officer->data, officer->len);
        if (rv == CKR_OK)
            rv = m->f->C_InitPIN(session, pin->data, pin->len);
        (void)m->f->C_CloseSession(session); /* the last session's end logs out */
    }
    if (rv != CKR_OK)
        status = module_failed(m, "C_InitPIN", rv, err);
out:
    secret_free(officer);
    return status;
}

static CK_RV generate(const struct module *m, CK_SESSION_HANDLE session, const char *name, CK_OBJECT_HANDLE *public_key)
{
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    uint8_t p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}; /* prime256v1 */
    uint8_t id[ID_SIZE];
    char label[64] = {0};
    CK_ULONG label_len = strlen(name);
    CK_OBJECT_HANDLE private_key;
    memcpy(label, name, label_len < sizeof(label) ? label_len : sizeof(label));
    randombytes_buf(id, sizeof(id));
    CK_ATTRIBUTE public_template[] = {
        {CKA_EC_PARAMS, p256, sizeof(p256)}, {CKA_TOKEN, &yes, sizeof(yes)}, {CKA_VERIFY, &yes, sizeof(yes)},
        {CKA_ENCRYPT, &no, sizeof(no)},      {CKA_WRAP, &no, sizeof(no)},    {CKA_LABEL, label, label_len},
        {CKA_ID, id, sizeof(id)},
    };
    CK_ATTRIBUTE private_template[] = {
        {CKA_TOKEN, &yes, sizeof(yes)},      {CKA_PRIVATE, &yes, sizeof(yes)}, {CKA_SENSITIVE, &yes, sizeof(yes)},
        {CKA_EXTRACTABLE, &no, sizeof(no)},  {CKA_SIGN, &yes, sizeof(yes)},    {CKA_SIGN_RECOVER, &no, sizeof(no)},
        {CKA_DECRYPT, &no, sizeof(no)},      {CKA_UNWRAP, &no, sizeof(no)},    {CKA_DERIVE, &no, sizeof(no)},
        {CKA_LABEL, label, label_len},       {CKA_ID, id, sizeof(id)},
    };
    return m->f->C_GenerateKeyPair(session, &mechanism, public_template,
                                   sizeof(public_template) / sizeof(public_template[0]), private_template,
                                   sizeof(private_template) / sizeof(private_template[0]), public_key, &private_key);
}

enum status init_token_make(const struct module *m, const char *label, const char *name, const struct secret *pin,
                            struct jwk *out, struct error *err)
{
    struct token token;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE public_key;
    uint8_t point[POINT_MAX];
    CK_ATTRIBUTE attribute = {CKA_EC_POINT, point, sizeof(point)};
    const char *call = "C_OpenSession";
    enum status status = initialise(m, label, pin, &token, err);
    if (status != STATUS_OK)
        return status;
    CK_RV rv = m->f->C_OpenSession(token.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    if (rv != CKR_OK)
        return module_failed(m, call, rv, err);
    call = "C_Login";
    rv = m->f->C_Login(session, CKU_USER, pin->data, pin->len);
    if (rv == CKR_OK) {
        call = "C_GenerateKeyPair";
        rv = generate(m, session, name, &public_key);
    }
    if (rv == CKR_OK) {
        call = "C_GetAttributeValue";
        rv = m->f->C_GetAttributeValue(session, public_key, &attribute, 1);
    }
    (void)m->f->C_CloseSession(session);
    if (rv != CKR_OK)
        return module_failed(m, call, rv, err);
    if (jwk_from_point(span_of(point, attribute.ulValueLen), out) != 0)
        return error_set(err, STATUS_KEY_FAILED, NULL, "%s made a key that is no point of P-256", m->path);
    return STATUS_OK;
}
