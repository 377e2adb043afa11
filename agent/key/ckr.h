/*
 * What a CK_RV means to us: its name for people, which of four kinds of failure it is, and where its cure begins.
 *
 * An absent token is looked for again. A refused PIN is never sent again. Of other results of C_Login some say for sure
 * that the token has not judged the PIN (a locked token looks at none); the rest leave it open. The rungs are those of
 * heal.h; a CKR_* that is not listed, as a vendor's own, is cured by a new process.
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

enum ckr_rung {
    CKR_RUNG_FIND = 1, /* find the key object again */
    CKR_RUNG_LOGIN,    /* a new session, log in, find */
    CKR_RUNG_PROCESS,  /* C_Finalize and C_Initialize, which a new process does */
};
enum ckr_rung ckr_rung(CK_RV rv);

#endif
