/* See exchange.h. The steps stand in their order; each starts the next one from its callback. */
#include "exchange.h"

#include "answer.h"
#include "assertion.h"
#include "challenge.h"
#include "children.h"
#include "form.h"
#include "fresh_proof.h"
#include "htu.h"
#include "log.h"
#include "metadata.h"
#include "nonce.h"
#include "text.h"
#include "url.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ASSERTION_LIFETIME 60          /* seconds; it is used at once */
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define FORM_MAX (256 * 1024)
#define LIFETIME_UNKNOWN 300           /* seconds, where the server names none (RFC 6749 section 5.1 only recommends it) */
#define LIFETIME_MAX (24 * 3600)       /* a token is asked for anew at least daily */
#define NET_GRACE 1000000              /* microseconds the net process has for its own time-out's message */
#define MAX_SENDS 2                    /* one nonce retry */

struct exchange {
    struct front *front;
    const struct profile_config *profile;
    struct span scope; /* a copy */
    const struct strings *resources;
    uint64_t deadline;
    exchange_done done;
    void *context;
    char *endpoint; /* normalised: what is sent, */
    char *htu;      /* and the same string as the proof claims it */
    char origin[URL_ORIGIN_SIZE];
    char jkt[JWK_THUMBPRINT_SIZE];
    struct buffer assertion, proof;
    uint8_t nonce_sent[NONCE_DIGEST_SIZE]; /* all zero: none */
    unsigned int sends;
};

static void begin_attempt(struct exchange *x);

static void finish(struct exchange *x, const struct error *err, const struct granted *granted)
{
    x->done(x->context, err, granted); /* first: what was granted has texts of the exchange */
    buffer_free(&x->assertion);
    buffer_free(&x->proof);
    free((void *)(uintptr_t)x->scope.data);
    free(x->endpoint);
    free(x->htu);
    free(x);
}

static void finish_internal(struct exchange *x)
{
    struct error err;
    (void)error_set(&err, STATUS_INTERNAL, NULL, "profile \"%s\": the token request could not be built", x->profile->name);
    finish(x, &err, NULL);
}

/* --- the answer --- */

static bool is_nonce_challenge(const struct fetch_answer *a)
{
    struct challenge_result result = {0};
    struct span item;
    size_t cursor = 0;
    if (a->http_status != 400 && a->http_status != 401)
        return false;
    while (list_next(&a->challenges, &cursor, &item))
        (void)challenge_read(item, &result);
    return result.use_dpop_nonce || span_is(answer_text(a, "error"), "use_dpop_nonce");
}

/* Learns the nonce of any answer. False: it brought none, or none that may be used (RFC 9449 section 8.1). */
static bool learn_nonce(struct exchange *x, const struct fetch_answer *a, uint8_t digest[NONCE_DIGEST_SIZE])
{
    struct span nonce;
    size_t cursor = 0;
    if (a->nonces.count != 1 || !list_next(&a->nonces, &cursor, &nonce))
        return false;
    return nonce_put(x->front->nonces, NONCE_AUTHORIZATION_SERVER, x->origin, x->jkt, nonce) == 0 &&
           nonce_digest(nonce, digest) == 0;
}

static void on_nonce_challenge(struct exchange *x, const struct fetch_answer *a, bool learned,
                               const uint8_t digest[NONCE_DIGEST_SIZE])
{
    struct error err;
    bool other = learned && memcmp(digest, x->nonce_sent, NONCE_DIGEST_SIZE) != 0;
    if (other && x->sends < MAX_SENDS) {
        log_debug("profile %s: %s asks for a nonce, sending again", x->profile->name, x->origin);
        begin_attempt(x);
        return;
    }
    (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator",
                    "profile \"%s\": %s %s", x->profile->name, x->endpoint,
                    !learned ? "asks for a DPoP nonce, but sends none that may be used"
                    : other  ? "asks for a new DPoP nonce again and again"
                             : "refuses the DPoP nonce that it issued itself");
    err.http_status = a->http_status;
    error_put_text(err.oauth_error, sizeof(err.oauth_error), answer_text(a, "error"));
    finish(x, &err, NULL);
}

