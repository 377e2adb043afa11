/* See ckr.h. */
#include "ckr.h"

#include <stdio.h>

/* PIN: refused. NOT_JUDGED: failed before the PIN was looked at. ABSENT: so, and the token or the object is gone. */
enum kind { OTHER, PIN, NOT_JUDGED, ABSENT };

#define ROW(rv, kind) {rv, kind, #rv}
static const struct {
    CK_RV rv;
    enum kind kind;
    const char *name;
} rows[] = {
    ROW(CKR_OK, OTHER),
    ROW(CKR_CANCEL, OTHER),
    ROW(CKR_HOST_MEMORY, NOT_JUDGED),
    ROW(CKR_SLOT_ID_INVALID, ABSENT),
    ROW(CKR_GENERAL_ERROR, OTHER),
    ROW(CKR_FUNCTION_FAILED, OTHER),
    ROW(CKR_ARGUMENTS_BAD, OTHER),
    ROW(CKR_CANT_LOCK, OTHER),
    ROW(CKR_ATTRIBUTE_READ_ONLY, OTHER),
    ROW(CKR_ATTRIBUTE_SENSITIVE, OTHER),
    ROW(CKR_ATTRIBUTE_TYPE_INVALID, OTHER),
    ROW(CKR_ATTRIBUTE_VALUE_INVALID, OTHER),
    ROW(CKR_DATA_INVALID, OTHER),
    ROW(CKR_DATA_LEN_RANGE, OTHER),
    ROW(CKR_DEVICE_ERROR, OTHER),
    ROW(CKR_DEVICE_MEMORY, OTHER),
    ROW(CKR_DEVICE_REMOVED, ABSENT),
    ROW(CKR_FUNCTION_CANCELED, OTHER),
    ROW(CKR_FUNCTION_NOT_SUPPORTED, NOT_JUDGED),
    ROW(CKR_KEY_HANDLE_INVALID, ABSENT),
    ROW(CKR_KEY_SIZE_RANGE, OTHER),
    ROW(CKR_KEY_TYPE_INCONSISTENT, OTHER),
    ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, OTHER),
    ROW(CKR_MECHANISM_INVALID, OTHER),
    ROW(CKR_MECHANISM_PARAM_INVALID, OTHER),
    ROW(CKR_OBJECT_HANDLE_INVALID, ABSENT),
    ROW(CKR_OPERATION_ACTIVE, NOT_JUDGED),
    ROW(CKR_OPERATION_NOT_INITIALIZED, NOT_JUDGED),
    ROW(CKR_PIN_INCORRECT, PIN),
    ROW(CKR_PIN_INVALID, PIN),
    ROW(CKR_PIN_LEN_RANGE, PIN),
    ROW(CKR_PIN_EXPIRED, PIN),
    ROW(CKR_PIN_LOCKED, PIN),
    ROW(CKR_SESSION_CLOSED, ABSENT),
    ROW(CKR_SESSION_COUNT, NOT_JUDGED),
    ROW(CKR_SESSION_HANDLE_INVALID, ABSENT),
    ROW(CKR_SESSION_READ_ONLY, NOT_JUDGED),
    ROW(CKR_SESSION_READ_ONLY_EXISTS, NOT_JUDGED),
    ROW(CKR_SESSION_READ_WRITE_SO_EXISTS, NOT_JUDGED),
    ROW(CKR_TEMPLATE_INCOMPLETE, OTHER),
    ROW(CKR_TEMPLATE_INCONSISTENT, OTHER),
    ROW(CKR_TOKEN_NOT_PRESENT, ABSENT),
    ROW(CKR_TOKEN_NOT_RECOGNIZED, ABSENT),
    ROW(CKR_TOKEN_WRITE_PROTECTED, OTHER),
    ROW(CKR_USER_ALREADY_LOGGED_IN, OTHER),
    ROW(CKR_USER_NOT_LOGGED_IN, OTHER),
    ROW(CKR_USER_PIN_NOT_INITIALIZED, NOT_JUDGED),
    ROW(CKR_USER_TYPE_INVALID, NOT_JUDGED),
    ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, NOT_JUDGED),
    ROW(CKR_USER_TOO_MANY_TYPES, NOT_JUDGED),
    ROW(CKR_BUFFER_TOO_SMALL, OTHER),
    ROW(CKR_CRYPTOKI_NOT_INITIALIZED, NOT_JUDGED),
    ROW(CKR_CRYPTOKI_ALREADY_INITIALIZED, OTHER),
};

static enum kind kind_of(CK_RV rv)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].rv == rv)
            return rows[i].kind;
    return OTHER;
}

struct ckr_text ckr_text(CK_RV rv)
{
    struct ckr_text out;
    const char *name = "CKR";
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].rv == rv)
            name = rows[i].name;
    (void)snprintf(out.text, sizeof(out.text), "%s (0x%lx)", name, (unsigned long)rv);
    return out;
}

bool ckr_pin_refused(CK_RV rv)
{
    return kind_of(rv) == PIN;
}

bool ckr_pin_not_judged(CK_RV rv)
{
    enum kind kind = kind_of(rv);
    return kind == NOT_JUDGED || kind == ABSENT;
}

enum status ckr_status(CK_RV rv)
{
    return kind_of(rv) == ABSENT ? STATUS_KEY_ABSENT : STATUS_KEY_FAILED;
}
