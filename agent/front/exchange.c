/* See exchange.h. The steps stand in their order; each starts the next one from its callback. */
#include "exchange.h"

#include "answer.h"
#include "form.h"
#include "id_token.h"
#include "proof.h"
#include "raw_json.h"
#include "skew.h"
#include "text.h"
#include "url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define FORM_MAX (640 * 1024) /* two of the longest tokens, encoded (grants.c), and the rest */
#define LIFETIME_UNKNOWN 300    /* seconds, where the server names none (RFC 6749 section 5.1 only recommends it) */
#define LIFETIME_MAX (24 * 3600) /* a token is asked for anew at least daily */
#define DIGITS_MAX 9            /* of an expires_in that came as a string */

struct exchange {
    struct front *front;
    struct exchange_request request;
    struct buffer form;
    char *endpoint, *issuer; /* issuer NULL: none is known */
    char origin[URL_ORIGIN_SIZE];
    uint64_t asked;
    exchange_done done;
    void *context;
};

static void finish(struct exchange *x, const struct error *err, const struct granted *granted,
                   const struct exchange_result *result)
{
    static const struct exchange_result nothing;
    x->done(x->context, err, granted, result != NULL ? result : &nothing);
    buffer_free(&x->form);
    free(x->endpoint);
    free(x->issuer);
    free(x);
}

/* --- the answer --- */

static enum status misbehaved(const struct exchange *x, struct error *err, const char *what)
{
    return error_set(err, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator", "profile \"%s\": %s %s",
                     x->request.profile->name, x->endpoint, what);
}

/* Some servers give the number as a string. -1: it is no number of seconds. */
static int64_t seconds_of(const struct json_member *member)
{
    int64_t seconds = 0;
    if (member->kind == JSON_KIND_INTEGER)
        return (int64_t)member->integer;
    if (member->kind != JSON_KIND_TEXT || member->text.len == 0 || member->text.len > DIGITS_MAX)
        return -1;
    for (size_t i = 0; i < member->text.len; i++) {
        if (member->text.data[i] < '0' || member->text.data[i] > '9')
            return -1;
        seconds = seconds * 10 + (member->text.data[i] - '0');
    }
    return seconds;
}

static enum status read_lifetime(const struct exchange *x, const struct fetch_answer *a, uint32_t *out,
                                 struct error *err)
{
    struct json_member member;
    int64_t seconds = a->lifetime > 0 ? a->lifetime : LIFETIME_UNKNOWN;
    if (answer_member(a, "expires_in", &member) && member.kind != JSON_KIND_NULL)
        seconds = seconds_of(&member);
    if (seconds < 0)
        return misbehaved(x, err, "gives an expires_in that is no number of seconds");
    if (seconds == 0)
        return misbehaved(x, err, "gives a token that has expired already (expires_in is 0)");
    *out = seconds > LIFETIME_MAX ? LIFETIME_MAX : (uint32_t)seconds;
    return STATUS_OK;
}

static bool is_type(struct span type, const char *name)
{
    return type.len == strlen(name) && strncasecmp((const char *)type.data, name, type.len) == 0;
}

static enum status read_type(const struct exchange *x, struct span type, struct span *out, struct error *err)
{
    if (type.data == NULL)
        return misbehaved(x, err, "gives no token_type");
    if (is_type(type, "DPoP")) {
        *out = span_text("DPoP");
        return STATUS_OK;
    }
    if (is_type(type, "Bearer") && x->request.profile->dpop != DPOP_REQUIRED) {
        *out = span_text("Bearer");
        return STATUS_OK;
    }
    return error_set(err, STATUS_TOKEN_NOT_DPOP,
                     "switch DPoP on for this client at the authorization server, or see dpop in the profile",
                     "profile \"%s\": %s gives a token of the type \"%.*s\" instead of DPoP; it was discarded",
                     x->request.profile->name, x->endpoint, type.len < 20 ? (int)type.len : 20,
                     (const char *)type.data);
}