static const char *next_step(struct span oauth_error)
{
    static const struct {
        const char *error, *next;
    } steps[] = {
        {"invalid_client", "check client-id, client-authentication and the client's secret or key"},
        {"unauthorized_client", "allow this grant for the client at the authorization server"},
        {"unsupported_grant_type", "choose another grant in the profile"},
        {"invalid_scope", "check scope in the profile"},
        {"invalid_target", "check resource in the profile"},
        {"invalid_dpop_proof", "check this machine's clock, and token-endpoint if a proxy rewrites it"},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (span_is(oauth_error, steps[i].error))
            return steps[i].next;
    return "see what the server says";
}

static void refused(struct exchange *x, const struct fetch_answer *a)
{
    struct error err;
    struct span oauth_error = answer_text(a, "error");
    unsigned int status = a->http_status;
    if (status >= 500 || status == 429)
        (void)error_set(&err, STATUS_SERVER_UNAVAILABLE, "try again later", "profile \"%s\": %s answers with status %u",
                        x->profile->name, x->endpoint, status);
    else if (status >= 300 && status < 400)
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "name the right endpoint with token-endpoint",
                        "profile \"%s\": %s answers with a redirect (status %u), which is not followed", x->profile->name,
                        x->endpoint, status);
    else if (oauth_error.data != NULL)
        (void)error_set(&err, STATUS_SERVER_REFUSED, next_step(oauth_error), "profile \"%s\": %s refuses: %.*s", x->profile->name,
                        x->endpoint, (int)oauth_error.len, (const char *)oauth_error.data);
    else
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, NULL, "profile \"%s\": %s answers with status %u, which is neither 200 nor an OAuth error%s%.*s",
                        x->profile->name, x->endpoint, status, a->json_error.data != NULL ? ": " : "", (int)a->json_error.len,
                        a->json_error.data != NULL ? (const char *)a->json_error.data : "");
    err.http_status = a->http_status;
    err.retry_after = a->retry_after;
    error_put_text(err.oauth_error, sizeof(err.oauth_error), oauth_error);
    error_put_text(err.oauth_description, sizeof(err.oauth_description), answer_text(a, "error_description"));
    error_put_text(err.oauth_uri, sizeof(err.oauth_uri), answer_text(a, "error_uri"));
    finish(x, &err, NULL);
}

static enum status misbehaved(const struct exchange *x, struct error *err, const char *what)
{
    return error_set(err, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator", "profile \"%s\": %s %s",
                     x->profile->name, x->endpoint, what);
}

static enum status read_lifetime(const struct exchange *x, const struct fetch_answer *a, uint32_t *out, struct error *err)
{
    struct json_member member;
    if (!answer_member(a, "expires_in", &member) || member.kind == JSON_KIND_NULL) {
        *out = a->lifetime > 0 ? a->lifetime : LIFETIME_UNKNOWN;
    } else if (member.kind != JSON_KIND_INTEGER || (int64_t)member.integer < 0) {
        return misbehaved(x, err, "gives an expires_in that is no number of seconds");
    } else {
        *out = member.integer > LIFETIME_MAX ? LIFETIME_MAX : (uint32_t)member.integer;
    }
    if (*out > LIFETIME_MAX)
        *out = LIFETIME_MAX;
    return STATUS_OK;
}

static enum status read_token(const struct exchange *x, const struct fetch_answer *a, struct granted *out, struct error *err)
{
    char ath[PROOF_ATH_SIZE];
    struct span type = answer_text(a, "token_type");
    struct granted g = {.access_token = answer_text(a, "access_token"), .scope = answer_text(a, "scope"), .jkt = x->jkt};

