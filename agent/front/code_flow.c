/* The authorization code grant of a login (login_flow.h). The steps stand in their order; each starts the next one. */
#include "login_steps.h"

#include "answer.h"
#include "authorization_url.h"
#include "children.h"
#include "form.h"
#include "keys.h"
#include "logins.h"
#include "redirect.h"
#include "trace.h"
#include "url.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define REDIRECT_URI "http://127.0.0.1/callback"
#define FORM_MAX 65536
#define REQUEST_URI_MAX 2048 /* encoded, with the endpoint before it, it is a URL that browsers and the wire take */
#define NET_GRACE (5 * SECOND)

/* What the server can do, as far as the way to the user's browser needs it; copied, since metadata live for a callback
   only. */
struct way {
    struct login_flow *flow;
    char *authorization_endpoint;
    char *pushed_endpoint; /* NULL: the parameters go through the browser */
    struct server_metadata server;
    struct buffer form;
};

static void free_way(struct way *w)
{
    buffer_free(&w->form);
    free(w->authorization_endpoint);
    free(w->pushed_endpoint);
    free(w->server.issuer);
    free(w);
}

static void fail(struct way *w, const struct error *err)
{
    login_flow_end(w->flow, err);
    free_way(w);
}

/* A newer login has replaced this one, before its user was sent anywhere. */
static bool given_up(struct way *w)
{
    struct login_flow *x = w->flow;
    if (!x->over)
        return false;
    login_flow_close(x, false, "This login is over.");
    x->busy = false;
    free_way(w);
    return true;
}

static enum status check_server(const struct login_flow *x, const struct server_metadata *server, bool *push,
                                struct error *err)
{
    const struct profile_config *p = x->profile;
    bool advertised = server->pushed_authorization_request_endpoint != NULL;
    *push = p->par == PAR_YES || p->fapi2 || (p->par == PAR_AUTO && advertised);
    if (server->authorization_endpoint == NULL)
        return error_set(err, STATUS_SERVER_MISBEHAVED,
                         "name it with authorization-endpoint, or use dpop login --device",
                         "profile \"%s\": the server's metadata have no authorization_endpoint", p->name);
    if (server->code_challenge_methods.count > 0 && !config_lists(&server->code_challenge_methods, "S256"))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator",
                         "profile \"%s\": the server does not list S256 in code_challenge_methods_supported (RFC 7636)",
                         p->name);
    if (*push && !advertised)
        return error_set(err, STATUS_SERVER_MISBEHAVED, "name it with pushed-authorization-request-endpoint",
                         "profile \"%s\": the server has no pushed_authorization_request_endpoint (RFC 9126)", p->name);
    if (!*push && server->require_pushed_authorization_requests)
        return error_set(err, STATUS_CONFIGURATION, "set pushed-authorization-requests = auto",
                         "profile \"%s\": the server requires pushed authorization requests (RFC 9126)", p->name);
    return STATUS_OK;
}

/* --- the redirect and the code --- */

static void on_token(void *context, const struct error *err, const struct granted *granted,
                     const struct exchange_result *result)
{
    struct login_flow *x = context;
    struct error lost;
    if (err != NULL && result->in_doubt) {
        lost = *err;
        error_put_text(lost.next, sizeof(lost.next),
                       span_text("log in again: the code may have been used, and is not sent twice"));
        err = &lost;
    }
    if (err == NULL)
        login_flow_granted(x, granted, result->nonces);
    else if (!x->over)
        login_flow_end(x, err);
    if (x->over)
        x->busy = false;
}

static void exchange_code(struct login_flow *x)
{
    struct front *f = x->front;
    struct buffer form;
    buffer_init(&form, FORM_MAX);
    form_put(&form, "code", span_text(x->code));
    form_put(&form, "redirect_uri", span_text(x->redirect_uri));
    form_put(&form, "code_verifier", span_text(x->verifier));
    struct exchange_request request = {.profile = x->profile,
                                       .stage = "token request",
                                       .grant_type = "authorization_code",
                                       .grant_form = buffer_span(&form),
                                       .resources = &x->profile->resources,
                                       .precious = true,
                                       .nonces = logins_nonces(f, x->profile),
                                       .user = true,
                                       .id_token_nonce = span_text(x->openid ? x->nonce : NULL),
                                       .deadline = login_flow_step_deadline(x)};
    x->busy = true;
    exchange_start(f, &request, on_token, x);
    buffer_free(&form);
}

void code_flow_redirected(struct login_flow *x, struct span query)
{
    struct redirect redirect = {0};
    struct redirect_expected expected = {.state = x->state, .issuer = x->issuer,
                                         .iss_required = x->iss_required || x->profile->fapi2,
                                         .where = x->profile->name};
    struct error err;
    x->redirected = true;
    enum status status = redirect_read(query, &redirect, &err);
    if (status == STATUS_OK)
        status = redirect_check(&redirect, &expected, &err);
    trace_note(x->front, x->profile, "The user's browser came back: %s",
               status == STATUS_OK ? "with a code" : err.message);
    if (status == STATUS_OK && (x->code = strdup(redirect.code)) == NULL)
        status = error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
    redirect_free(&redirect);
    if (status == STATUS_OK) {
        exchange_code(x);
        return;
    }
    error_put_text(err.stage, sizeof(err.stage), span_text("redirect"));
    login_flow_end(x, &err);
}