static enum status check_id_token(const struct exchange *x, const struct fetch_answer *a, struct granted *g,
                                  struct error *err)
{
    struct id_token_message m;
    if (!x->request.user || (a->id_token.data == NULL && !a->id_token_unreadable))
        return STATUS_OK;
    if (a->id_token_unreadable || message_take(a->id_token, &message_id_token_message, &m, sizeof(m), err) != STATUS_OK)
        return misbehaved(x, err, "gives an id_token that cannot be read");
    struct id_token_claims claims = {.iss = m.iss, .sub = m.sub, .nonce = m.nonce, .azp = m.azp, .aud = m.aud,
                                     .exp = (int64_t)m.exp, .iat = (int64_t)m.iat, .has_exp = m.exp != 0,
                                     .has_iat = m.iat != 0};
    struct id_token_expected expected = {.issuer = span_text(x->issuer),
                                         .client_id = span_text(x->request.profile->client_id),
                                         .nonce = x->request.id_token_nonce,
                                         .subject = x->request.subject,
                                         .now = (int64_t)time(NULL) + skew_get(x->front->skew, x->origin),
                                         .where = x->request.profile->name};
    if (claims.sub.data != NULL)
        g->subject = claims.sub;
    return id_token_check(&claims, &expected, err);
}

static enum status read_token(const struct exchange *x, const struct fetch_answer *a, struct granted *out,
                              struct error *err)
{
    char ath[PROOF_ATH_SIZE];
    struct granted g = *out;
    g.access_token = answer_text(a, "access_token");
    g.scope = answer_text(a, "scope");
    g.subject = a->subject;
    if (g.access_token.data == NULL || g.access_token.len > LIMIT_ACCESS_TOKEN || proof_ath(g.access_token, ath) != 0 ||
        memchr(g.access_token.data, ' ', g.access_token.len) != NULL) /* RFC 6749 has blanks, an Authorization header
                                                                         has not */
        return misbehaved(x, err, "gives no usable access_token");
    if (g.scope.data != NULL && (g.scope.len > LIMIT_SCOPE || !text_valid(g.scope)))
        return misbehaved(x, err, "gives a scope that is no text");
    enum status status = read_type(x, answer_text(a, "token_type"), &g.token_type, err);
    if (status != STATUS_OK)
        return status;
    if (a->cnf_jkt.data != NULL && !span_is(a->cnf_jkt, g.jkt))
        return error_set(err, STATUS_TOKEN_OTHER_KEY, "tell the authorization server's operator",
                         "profile \"%s\": %s gives a token that is bound to another key (cnf.jkt); it was discarded",
                         x->request.profile->name, x->endpoint);
    status = read_lifetime(x, a, &g.lifetime, err);
    if (status == STATUS_OK)
        status = check_id_token(x, a, &g, err);
    if (status == STATUS_OK)
        *out = g;
    return status;
}

static void on_granted(struct exchange *x, const struct fetch_answer *a, const struct as_result *sent)
{
    static const char *const known[] = {"access_token", "token_type", "expires_in", "scope", "refresh_token", NULL};
    struct exchange_result result = {.answered = true, .nonces = sent->nonces};
    struct granted granted = {.jkt = sent->jkt, .refresh_token = answer_text(a, "refresh_token"), .asked = x->asked};
    struct buffer raw;
    struct error err;
    if (a->json_error.data != NULL) {
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator",
                        "profile \"%s\": %s: %.*s",
                        x->request.profile->name, x->endpoint, (int)a->json_error.len,
                        (const char *)a->json_error.data);
        result.in_doubt = true; /* a grant was given, and could not be read */
        error_put_text(err.stage, sizeof(err.stage), span_text(x->request.stage));
        finish(x, &err, NULL, &result);
        return;
    }
    if (granted.refresh_token.len == 0 || granted.refresh_token.len > LIMIT_ACCESS_TOKEN)
        granted.refresh_token = span_text(NULL);
    buffer_init(&raw, LIMIT_NESTED);
    raw_json_put(&raw, a, known);
    granted.raw = raw.failed || !text_valid(buffer_span(&raw)) ? span_text(NULL) : buffer_span(&raw);
    if (read_token(x, a, &granted, &err) == STATUS_OK) {
        finish(x, NULL, &granted, &result);
    } else {
        error_put_text(err.stage, sizeof(err.stage), span_text(x->request.stage));
        granted.access_token = span_text(NULL);
        finish(x, &err, granted.refresh_token.data != NULL ? &granted : NULL, &result);
    }
    buffer_free(&raw);
}