    if (a->json_error.data != NULL)
        return error_set(err, STATUS_SERVER_MISBEHAVED, NULL, "profile \"%s\": %s: %.*s", x->profile->name, x->endpoint,
                         (int)a->json_error.len, (const char *)a->json_error.data);
    if (g.access_token.data == NULL || g.access_token.len > LIMIT_ACCESS_TOKEN || proof_ath(g.access_token, ath) != 0 ||
        memchr(g.access_token.data, ' ', g.access_token.len) != NULL) /* RFC 6749 has blanks, an Authorization header has not */
        return misbehaved(x, err, "gives no usable access_token");
    if (g.scope.data != NULL && (g.scope.len > LIMIT_SCOPE || !text_valid(g.scope)))
        return misbehaved(x, err, "gives a scope that is no text");
    if (type.data == NULL)
        return misbehaved(x, err, "gives no token_type");
    if (type.len != 4 || strncasecmp((const char *)type.data, "DPoP", 4) != 0)
        return error_set(err, STATUS_TOKEN_NOT_DPOP, "switch DPoP on for this client at the authorization server",
                         "profile \"%s\": %s gives a token of the type \"%.*s\" instead of DPoP; it was discarded",
                         x->profile->name, x->endpoint, type.len < 20 ? (int)type.len : 20, (const char *)type.data);
    if (a->cnf_jkt.data != NULL && !span_is(a->cnf_jkt, x->jkt))
        return error_set(err, STATUS_TOKEN_OTHER_KEY, "tell the authorization server's operator",
                         "profile \"%s\": %s gives a token that is bound to another key (cnf.jkt); it was discarded",
                         x->profile->name, x->endpoint);
    enum status status = read_lifetime(x, a, &g.lifetime, err);
    if (status == STATUS_OK)
        *out = g;
    return status;
}

static void on_fetched(void *context, const struct error *failure, struct span fields)
{
    struct exchange *x = context;
    struct fetch_answer a;
    struct granted granted;
    struct error err;
    uint8_t nonce[NONCE_DIGEST_SIZE] = {0};

    if (failure != NULL) {
        finish(x, failure, NULL);
        return;
    }
    if (message_take(fields, &message_fetch_answer, &a, sizeof(a), &err) != STATUS_OK) {
        finish(x, &err, NULL);
        return;
    }
    bool learned = learn_nonce(x, &a, nonce);
    if (is_nonce_challenge(&a))
        on_nonce_challenge(x, &a, learned, nonce);
    else if (a.http_status != 200)
        refused(x, &a);
    else if (read_token(x, &a, &granted, &err) != STATUS_OK)
        finish(x, &err, NULL);
    else
        finish(x, NULL, &granted);
}

/* --- the request --- */

static void put_form(const struct exchange *x, struct buffer *form)
{
    const struct profile_config *p = x->profile;
    form_put(form, "grant_type", span_text(config_grant_name(p->grant)));
    if (x->scope.data != NULL)
        form_put(form, "scope", x->scope);
    for (size_t i = 0; i < x->resources->count; i++)
        form_put(form, "resource", span_text(x->resources->items[i]));
    for (size_t i = 0; i < p->form.count; i++) {
        const char *equals = strchr(p->form.items[i], '=');
        buffer_put(form, "&", 1);
        form_put_encoded(form, span_of(p->form.items[i], (size_t)(equals - p->form.items[i])));
        buffer_put(form, "=", 1);
        form_put_encoded(form, span_text(equals + 1));
    }
    if (p->client_authentication == PRIVATE_KEY_JWT) {
        form_put(form, "client_id", span_text(p->client_id));
        form_put(form, "client_assertion_type", span_text(ASSERTION_TYPE));
        form_put(form, "client_assertion", buffer_span(&x->assertion));
    }
}

static void send_request(struct exchange *x)
{
    struct buffer form;
    uint64_t now = front_now(x->front);
    buffer_init(&form, FORM_MAX);
    put_form(x, &form);
    if (form.failed || x->proof.failed || x->assertion.failed) {
        buffer_free(&form);
        finish_internal(x);
        return;
    }
    struct fetch_request m = {.profile = span_text(x->profile->name),
                              .url = span_text(x->endpoint),
                              .form = buffer_span(&form),
                              .dpop = buffer_span(&x->proof),
                              .authenticate = true,
                              .timeout = x->deadline > now ? (uint32_t)((x->deadline - now) / 1000) + 1 : 1};
    x->sends++;
    children_call(x->front->children, ROLE_NET, INTERNAL_FETCH, &message_fetch_request, &m, x->deadline + NET_GRACE, on_fetched, x);
    buffer_free(&form);
}

