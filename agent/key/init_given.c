/* See init_given.h. */
#include "init_given.h"

#include "ckr.h"
#include "log.h"
#include "make.h"
#include "object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the token says of itself, before its PIN is spent. */
static enum status check_flags(const struct token *t, bool writes, struct error *err)
{
    if (writes && (t->flags & CKF_WRITE_PROTECTED))
        return error_set(err, STATUS_KEY_UNFIT, "name a key in it: object=NAME in the URI",
                         "token \"%s\" is write-protected", t->label);
    if (!(t->flags & CKF_LOGIN_REQUIRED))
        return STATUS_OK;
    if (!(t->flags & CKF_USER_PIN_INITIALIZED))
        return error_set(err, STATUS_KEY_UNFIT, "set a user PIN with the token's own tool",
                         "token \"%s\" has no user PIN", t->label);
    if (t->flags & CKF_USER_PIN_LOCKED)
        return error_set(err, STATUS_KEY_LOCKED, "unblock the PIN with the token's own tool",
                         "token \"%s\" is locked: too many wrong PINs", t->label);
    if (t->flags & CKF_USER_PIN_FINAL_TRY)
        return error_set(err, STATUS_KEY_LOCKED, "log in once with the token's own tool, then try again",
                         "token \"%s\" has one try left for its PIN, and the agent does not spend it", t->label);
    if (t->flags & CKF_USER_PIN_COUNT_LOW)
        log_warning("token \"%s\": a wrong PIN was entered since the last good one", t->label);
    return STATUS_OK;
}

/* The URI is in the next step, since it may have been found rather than given. */
static enum status pin_wanted(const struct init_given *g, const struct init_plan *p, struct error *err)
{
    char next[sizeof(err->next)];
    (void)snprintf(next, sizeof(next), "give its PIN, or choose --softhsm; the token is %s", p->uri);
    (void)error_set(err, STATUS_KEY_LOCKED, next, "token \"%s\" (%s) needs its PIN", g->token.label, g->token.model);
    (void)snprintf(err->stage, sizeof(err->stage), "%s", INIT_GIVEN_STAGE_PIN);
    return STATUS_KEY_LOCKED;
}

static enum status log_in(struct init_given *g, const struct secret *pin, struct error *err)
{
    CK_RV rv = g->module.f->C_Login(g->session, CKU_USER, pin->data, pin->len);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return STATUS_OK;
    if (rv == CKR_PIN_LOCKED)
        return error_set(err, STATUS_KEY_LOCKED,
                         "unblock the PIN with the token's own tool; a TPM does it by itself after some time",
                         "token \"%s\" is locked: too many wrong PINs", g->token.label);
    if (ckr_pin_refused(rv))
        return error_set(err, STATUS_KEY_LOCKED, "look the PIN up before another try: tokens lock after a few",
                         "token \"%s\" refused the PIN: %s", g->token.label, ckr_text(rv).text);
    return module_failed(&g->module, "C_Login", rv, err);
}

static bool names_key(const struct uri *uri)
{
    return p11_kit_uri_get_attribute(uri->parsed, CKA_LABEL) != NULL ||
           p11_kit_uri_get_attribute(uri->parsed, CKA_ID) != NULL;
}

static struct make_place place_of(const struct init_given *g, const struct secret *pin)
{
    return (struct make_place){.m = &g->module, .token = &g->token, .session = g->session, .uri = &g->uri, .pin = pin};
}

/* The key is there already. A signature says whether it works at all. */
static enum status take_key(struct init_given *g, struct init_plan *p, const struct secret *pin, struct error *err)
{
    const struct make_place place = place_of(g, pin);
    struct object o;
    enum status status = object_find(&g->module, g->session, &g->uri, false, pin, &o, err);
    if (status == STATUS_OK)
        status = make_check_signature(&place, &o, err);
    if (status == STATUS_OK && jwk_thumbprint(&o.jwk, p->jkt) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "the thumbprint could not be computed");
    return status;
}