static void on_answered(void *context, const struct error *failure, const struct fetch_answer *a,
                        const struct as_result *sent)
{
    struct exchange *x = context;
    struct exchange_result result = {.in_doubt = sent->in_doubt, .answered = sent->answered, .nonces = sent->nonces};
    struct error err;
    if (failure != NULL) {
        finish(x, failure, NULL, &result);
    } else if (a->http_status != 200) {
        (void)as_request_refused(x->request.profile, x->endpoint, x->request.stage, a, &err);
        finish(x, &err, NULL, &result);
    } else {
        on_granted(x, a, sent);
    }
}

/* --- the request --- */

static void put_pairs(struct buffer *form, const struct strings *pairs)
{
    for (size_t i = 0; i < pairs->count; i++)
        form_put_pair(form, pairs->items[i]);
}

static void put_form(struct exchange *x, const struct exchange_request *r)
{
    const struct profile_config *p = r->profile;
    struct buffer *form = &x->form;
    form_put(form, "grant_type", span_text(r->grant_type));
    if (r->grant_form.len > 0) {
        buffer_put(form, "&", 1);
        buffer_put(form, r->grant_form.data, r->grant_form.len);
    }
    if (r->scope.data != NULL && r->scope.len > 0)
        form_put(form, "scope", r->scope);
    for (size_t i = 0; r->resources != NULL && i < r->resources->count; i++)
        form_put(form, "resource", span_text(r->resources->items[i]));
    for (size_t i = 0; r->audiences && i < p->audiences.count; i++)
        form_put(form, "audience", span_text(p->audiences.items[i]));
    if (r->audiences && p->authorization_details != NULL)
        form_put(form, "authorization_details", span_text(p->authorization_details));
    put_pairs(form, &p->form);
}

static void on_metadata(void *context, const struct error *failure, const struct server_metadata *server)
{
    struct exchange *x = context;
    const struct profile_config *p = x->request.profile;
    struct error err;
    if (failure != NULL) {
        finish(x, failure, NULL, NULL);
        return;
    }
    if (server->token_endpoint == NULL) {
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "name it with token-endpoint",
                        "profile \"%s\": the server's metadata have no token_endpoint", p->name);
        error_put_text(err.stage, sizeof(err.stage), span_text("discovery"));
        finish(x, &err, NULL, NULL);
        return;
    }
    x->endpoint = strdup(server->token_endpoint);
    x->issuer = server->issuer != NULL ? strdup(server->issuer) : NULL;
    if (x->endpoint == NULL || x->form.failed || (server->issuer != NULL && x->issuer == NULL) ||
        url_origin(span_text(x->endpoint), x->origin, sizeof(x->origin), &err) != STATUS_OK) {
        (void)error_set(&err, STATUS_INTERNAL, NULL, "profile \"%s\": the token request could not be built", p->name);
        finish(x, &err, NULL, NULL);
        return;
    }
    bool speaks_dpop = !server->discovered || server->dpop_signing_alg_values.count == 0 ||
                       config_lists(&server->dpop_signing_alg_values, "ES256");
    struct as_request request = {.profile = p,
                                 .swap = x->request.swap,
                                 .server = server,
                                 .endpoint = x->endpoint,
                                 .stage = x->request.stage,
                                 .form = buffer_span(&x->form),
                                 .dpop = p->dpop != DPOP_OPTIONAL || speaks_dpop,
                                 .precious = x->request.precious,
                                 .nonces = x->request.nonces,
                                 .token_files = x->request.token_files,
                                 .grant_assertion = x->request.grant_assertion,
                                 .deadline = x->request.deadline};
    as_request_send(x->front, &request, on_answered, x);
}

void exchange_start(struct front *f, const struct exchange_request *request, exchange_done done, void *context)
{
    struct exchange *x = calloc(1, sizeof(*x));
    struct exchange_result nothing = {0};
    struct error err;
    if (x == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL, &nothing);
        return;
    }
    *x = (struct exchange){.front = f, .request = *request, .asked = front_now(f), .done = done, .context = context};
    buffer_init(&x->form, FORM_MAX);
    put_form(x, request);
    metadata_get(f->metadata, request->profile, request->deadline, on_metadata, x);
}
