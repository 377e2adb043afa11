/* The operation `proof`: a DPoP proof for a method and URL, perhaps bound to an access token (RFC 9449 section 4.2). */
#include "operations.h"

#include "fresh_proof.h"
#include "skew.h"
#include "htu.h"
#include "policy.h"

#include <stdlib.h>
#include <string.h>

struct proof_work {
    struct request *request;
    char htm[LIMIT_NAME + 1];
    char origin[URL_ORIGIN_SIZE];
    char htu[URL_SIZE];
    char ath[PROOF_ATH_SIZE];
    bool has_ath;
    struct buffer nonce;
    bool has_nonce;
    struct buffer proof;
};

static void free_work(struct proof_work *w)
{
    buffer_free(&w->nonce);
    buffer_free(&w->proof);
    free(w);
}

static void fail(struct proof_work *w, const struct error *err)
{
    request_fail(w->request, err);
    free_work(w);
}

static enum status build(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                         struct error *err)
{
    struct proof_work *w = context;
    struct proof_claims claims = {.htm = span_text(w->htm),
                                  .htu = span_text(w->htu),
                                  .ath = span_text(w->has_ath ? w->ath : NULL),
                                  .nonce = w->has_nonce ? buffer_span(&w->nonce) : span_text(NULL)};
    if (w->request->client == NULL)
        return error_set(err, STATUS_RESTARTED, NULL, "the client has gone"); /* no signature for nobody */
    return fresh_proof(key, &claims, skew_get(w->request->front->skew, w->origin), &w->proof, digest, err);
}

static void on_signed(void *context, const struct error *err, const struct key_public *key, const uint8_t *signature)
{
    struct proof_work *w = context;
    if (err != NULL) {
        fail(w, err);
        return;
    }
    proof_append_signature(&w->proof, signature);
    if (w->proof.failed || w->nonce.failed) {
        struct error no_memory;
        (void)error_set(&no_memory, STATUS_NO_MEMORY, NULL, "out of memory");
        fail(w, &no_memory);
        return;
    }
    struct proof_answer answer = {
        .proof = buffer_span(&w->proof), .htu = span_text(w->htu), .jkt = span_text(key->jkt)};
    request_answer(w->request, &message_proof_answer, &answer);
    free_work(w);
}

/* Which key signs, and may it sign for this origin? */
static enum status choose_key(struct front *f, const struct proof_request *in, const char *origin, struct key **out,
                              struct error *err)
{
    const struct profile_config *profile = in->profile.data != NULL ? config_profile(f->config, in->profile) : NULL;
    if (in->profile.data != NULL && in->key.data != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "name one of the two",
                         "a proof is for a key or for a profile, not both");
    if (in->profile.data != NULL && profile == NULL)
        return error_set(err, STATUS_UNKNOWN_PROFILE, "dpop profile list shows the profiles",
                         "there is no profile \"%.*s\"", (int)in->profile.len, (const char *)in->profile.data);
    struct key *key = profile != NULL         ? keys_find(f->keys, span_text(profile->key))
                      : in->key.data != NULL ? keys_find(f->keys, in->key)
                                             : keys_only(f->keys);
    if (key == NULL && f->configuration_path == NULL)
        return error_set(err, STATUS_NOT_CONFIGURED, "dpop init makes a first key and configuration",
                         "the agent is not configured");
    if (key == NULL && in->key.data == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "name it: dpop key list shows the keys",
                         "which key? there is not exactly one");
    if (key == NULL)
        return error_set(err, STATUS_UNKNOWN_KEY, "dpop key list shows the keys", "there is no key \"%.*s\"",
                         (int)in->key.len, (const char *)in->key.data);
    *out = key;
    return profile != NULL ? policy_profile(f->policy, profile, origin, err)
           : policy_key(f->policy, keys_config(key), origin, err);
}

static enum status set_ath(struct proof_work *w, const struct proof_request *in, struct error *err)
{
    if (in->ath.data != NULL && in->access_token.data != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "give one of the two",
                         "access_token and ath exclude each other");
    if (in->ath.data != NULL && (!proof_ath_valid(in->ath) || span_copy(in->ath, w->ath, sizeof(w->ath)) != 0))
        return error_set(err, STATUS_INVALID_ARGUMENT, "give base64url(SHA-256(access token))",
                         "ath must be 43 base64url characters that decode to 32 bytes");
    if (in->access_token.data != NULL && proof_ath(in->access_token, w->ath) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "check that the token is whole and has no line end in it",
                         "the access token is empty or has characters that no token has");
    w->has_ath = in->ath.data != NULL || in->access_token.data != NULL;
    return STATUS_OK;
}

void op_proof(struct request *r, const void *message)
{
    const struct proof_request *in = message;
    struct proof_work *w = calloc(1, sizeof(*w));
    struct key *key = NULL;
    struct error err;

    if (w == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        request_fail(r, &err);
        return;
    }
    w->request = r;
    buffer_init(&w->nonce, LIMIT_NONCE);
    buffer_init(&w->proof, PROOF_MAX);
    enum status status = span_copy(in->htm, w->htm, sizeof(w->htm)) == 0
                             ? STATUS_OK
                             : error_set(&err, STATUS_INVALID_ARGUMENT, NULL, "the method is too long");
    if (status == STATUS_OK)
        status = url_origin(in->htu, w->origin, sizeof(w->origin), &err);
    if (status == STATUS_OK)
        status = choose_key(r->front, in, w->origin, &key, &err);
    if (status == STATUS_OK)
        status = htu_claim(in->htu, w->htu, sizeof(w->htu), &err);
    if (status == STATUS_OK)
        status = set_ath(w, in, &err);
    if (status != STATUS_OK) {
        fail(w, &err);
        return;
    }
    w->has_nonce = in->nonce.data != NULL;
    buffer_put(&w->nonce, in->nonce.data, in->nonce.len);
    struct sign_job job = {.build = build, .done = on_signed, .context = w,
                           .deadline = front_deadline(r->front, in->timeout), .owner = (uint32_t)r->pid};
    keys_sign(key, &job);
}