static enum status build_proof(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE], struct error *err)
{
    struct exchange *x = context;
    memcpy(x->jkt, key->jkt, sizeof(x->jkt));
    const char *nonce = nonce_get(x->front->nonces, NONCE_AUTHORIZATION_SERVER, x->origin, x->jkt);
    struct proof_claims claims = {.htm = span_text("POST"), .htu = span_text(x->htu), .nonce = span_text(nonce)};
    memset(x->nonce_sent, 0, sizeof(x->nonce_sent));
    if (nonce != NULL && nonce_digest(span_text(nonce), x->nonce_sent) != 0)
        return error_set(err, STATUS_INTERNAL, NULL, "a nonce cannot be hashed");
    return fresh_proof(key, &claims, &x->proof, digest, err);
}

static void on_proof_signed(void *context, const struct error *failure, const struct key_public *key, const uint8_t *signature)
{
    struct exchange *x = context;
    (void)key;
    if (failure != NULL) {
        finish(x, failure, NULL);
        return;
    }
    proof_append_signature(&x->proof, signature);
    send_request(x);
}

static void sign_proof(struct exchange *x)
{
    struct key *key = keys_find(x->front->keys, span_text(x->profile->key));
    struct sign_job job = {.build = build_proof, .done = on_proof_signed, .context = x, .deadline = x->deadline};
    keys_sign(key, &job);
}

static enum status build_assertion(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE], struct error *err)
{
    struct exchange *x = context;
    struct assertion_claims claims = {.client_id = span_text(x->profile->client_id),
                                      .issuer = span_text(x->profile->issuer),
                                      .iat = (int64_t)time(NULL),
                                      .lifetime = ASSERTION_LIFETIME};
    randombytes_buf(claims.jti, sizeof(claims.jti));
    buffer_clear(&x->assertion);
    enum status status = assertion_signing_input(&key->jwk, &claims, &x->assertion, err);
    if (status == STATUS_OK && proof_digest(buffer_span(&x->assertion), digest) != 0)
        status = error_set(err, STATUS_INTERNAL, NULL, "a client assertion cannot be hashed");
    return status;
}

static void on_assertion_signed(void *context, const struct error *failure, const struct key_public *key, const uint8_t *signature)
{
    struct exchange *x = context;
    (void)key;
    if (failure != NULL) {
        finish(x, failure, NULL);
        return;
    }
    proof_append_signature(&x->assertion, signature);
    sign_proof(x);
}

/* One send: a new assertion, a new proof, the request. */
static void begin_attempt(struct exchange *x)
{
    if (x->profile->client_authentication != PRIVATE_KEY_JWT) {
        sign_proof(x);
        return;
    }
    struct key *key = keys_find(x->front->keys, span_text(x->profile->client_key));
    struct sign_job job = {.build = build_assertion, .done = on_assertion_signed, .context = x, .deadline = x->deadline};
    keys_sign(key, &job);
}

static void on_metadata(void *context, const struct error *failure, const char *token_endpoint)
{
    struct exchange *x = context;
    char url[URL_SIZE], htu[URL_SIZE];
    struct error err;
    if (failure != NULL) {
        finish(x, failure, NULL);
        return;
    }
    if (htu_sent(span_text(token_endpoint), url, sizeof(url), htu, sizeof(htu), &err) != STATUS_OK ||
        url_origin(span_text(url), x->origin, sizeof(x->origin), &err) != STATUS_OK) {
        finish(x, &err, NULL);
        return;
    }
    x->endpoint = strdup(url);
    x->htu = strdup(htu);
    if (x->endpoint == NULL || x->htu == NULL) {
        finish_internal(x);
        return;
    }
    begin_attempt(x);
}

void exchange_start(struct front *f, const struct exchange_request *request, exchange_done done, void *context)
{
    struct exchange *x = calloc(1, sizeof(*x));
    struct error err;
    char *scope = request->scope.data != NULL ? span_dup(request->scope) : NULL;
    if (x == NULL || (request->scope.data != NULL && scope == NULL)) {
        free(x);
        free(scope);
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL);
        return;
    }
    *x = (struct exchange){.front = f,
                           .profile = request->profile,
                           .scope = span_of(scope, request->scope.len),
                           .resources = request->resources,
                           .deadline = request->deadline,
                           .done = done,
                           .context = context};
    buffer_init(&x->assertion, ASSERTION_MAX);
    buffer_init(&x->proof, PROOF_MAX);
    metadata_get(f->metadata, x->profile, x->deadline, on_metadata, x);
}