static void on_redirect(void *context, const struct error *err, struct span fields)
{
    struct login_flow *x = context;
    struct redirect_came came;
    struct error wrong;
    x->waits_for_net = false;
    if (x->over || x->redirected)
        return;
    if (err == NULL && message_take(fields, &message_redirect_came, &came, sizeof(came), &wrong) != STATUS_OK)
        err = &wrong;
    if (err == NULL)
        code_flow_redirected(x, came.query);
    else if (err->status != STATUS_TIMEOUT) /* the user's time is told by the tick */
        login_flow_end(x, err);
}

static void wait_for_redirect(struct login_flow *x)
{
    struct redirect_wait m = {.listener = x->listener};
    x->waits_for_net = true;
    children_call(x->front->children, ROLE_NET, INTERNAL_REDIRECT_WAIT, &message_redirect_wait, &m,
                  x->deadline + NET_GRACE, on_redirect, x);
}

/* --- the way to the user --- */

static void show(struct way *w, struct span form)
{
    struct login_flow *x = w->flow;
    struct error err;
    size_t size = strlen(w->authorization_endpoint) + form.len + 2;
    x->url = malloc(size);
    if (x->url == NULL || authorization_url(w->authorization_endpoint, form, x->url, size) != 0) {
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "check authorization-endpoint",
                        "profile \"%s\": the authorization endpoint has a fragment, or a query with parameters of ours",
                        x->profile->name);
        fail(w, &err);
        return;
    }
    struct login_begin_answer answer = {.url = span_text(x->url), .redirect_uri = span_text(x->redirect_uri)};
    x->busy = false;
    trace_note(x->front, x->profile, "The user is sent to %s, and is awaited at %s", w->authorization_endpoint,
               x->redirect_uri);
    free_way(w);
    wait_for_redirect(x);
    login_flow_tell_begun(x, &answer);
}

