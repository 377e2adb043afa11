/* See as_sending.h: one send. The steps stand behind one another from the last to the first: each starts the next
   one. */
#include "as_sending.h"

#include "assertion.h"
#include "children.h"
#include "form.h"
#include "fresh_proof.h"
#include "skew.h"

#include <sodium.h>
#include <string.h>
#include <time.h>

#define ASSERTION_LIFETIME 60 /* seconds; it is used at once */
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define NET_GRACE 1000000 /* microseconds the net process has for its own time-out's message */
#define PROBE_BYTES 24

static void put_form(const struct sending *x, struct buffer *form)
{
    const struct profile_config *p = x->request.profile;
    uint8_t random[PROBE_BYTES];
    char text[BASE64URL_LENGTH(PROBE_BYTES) + 1];
    if (x->probing) {
        randombytes_buf(random, sizeof(random));
        base64url_encode(random, sizeof(random), text);
        form_put(form, "grant_type", span_text("refresh_token"));
        form_put(form, "refresh_token", span_text(text));
    } else {
        struct span fields = buffer_span(&x->form);
        buffer_put(form, fields.data, fields.len);
        if (x->request.grant_assertion)
            form_put(form, "assertion", buffer_span(&x->grant_assertion));
    }
    if (p->client_authentication != CLIENT_SECRET_BASIC && p->client_authentication != CLIENT_SECRET_POST)
        form_put(form, "client_id", span_text(p->client_id));
    if (p->client_authentication == PRIVATE_KEY_JWT) {
        form_put(form, "client_assertion_type", span_text(ASSERTION_TYPE));
        form_put(form, "client_assertion", buffer_span(&x->assertion));
    }
}

static void send_request(struct sending *x)
{
    struct front *f = x->all->front;
    struct buffer form;
    uint64_t now = front_now(f);
    buffer_init(&form, AS_FORM_MAX);
    put_form(x, &form);
    if (form.failed || x->proof.failed || x->assertion.failed || x->grant_assertion.failed) {
        buffer_free(&form);
        as_request_fail_internal(x);
        return;
    }
    struct fetch_request m = {.profile = span_text(x->request.profile->name),
                              .url = span_text(x->endpoint),
                              .form = buffer_span(&form),
                              .dpop = x->request.dpop ? buffer_span(&x->proof) : span_text(NULL),
                              .authenticate = true,
                              .token_files = x->request.token_files && !x->probing,
                              .timeout = x->request.deadline > now ? (uint32_t)((x->request.deadline - now) / 1000) + 1
                              : 1};
    x->sent_at = now;
    children_fetch(f->children, x->request.profile, &m, x->request.deadline + NET_GRACE, as_answer_fetched, x);
    buffer_free(&form);
}

static enum status build_proof(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                               struct error *err)
{
    struct sending *x = context;
    struct front *f = x->all->front;
    memcpy(x->result.jkt, key->jkt, sizeof(key->jkt));
    const char *nonce = nonce_get(f->nonces, NONCE_AUTHORIZATION_SERVER, x->origin, key->jkt);
    struct proof_claims claims = {.htm = span_text("POST"), .htu = span_text(x->htu), .nonce = span_text(nonce)};
    memset(x->nonce_sent, 0, sizeof(x->nonce_sent));
    if (nonce != NULL && nonce_digest(span_text(nonce), x->nonce_sent) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "a nonce cannot be hashed");
    x->skew_sent = skew_get(f->skew, x->origin);
    return fresh_proof(key, &claims, x->skew_sent, &x->proof, digest, err);
}

static enum status build_assertion(struct sending *x, const struct key_public *key,
                                   const struct assertion_claims *names,
                                   struct buffer *out, uint8_t digest[JWK_DIGEST_SIZE], struct error *err)
{
    struct assertion_claims claims = *names;
    x->skew_sent = skew_get(x->all->front->skew, x->origin);
    claims.iat = (int64_t)time(NULL) + x->skew_sent;
    claims.lifetime = ASSERTION_LIFETIME;
    randombytes_buf(claims.jti, sizeof(claims.jti));
    buffer_clear(out);
    enum status status = assertion_signing_input(&key->jwk, &claims, out, err);
    if (status == STATUS_OK && proof_digest(buffer_span(out), digest) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "an assertion cannot be hashed");
    return status;
}

