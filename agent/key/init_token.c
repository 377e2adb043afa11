/* See init_token.h. */
#include "init_token.h"

#include "key_pair.h"
#include "token.h"

#include <sodium.h>
#include <string.h>

#define LABEL_SIZE 32 /* CK_TOKEN_INFO's, padded with blanks */

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

enum status init_token_make(const struct module *m, const char *label, const char *name, const struct secret *pin,
                            struct jwk *out, struct error *err)
{
    struct token token;
    CK_SESSION_HANDLE session;
    struct key_pair pair;
    enum status status = initialise(m, label, pin, &token, err);
    if (status != STATUS_OK)
        return status;
    CK_RV rv = m->f->C_OpenSession(token.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    if (rv != CKR_OK)
        return module_failed(m, "C_OpenSession", rv, err);
    rv = m->f->C_Login(session, CKU_USER, pin->data, pin->len);
    status = rv == CKR_OK ? key_pair_generate(m, session, span_text(name), &pair, err)
                          : module_failed(m, "C_Login", rv, err);
    (void)m->f->C_CloseSession(session);
    if (status == STATUS_OK)
        *out = pair.jwk;
    return status;
}
