/* See opened.h. */
#include "opened.h"

#include <sodium.h>
#include <string.h>
#include <time.h>

#define VERIFY_ABOVE 500000 /* nanoseconds: a token that takes longer for one has all its signatures verified */
#define SMOOTHING 8
#define PROVE_AFTER INT64_C(10000000000) /* nanoseconds without a signature, where only a signature is a check */

int64_t opened_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* A PIN that was not taken for one signature is recorded like one that was not taken at the log-in. */
static enum status judge(struct opened *o, enum status status, struct error *err)
{
    return status == STATUS_KEY_LOCKED
               ? pin_signing_refused(&o->pin, o->channel, &o->module, &o->token, o->session, *o->module.failed,
                                     err) : status;
}

static enum status check_thumbprint(const struct opened *o, const struct object *found, struct error *err)
{
    char jkt[JWK_THUMBPRINT_SIZE], before[JWK_THUMBPRINT_SIZE];
    if (jwk_thumbprint(&found->jwk, jkt) != 0 || jwk_thumbprint(&o->jwk, before) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "the thumbprint could not be computed");
    if (o->key->thumbprint != NULL && strcmp(o->key->thumbprint, jkt) != 0)
        return error_set(err, STATUS_KEY_WRONG,
                         "bring back the right token, or correct thumbprint in the configuration",
                         "token \"%s\" holds another key: its thumbprint is %s, the configuration pins %s",
                         o->token.label, jkt, o->key->thumbprint);
    if (o->known && strcmp(before, jkt) != 0)
        return error_set(err, STATUS_KEY_WRONG, "bring back the right token",
                         "token \"%s\" holds another key than before: its thumbprint is %s, and was %s", o->token.label,
                         jkt, before);
    return STATUS_OK;
}

/* The health check: a signature that verifies. What the token says about itself proves nothing. */
static enum status check_signature(struct opened *o, const struct object *found, struct error *err)
{
    uint8_t digest[JWK_DIGEST_SIZE], signature[JWK_SIGNATURE_SIZE];
    randombytes_buf(digest, sizeof(digest));
    enum status status = judge(o, object_sign(&o->module, o->session, found, digest, signature, err), err);
    if (status != STATUS_OK)
        return status;
    if (jwk_verify(&found->jwk, digest, signature) != 0)
        return error_set(err, STATUS_KEY_FAILED,
                         "check that the token's private and public key objects belong together",
                         "a signature of %s, made as a check, does not verify with the public key", o->module.path);
    o->signed_at = opened_now();
    return STATUS_OK;
}

enum status opened_find(struct opened *o, struct error *err)
{
    struct object found;
    enum status status = judge(
        o, object_find(&o->module, o->session, &o->uri, o->key->allow_imported, o->pin.pin, &found, err), err);
    if (status == STATUS_OK)
        status = check_thumbprint(o, &found, err);
    if (status == STATUS_OK)
        status = check_signature(o, &found, err);
    if (status != STATUS_OK)
        return status;
    if (found.pin == NULL)
        pin_drop(&o->pin);
    o->object = found;
    o->jwk = found.jwk;
    o->known = true;
    return STATUS_OK;
}

enum status opened_log_in(struct opened *o, struct error *err)
{
    if (o->session_open) /* ours are all that there are; the log-in ends with the last one */
        (void)o->module.f->C_CloseAllSessions(o->token.slot);
    o->session_open = false;
    enum status status = token_find(&o->module, &o->uri, &o->token, err);
    if (status != STATUS_OK)
        return status;
    CK_RV rv = o->module.f->C_OpenSession(o->token.slot, CKF_SERIAL_SESSION, NULL, NULL, &o->session);
    if (rv != CKR_OK)
        return module_failed(&o->module, "C_OpenSession", rv, err);
    o->session_open = true;
    status = pin_log_in(&o->pin, o->channel, &o->module, &o->token, o->session, err);
    return status == STATUS_OK ? opened_find(o, err) : status;
}

enum status opened_open(struct opened *o, const uint8_t *pin_key, pin_meanwhile *meanwhile, void *context,
                        struct error *err)
{
    enum status status = uri_parse(o->key->uri, &o->uri, err);
    if (status == STATUS_OK)
        status = pin_source_init(o->key, pin_key, &o->uri, &o->pin, err);
    if (status != STATUS_OK)
        return status;
    o->pin.meanwhile = meanwhile;
    o->pin.context = context;
    status = module_set_environment(&o->key->environment, err);
    if (status == STATUS_OK)
        status = module_open_uri(&o->uri, &o->module, err);
    return status == STATUS_OK ? opened_log_in(o, err) : status;
}

void opened_close(struct opened *o)
{
    pin_drop(&o->pin);
    module_close(&o->module);
    o->session_open = false;
}

void opened_free(struct opened *o)
{
    pin_drop(&o->pin);
    uri_free(&o->uri);
}

enum status opened_check(struct opened *o, struct error *err)
{
    enum status status = token_check(&o->module, &o->token, err);
    if (status == STATUS_OK)
        status = object_check(&o->module, o->session, &o->object, err);
    bool due = module_is_tpm(&o->module) && o->object.pin == NULL && opened_now() - o->signed_at >= PROVE_AFTER;
    return status == STATUS_OK && due ? check_signature(o, &o->object, err) : status;
}

enum status opened_sign(struct opened *o, const uint8_t digest[JWK_DIGEST_SIZE], uint8_t signature[JWK_SIGNATURE_SIZE],
                        struct error *err)
{
    uint8_t made[JWK_SIGNATURE_SIZE];
    int64_t begun = opened_now();
    enum status status = judge(o, object_sign(&o->module, o->session, &o->object, digest, made, err), err);
    if (status != STATUS_OK)
        return status;
    int64_t took = opened_now() - begun;
    o->pace = o->pace == 0 ? took : (o->pace * (SMOOTHING - 1) + took) / SMOOTHING;
    if (o->pace > VERIFY_ABOVE && jwk_verify(&o->object.jwk, digest, made) != 0)
        return error_set(err, STATUS_KEY_FAILED, "look at the token; the agent opens it anew by itself",
                         "a signature of %s does not verify with the public key", o->module.path);
    o->signed_at = begun + took;
    memcpy(signature, made, sizeof(made));
    return STATUS_OK;
}