static enum status build_client_assertion(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                                          struct error *err)
{
    struct sending *x = context;
    struct span id = span_text(x->request.profile->client_id);
    struct assertion_claims claims = {.issuer = id, .subject = id, .audience = span_text(x->audience)};
    return build_assertion(x, key, &claims, &x->assertion, digest, err);
}

static enum status build_grant_assertion(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                                         struct error *err)
{
    struct sending *x = context;
    const struct profile_config *p = x->request.profile;
    struct assertion_claims claims = {
        .issuer = span_text(p->assertion_issuer != NULL ? p->assertion_issuer : p->client_id),
        .subject = span_text(p->assertion_subject),
        .audience = span_text(p->assertion_audience != NULL ? p->assertion_audience : x->audience),
        .grant = true};
    return build_assertion(x, key, &claims, &x->grant_assertion, digest, err);
}

struct step {
    enum status (*build)(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                         struct error *err);
    void (*signed_)(void *context, const struct error *failure, const struct key_public *key, const uint8_t *signature);
};

static void sign(struct sending *x, const char *key_name, const struct step *step)
{
    struct sign_job job = {.build = step->build, .done = step->signed_, .context = x, .deadline = x->request.deadline};
    keys_sign(as_request_key(x, key_name), &job);
}

static void on_proof_signed(void *context, const struct error *failure, const struct key_public *key,
                            const uint8_t *signature)
{
    struct sending *x = context;
    (void)key;
    if (failure != NULL) {
        as_request_finish(x, failure, NULL);
        return;
    }
    proof_append_signature(&x->proof, signature);
    send_request(x);
}

static void sign_proof(struct sending *x)
{
    static const struct step step = {build_proof, on_proof_signed};
    if (x->request.dpop)
        sign(x, x->request.profile->key, &step);
    else
        send_request(x);
}

static void on_key_shown(void *context, const struct error *failure, const struct key_public *key,
                         const uint8_t *signature)
{
    struct sending *x = context;
    (void)key;
    (void)signature;
    if (failure != NULL)
        as_request_finish(x, failure, NULL);
    else
        sign_proof(x);
}

static void on_grant_signed(void *context, const struct error *failure, const struct key_public *key,
                            const uint8_t *signature)
{
    static const struct step show_key = {NULL, on_key_shown};
    struct sending *x = context;
    (void)key;
    if (failure != NULL) {
        as_request_finish(x, failure, NULL);
        return;
    }
    if (signature != NULL)
        proof_append_signature(&x->grant_assertion, signature);
    if (config_has_tls_client(x->request.profile))
        sign(x, x->request.profile->client_key, &show_key);
    else
        sign_proof(x);
}

static void on_client_signed(void *context, const struct error *failure, const struct key_public *key,
                             const uint8_t *signature)
{
    static const struct step step = {build_grant_assertion, on_grant_signed};
    struct sending *x = context;
    const struct profile_config *p = x->request.profile;
    if (failure != NULL) {
        as_request_finish(x, failure, NULL);
        return;
    }
    if (signature != NULL)
        proof_append_signature(&x->assertion, signature);
    if (x->request.grant_assertion && !x->probing)
        sign(x, p->assertion_key != NULL ? p->assertion_key : p->client_key != NULL ? p->client_key : p->key, &step);
    else
        on_grant_signed(x, NULL, key, NULL);
}

void as_send_begin(struct sending *x)
{
    static const struct step step = {build_client_assertion, on_client_signed};
    x->result.answered = false;
    if (x->request.profile->client_authentication == PRIVATE_KEY_JWT)
        sign(x, x->request.profile->client_key, &step);
    else
        on_client_signed(x, NULL, NULL, NULL);
}