static enum status make_key(struct init_given *g, struct init_plan *p, const struct secret *pin, struct error *err)
{
    const struct make_place place = place_of(g, pin);
    struct buffer uri;
    buffer_init(&uri, URI_MAX);
    enum status status = make_new_key(&place, span_text(p->name), &uri, &g->pair, err);
    g->made = status == STATUS_OK;
    char *text = g->made ? span_dup(buffer_span(&uri)) : NULL;
    buffer_free(&uri);
    if (status != STATUS_OK) {
        if (err->next[0] == '\0')
            (void)snprintf(err->next, sizeof(err->next),
                           "make a key with the token's own tool, and name it: object=NAME in the URI");
        return status;
    }
    if (text == NULL || jwk_thumbprint(&g->pair.jwk, p->jkt) != 0) {
        free(text);
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    free(p->uri);
    p->uri = text;
    return STATUS_OK;
}

static enum status open_token(struct init_given *g, const struct init_plan *p, struct error *err)
{
    enum status status = uri_parse(p->uri, &g->uri, err);
    if (status == STATUS_OK)
        status = module_set_environment(&p->environment, err);
    if (status == STATUS_OK)
        status = module_open_uri(&g->uri, &g->module, err);
    return status == STATUS_OK ? token_find(&g->module, &g->uri, &g->token, err) : status;
}

static enum status open_session(struct init_given *g, bool writes, struct error *err)
{
    CK_FLAGS flags = CKF_SERIAL_SESSION | (writes ? CKF_RW_SESSION : 0);
    CK_RV rv = g->module.f->C_OpenSession(g->token.slot, flags, NULL, NULL, &g->session);
    if (rv != CKR_OK)
        return module_failed(&g->module, "C_OpenSession", rv, err);
    g->open = true;
    return STATUS_OK;
}

static enum status use_token(struct init_given *g, struct init_plan *p, const struct secret *pin, bool keep_pin,
                             struct init_folder *f, struct error *err)
{
    bool writes = !names_key(&g->uri), wanted = (g->token.flags & CKF_LOGIN_REQUIRED) != 0;
    enum status status = open_session(g, writes, err);
    if (status == STATUS_OK && wanted)
        status = log_in(g, pin, err);
    if (status == STATUS_OK)
        status = writes ? make_key(g, p, pin, err) : take_key(g, p, pin, err);
    if (status != STATUS_OK)
        return status;
    memcpy(p->model, g->token.model, sizeof(p->model));
    p->pin_kept = wanted && keep_pin && g->uri.pin_file == NULL;
    p->pin_asked = wanted && !keep_pin && g->uri.pin_file == NULL;
    return p->pin_kept ? init_folder_write(f, p->pin_file, secret_span(pin), "PIN file", err) : STATUS_OK;
}

enum status init_given_open(struct init_given *g, struct init_plan *p, const struct secret *pin, bool keep_pin,
                            struct init_folder *f, struct error *err)
{
    struct secret *from_file = NULL;
    *g = (struct init_given){.open = false};
    enum status status = open_token(g, p, err);
    if (status == STATUS_OK)
        status = check_flags(&g->token, !names_key(&g->uri), err);
    if (status == STATUS_OK && pin == NULL && g->uri.pin_file != NULL)
        status = secret_read(g->uri.pin_file, NULL, "PIN", LIMIT_PIN, &from_file, err);
    pin = pin != NULL ? pin : from_file;
    if (status == STATUS_OK && (g->token.flags & CKF_LOGIN_REQUIRED) && pin == NULL)
        status = pin_wanted(g, p, err);
    if (status == STATUS_OK)
        status = use_token(g, p, pin, keep_pin, f, err);
    secret_free(from_file);
    return status;
}

void init_given_close(struct init_given *g, bool undo)
{
    if (undo && g->made)
        key_pair_destroy(&g->module, g->session, &g->pair);
    if (g->open)
        (void)g->module.f->C_CloseSession(g->session);
    if (g->module.f != NULL)
        module_close(&g->module);
    uri_free(&g->uri);
    *g = (struct init_given){.open = false};
}
