/* See heal.h. */
#include "heal.h"

#include "log.h"

/* No rung cures it, or none may try. */
static bool final(enum status status)
{
    return status == STATUS_KEY_LOCKED || status == STATUS_SECRET_UNREADABLE || status == STATUS_KEY_WRONG ||
           status == STATUS_AGENT_UNREACHABLE || status == STATUS_AGENT_MISBEHAVED;
}

enum status heal_climb(struct heal *h, struct opened *o, struct error *err)
{
    enum ckr_rung rung = *o->module.failed == CKR_OK ? CKR_RUNG_PROCESS : ckr_rung(*o->module.failed);
    if (rung <= h->helped)
        rung = h->helped + 1;
    log_info("key \"%s\": %s", o->key->name, err->message);
    for (; rung < CKR_RUNG_PROCESS && !final(err->status); rung++) {
        *o->module.failed = CKR_OK;
        enum status status = rung == CKR_RUNG_FIND ? opened_find(o, err) : opened_log_in(o, err);
        if (status == STATUS_OK) {
            h->helped = rung;
            log_info("key \"%s\" is back: %s", o->key->name,
                     rung == CKR_RUNG_FIND ? "found again" : "logged in again");
            return STATUS_OK;
        }
        log_debug("key \"%s\": %s", o->key->name, err->message);
    }
    bool unknown = err->status == STATUS_KEY_FAILED && *o->module.failed != CKR_OK && o->session_open;
    if (unknown && module_is_tpm(&o->module) && !module_answers(&o->module, o->session))
        return module_tpm_away(err);
    return err->status;
}

void heal_signed(struct heal *h)
{
    h->helped = 0;
}
