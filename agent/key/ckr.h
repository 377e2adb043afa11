/*
 * What a CK_RV means to us: its name for people, and which of four kinds of failure it is.
 *
 * The kinds decide about recovery. An absent token is looked for again soon. A refused PIN is never sent again. Of
 * other results of C_Login some say for sure that the token has not judged the PIN; the rest leave it open.
 */
#ifndef KEY_CKR_H
#define KEY_CKR_H

#include "status.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

#define CKR_TEXT_SIZE 64

struct ckr_text {
    char text[CKR_TEXT_SIZE];
};

struct ckr_text ckr_text(CK_RV rv);   /* "CKR_PIN_INCORRECT (0xa0)" */
bool ckr_pin_refused(CK_RV rv);       /* the token has judged the PIN, and not accepted it */
bool ckr_pin_not_judged(CK_RV rv);    /* the token has certainly not counted a wrong PIN */
enum status ckr_status(CK_RV rv);     /* STATUS_KEY_ABSENT or STATUS_KEY_FAILED */

#endif
