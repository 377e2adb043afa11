/*
 * The operation `authorize`: everything for one send of a resource request (RFC 9449 section 7) in one round trip: the
 * URL in the form that is signed, the token, a fresh proof with the newest nonce of that origin, and the attempt's
 * handle.
 */
#include "operations.h"

#include "attempt.h"
#include "fresh_proof.h"
#include "htu.h"
#include "policy.h"
#include "skew.h"
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

struct authorize_work {
    struct request *request;
    const struct profile_config *profile;
    char htm[LIMIT_NAME + 1];
    char url[URL_SIZE], htu[URL_SIZE];
    char ath[PROOF_ATH_SIZE];
    struct attempt attempt, earlier;
    bool retried; /* `earlier` is known */
    bool bearer;  /* the token is one: no proof goes with it */
    uint64_t deadline;
    struct buffer authorization; /* the token's type and the token */
    struct buffer proof;
};

static void free_work(struct authorize_work *w)
{
    buffer_free(&w->authorization);
    buffer_free(&w->proof);
    free(w);
}

static void fail(struct authorize_work *w, const struct error *err)
{
    request_fail(w->request, err);
    free_work(w);
}

static enum status build(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                         struct error *err)
{
    struct authorize_work *w = context;
    const char *nonce = nonce_get(w->request->front->nonces, NONCE_RESOURCE_SERVER, w->attempt.origin, key->jkt);
    struct proof_claims claims = {.htm = span_text(w->htm),
                                  .htu = span_text(w->htu),
                                  .ath = span_text(w->ath),
                                  .nonce = span_text(nonce)};
    if (w->request->client == NULL)
        return error_set(err, STATUS_RESTARTED, NULL, "the client has gone"); /* no signature for nobody */
    memcpy(w->attempt.jkt, key->jkt, sizeof(w->attempt.jkt));
    w->attempt.has_nonce = nonce != NULL;
    if (nonce != NULL && nonce_digest(span_text(nonce), w->attempt.nonce) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "a nonce cannot be hashed");
    w->attempt.skew = skew_get(w->request->front->skew, w->attempt.origin);
    return fresh_proof(key, &claims, w->attempt.skew, &w->proof, digest, err);
}

static uint16_t one_more(uint16_t n, bool more)
{
    return more && n < UINT16_MAX ? (uint16_t)(n + 1) : n;
}

/* How often this request has been sent, and why: outcome decides by it whether one more send is worth it. */
static void count_sends(struct authorize_work *w)
{
    const struct attempt *before = &w->earlier;
    struct attempt *a = &w->attempt;
    a->sends = 1;
    if (!w->retried)
        return;
    bool other_nonce = a->has_nonce && (!before->has_nonce || memcmp(a->nonce, before->nonce, sizeof(a->nonce)) != 0);
    a->sends = one_more(before->sends, true);
    bool other_token = a->token_serial != before->token_serial;
    a->refreshes = one_more(before->refreshes, other_token);
    a->nonce_retries = one_more(before->nonce_retries, other_nonce && !other_token); /* one send, one cause */
    a->clock_retries = one_more(before->clock_retries, a->skew != before->skew);
}

static void answer(struct authorize_work *w)
{
    struct buffer handle;
    if (w->proof.failed || w->authorization.failed) {
        struct error no_memory;
        (void)error_set(&no_memory, STATUS_NO_MEMORY, NULL, "out of memory");
        fail(w, &no_memory);
        return;
    }
    count_sends(w);
    buffer_init(&handle, LIMIT_ATTEMPT);
    attempt_put(&w->attempt, w->request->front->attempt_key, &handle);
    struct authorize_answer message = {.url = span_text(w->url),
                                      .authorization = buffer_span(&w->authorization),
                                      .dpop = w->bearer ? span_text(NULL) : buffer_span(&w->proof),
                                      .attempt = buffer_span(&handle)};
    request_answer(w->request, &message_authorize_answer, &message);
    buffer_free(&handle);
    free_work(w);
}

static void on_signed(void *context, const struct error *err, const struct key_public *key, const uint8_t *signature)
{
    struct authorize_work *w = context;
    (void)key;
    if (err != NULL) {
        fail(w, err);
        return;
    }
    proof_append_signature(&w->proof, signature);
    answer(w);
}

/* The token's own: a rotation may have given its name to another one since the token was asked for. */
static struct key *key_of(struct front *f, const struct profile_config *profile, const struct token *token)
{
    struct key *key = keys_of(f->keys, token->jkt);
    return key != NULL ? key : keys_find(f->keys, span_text(profile->key));
}

static void on_token(void *context, const struct error *err, const struct token *token)
{
    struct authorize_work *w = context;
    struct front *f = w->request->front;
    struct error no_ath;
    if (err != NULL) {
        fail(w, err);
        return;
    }
    struct span access_token = secret_span(token->access_token);
    if (proof_ath(access_token, w->ath) != 0) {
        (void)error_set(&no_ath, STATUS_INTERNAL, NULL, "profile \"%s\": its token cannot be hashed", w->profile->name);
        fail(w, &no_ath);
        return;
    }
    buffer_put_text(&w->authorization, token->type);
    buffer_put_text(&w->authorization, " ");
    buffer_put(&w->authorization, access_token.data, access_token.len);
    w->attempt.token_serial = token->serial;
    w->bearer = strcmp(token->type, "Bearer") == 0;
    if (w->bearer) {
        answer(w);
        return;
    }
    struct sign_job job = {.build = build, .done = on_signed, .context = w, .deadline = w->deadline,
                           .owner = (uint32_t)w->request->pid};
    keys_sign(key_of(f, w->profile, token), &job);
}

static void use_earlier(struct authorize_work *w, struct span handle)
{
    w->retried = handle.data != NULL && attempt_take(handle, w->request->front->attempt_key, &w->earlier) == 0 &&
                 strcmp(w->earlier.origin, w->attempt.origin) == 0 && strcmp(w->earlier.profile, w->profile->name) == 0;
}

void op_authorize(struct request *r, const void *message)
{
    const struct authorize_request *in = message;
    struct front *f = r->front;
    struct error err;
    const struct profile_config *profile = operations_profile(r, in->profile);
    if (profile == NULL)
        return;
    struct authorize_work *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        request_fail(r, &err);
        return;
    }
    w->request = r;
    w->profile = profile;
    w->deadline = front_deadline(f, in->timeout);
    buffer_init(&w->authorization, LIMIT_ACCESS_TOKEN + 16);
    buffer_init(&w->proof, PROOF_MAX);
    (void)!span_copy(span_text(profile->name), w->attempt.profile, sizeof(w->attempt.profile));
    enum status status = span_copy(in->htm, w->htm, sizeof(w->htm)) == 0
                             ? STATUS_OK
                             : error_set(&err, STATUS_INVALID_ARGUMENT, NULL, "the method is too long");
    if (status == STATUS_OK)
        status = operations_check_query(in->scope, &in->resources, &err);
    if (status == STATUS_OK)
        status = htu_sent(in->url, w->url, sizeof(w->url), w->htu, sizeof(w->htu), &err);
    if (status == STATUS_OK)
        status = url_origin(in->url, w->attempt.origin, sizeof(w->attempt.origin), &err);
    if (status == STATUS_OK)
        status = policy_profile(f->policy, profile, w->attempt.origin, &err);
    if (status != STATUS_OK) {
        fail(w, &err);
        return;
    }
    use_earlier(w, in->attempt);
    struct token_query query = {.profile = profile, .scope = in->scope, .resources = &in->resources,
                                .deadline = w->deadline};
    tokens_get(f->tokens, &query, on_token, w);
}
