/* See shim_key.h. */
#include "shim_key.h"

#include <stdbool.h>
#include <string.h>

static bool made;
static CK_SESSION_HANDLE own; /* whose objects the pair is */
static CK_OBJECT_HANDLE public_key, private_key;

static CK_RV generate(CK_FUNCTION_LIST *f)
{
    static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    char label[] = SHIM_KEY_LABEL, id[] = "shim";
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE public_template[] = {{CKA_TOKEN, &no, sizeof(no)},
                                      {CKA_VERIFY, &yes, sizeof(yes)},
                                      {CKA_LABEL, label, strlen(label)},
                                      {CKA_ID, id, strlen(id)},
                                      {CKA_EC_PARAMS, p256, sizeof(p256)}};
    CK_ATTRIBUTE private_template[] = {
        {CKA_TOKEN, &no, sizeof(no)},       {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_SENSITIVE, &yes, sizeof(yes)}, {CKA_EXTRACTABLE, &no, sizeof(no)},
        {CKA_SIGN, &yes, sizeof(yes)},      {CKA_LABEL, label, strlen(label)},
        {CKA_ID, id, strlen(id)},
    };
    return f->C_GenerateKeyPair(own, &mechanism, public_template, 5, private_template, 7, &public_key, &private_key);
}

CK_RV shim_key_make(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session)
{
    CK_SESSION_INFO info;
    if (made)
        return CKR_OK;
    CK_RV rv = f->C_GetSessionInfo(session, &info);
    if (rv == CKR_OK)
        rv = f->C_OpenSession(info.slotID, CKF_SERIAL_SESSION, NULL, NULL, &own);
    if (rv != CKR_OK)
        return rv;
    rv = generate(f);
    made = rv == CKR_OK;
    if (!made)
        (void)f->C_CloseSession(own);
    return rv;
}

CK_RV shim_key_sign(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len,
                    CK_BYTE *signature, CK_ULONG *signature_len)
{
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_RV rv = shim_key_make(f, session);
    if (rv == CKR_OK)
        rv = f->C_SignInit(own, &mechanism, private_key);
    return rv == CKR_OK ? f->C_Sign(own, data, data_len, signature, signature_len) : rv;
}

void shim_key_drop(CK_FUNCTION_LIST *f)
{
    if (made)
        (void)f->C_CloseSession(own);
    made = false;
}