static void on_pushed(void *context, const struct error *err, const struct fetch_answer *answer,
                      const struct as_result *result)
{
    struct way *w = context;
    struct login_flow *x = w->flow;
    struct error wrong;
    struct buffer form;
    (void)result;
    if (err == NULL && answer->http_status != 201 && answer->http_status != 200)
        err = (as_request_refused(x->profile, w->pushed_endpoint, "authorization", answer, &wrong), &wrong);
    if (err == NULL &&
        (answer_text(answer, "request_uri").len == 0 || answer_text(answer, "request_uri").len > REQUEST_URI_MAX))
        err = (error_set(&wrong, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator",
                         "profile \"%s\": %s gives no usable request_uri (RFC 9126 section 2.2)", x->profile->name,
                         w->pushed_endpoint),
               &wrong);
    if (given_up(w))
        return;
    if (err != NULL) {
        fail(w, err);
        return;
    }
    buffer_init(&form, FORM_MAX);
    form_put(&form, "client_id", span_text(x->profile->client_id));
    form_put(&form, "request_uri", answer_text(answer, "request_uri"));
    show(w, buffer_span(&form));
    buffer_free(&form);
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = text; p != NULL && (p = strstr(p, word)) != NULL; p += n)
        if ((p == text || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
            return true;
    return false;
}

static bool has_parameter(const struct strings *pairs, const char *name)
{
    for (size_t i = 0; i < pairs->count; i++)
        if (strncmp(pairs->items[i], name, strlen(name)) == 0 && pairs->items[i][strlen(name)] == '=')
            return true;
    return false;
}

static void random_text(char out[LOGIN_RANDOM_SIZE])
{
    uint8_t random[32];
    randombytes_buf(random, sizeof(random));
    base64url_encode(random, sizeof(random), out);
    wipe(random, sizeof(random));
}

static int put_form(struct way *w, const char *jkt)
{
    struct login_flow *x = w->flow;
    const struct profile_config *p = x->profile;
    struct buffer *form = &w->form;
    uint8_t random[PKCE_RANDOM_SIZE];
    char challenge[PKCE_SIZE];
    randombytes_buf(random, sizeof(random));
    pkce_verifier(random, x->verifier);
    wipe(random, sizeof(random));
    random_text(x->state);
    random_text(x->nonce);
    x->openid = has_word(p->scope, "openid");
    if (pkce_challenge(span_text(x->verifier), challenge) != 0)
        return -1;
    form_put(form, "response_type", span_text("code"));
    /* else the request has it already */
    if (w->pushed_endpoint == NULL || p->client_authentication == CLIENT_SECRET_BASIC)
        form_put(form, "client_id", span_text(p->client_id));
    form_put(form, "redirect_uri", span_text(x->redirect_uri));
    if (p->scope != NULL)
        form_put(form, "scope", span_text(p->scope));
    form_put(form, "state", span_text(x->state));
    form_put(form, "code_challenge", span_text(challenge));
    form_put(form, "code_challenge_method", span_text("S256"));
    form_put(form, "dpop_jkt", span_text(jkt));
    if (x->openid)
        form_put(form, "nonce", span_text(x->nonce));
    if (has_word(p->scope, "offline_access") && !has_parameter(&p->authorization_form, "prompt"))
        form_put(form, "prompt", span_text("consent")); /* OpenID Connect Core section 11 */
    for (size_t i = 0; i < p->resources.count; i++)
        form_put(form, "resource", span_text(p->resources.items[i]));
    for (size_t i = 0; i < p->audiences.count; i++)
        form_put(form, "audience", span_text(p->audiences.items[i]));
    if (p->authorization_details != NULL)
        form_put(form, "authorization_details", span_text(p->authorization_details));
    for (size_t i = 0; i < p->authorization_form.count; i++)
        form_put_pair(form, p->authorization_form.items[i]);
    return form->failed ? -1 : 0;
}

static void on_listening(void *context, const struct error *err, struct span fields)
{
    struct way *w = context;
    struct login_flow *x = w->flow;
    const struct key_public *key = keys_public(keys_find(x->front->keys, span_text(x->profile->key)));
    struct redirect_opened opened;
    struct error wrong;
    if (err == NULL && message_take(fields, &message_redirect_opened, &opened, sizeof(opened), &wrong) != STATUS_OK)
        err = &wrong;
    if (err == NULL) {
        x->listening = true;
        x->listener = opened.listener;
    }
    if (given_up(w))
        return;
    if (err != NULL) {
        fail(w, err);
        return;
    }
    x->redirect_uri = span_dup(opened.redirect_uri);
    if (x->redirect_uri == NULL || put_form(w, key->jkt) != 0) {
        (void)error_set(&wrong, STATUS_INTERNAL, NULL, "profile \"%s\": the authorization request could not be built",
                        x->profile->name);
        fail(w, &wrong);
        return;
    }
    if (w->pushed_endpoint == NULL) {
        show(w, buffer_span(&w->form));
        return;
    }
    struct as_request request = {.profile = x->profile, .server = &w->server, .endpoint = w->pushed_endpoint,
                                 .stage = "authorization",
                                 .form = buffer_span(&w->form), .dpop = true, .deadline = login_flow_step_deadline(x)};
    as_request_send(x->front, &request, on_pushed, w);
}

/* The key has shown that it works: nobody is sent to a browser for a token that could not be used. */
static void on_key(void *context, const struct error *err, const struct key_public *key, const uint8_t *signature)
{
    struct way *w = context;
    struct login_flow *x = w->flow;
    uint64_t now = front_now(x->front);
    (void)key;
    (void)signature;
    if (given_up(w))
        return;
    if (err != NULL) {
        struct error named = *err;
        error_put_text(named.stage, sizeof(named.stage), span_text("key"));
        fail(w, &named);
        return;
    }
    struct redirect_open m = {.profile = span_text(x->profile->name),
                              .redirect_uri = span_text(x->profile->redirect_uri != NULL ? x->profile->redirect_uri
                                                        : REDIRECT_URI),
                              .timeout = x->deadline > now ? (uint32_t)((x->deadline - now) / 1000) + 1 : 1};
    children_call(x->front->children, ROLE_NET, INTERNAL_REDIRECT_OPEN, &message_redirect_open, &m,
                  login_flow_step_deadline(x), on_listening, w);
}

void code_flow_begin(struct login_flow *x, const struct server_metadata *server)
{
    struct way *w = calloc(1, sizeof(*w));
    struct error err;
    bool push = false;
    if (w == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        login_flow_end(x, &err);
        return;
    }
    w->flow = x;
    buffer_init(&w->form, FORM_MAX);
    if (check_server(x, server, &push, &err) != STATUS_OK) {
        error_put_text(err.stage, sizeof(err.stage), span_text("discovery"));
        fail(w, &err);
        return;
    }
    x->iss_required = server->authorization_response_iss_parameter_supported;
    w->authorization_endpoint = strdup(server->authorization_endpoint);
    w->pushed_endpoint = push ? strdup(server->pushed_authorization_request_endpoint) : NULL;
    w->server.issuer = server->issuer != NULL ? strdup(server->issuer) : NULL;
    if (w->authorization_endpoint == NULL || (push && w->pushed_endpoint == NULL)) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        fail(w, &err);
        return;
    }
    struct sign_job job = {.done = on_key, .context = w, .deadline = login_flow_step_deadline(x)};
    keys_sign(keys_find(x->front->keys, span_text(x->profile->key)), &job);
}
