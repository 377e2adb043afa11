/* See grants.h. */
#include "grants.h"

#include "form.h"
#include "logins.h"
#include "tokens.h"

#include <stdlib.h>

#define ACCESS_TOKEN_TYPE "urn:ietf:params:oauth:token-type:access_token"
#define FORM_MAX (3 * 3 * LIMIT_ASSERTION)

void grant_inputs_free(struct grant_inputs *inputs)
{
    secret_free(inputs->subject_token);
    secret_free(inputs->actor_token);
    secret_free(inputs->assertion);
    free(inputs->subject_token_type);
    free(inputs->actor_token_type);
    *inputs = (struct grant_inputs){0};
}

/* For the one grant that needs another token first. */
struct exchange_work {
    struct front *front;
    struct grant_request request;
    exchange_done done;
    void *context;
};

static struct exchange_request plain_request(const struct grant_request *r)
{
    return (struct exchange_request){.profile = r->profile,
                                     .swap = r->swap,
                                     .stage = "token request",
                                     .grant_type = config_grant_type(r->profile->grant),
                                     .scope = r->scope,
                                     .resources = r->resources,
                                     .audiences = true,
                                     .deadline = r->deadline};
}

static const char *type_or(const char *given, const char *configured)
{
    return given != NULL ? given : configured != NULL ? configured : ACCESS_TOKEN_TYPE;
}

/* `subject` absent: the net process adds the file's. */
static void exchange_token(struct front *f, const struct grant_request *r, struct span subject, exchange_done done,
                           void *context)
{
    const struct profile_config *p = r->profile;
    struct exchange_request request = plain_request(r);
    struct buffer form;
    buffer_init(&form, FORM_MAX);
    if (subject.data != NULL)
        form_put(&form, "subject_token", subject);
    form_put(&form, "subject_token_type", span_text(type_or(r->inputs->subject_token_type, p->subject_token_type)));
    if (r->inputs->actor_token != NULL)
        form_put(&form, "actor_token", secret_span(r->inputs->actor_token));
    if (r->inputs->actor_token != NULL || p->actor_token_file != NULL)
        form_put(&form, "actor_token_type", span_text(type_or(r->inputs->actor_token_type, p->actor_token_type)));
    if (p->requested_token_type != NULL)
        form_put(&form, "requested_token_type", span_text(p->requested_token_type));
    request.grant_form = buffer_span(&form);
    request.token_files = subject.data == NULL || (r->inputs->actor_token == NULL && p->actor_token_file != NULL);
    exchange_start(f, &request, done, context);
    buffer_free(&form);
}

static void on_subject_token(void *context, const struct error *err, const struct token *token)
{
    struct exchange_work *w = context;
    struct exchange_result nothing = {0};
    if (err != NULL)
        w->done(w->context, err, NULL, &nothing);
    else
        exchange_token(w->front, &w->request, secret_span(token->access_token), w->done, w->context);
    free(w);
}

/* The subject token is another profile's access token. */
static void exchange_after(struct front *f, const struct grant_request *r, exchange_done done, void *context)
{
    struct exchange_work *w = malloc(sizeof(*w));
    struct exchange_result nothing = {0};
    struct list none = {0};
    struct error err;
    if (w == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL, &nothing);
        return;
    }
    *w = (struct exchange_work){.front = f, .request = *r, .done = done, .context = context};
    struct token_query query = {.profile = config_profile(f->config, span_text(r->profile->subject_token_profile)),
                                .resources = &none,
                                .deadline = r->deadline};
    tokens_get(f->tokens, &query, on_subject_token, w);
}

static void fetch_by_exchange(struct front *f, const struct grant_request *r, exchange_done done, void *context)
{
    const struct profile_config *p = r->profile;
    struct exchange_result nothing = {0};
    struct error err;
    if (r->inputs->subject_token != NULL) {
        exchange_token(f, r, secret_span(r->inputs->subject_token), done, context);
    } else if (p->subject_token_profile != NULL) {
        exchange_after(f, r, done, context);
    } else if (p->subject_token_file != NULL) {
        exchange_token(f, r, span_text(NULL), done, context);
    } else {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT,
                        "give one (dpop token --subject-token-file), or set subject-token-profile",
                        "profile \"%s\": a token exchange needs a subject token", p->name);
        done(context, &err, NULL, &nothing);
    }
}

static void fetch_by_assertion(struct front *f, const struct grant_request *r, exchange_done done, void *context)
{
    const struct profile_config *p = r->profile;
    struct exchange_request request = plain_request(r);
    struct exchange_result nothing = {0};
    struct error err;
    struct buffer form;
    buffer_init(&form, FORM_MAX);
    if (r->inputs->assertion != NULL)
        form_put(&form, "assertion", secret_span(r->inputs->assertion));
    request.grant_form = buffer_span(&form);
    request.token_files = r->inputs->assertion == NULL && p->assertion_file != NULL;
    request.grant_assertion = r->inputs->assertion == NULL && p->assertion_subject != NULL;
    /* an assertion may be good for one use only */
    request.precious = r->inputs->assertion != NULL || p->assertion_file != NULL;
    if (r->inputs->assertion == NULL && !request.token_files && !request.grant_assertion) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT,
                        "give one (dpop token --assertion-file), or set assertion-subject",
                        "profile \"%s\": the JWT bearer grant needs an assertion", p->name);
        done(context, &err, NULL, &nothing);
    } else {
        exchange_start(f, &request, done, context);
    }
    buffer_free(&form);
}

static void fetch_by_login(struct front *f, const struct grant_request *r, exchange_done done, void *context)
{
    struct login_fetch fetch = {.profile = r->profile, .kind = r->kind, .own = r->own, .scope = r->scope,
                                .resources = r->resources,
                                .min_valid = r->min_valid, .force = r->force, .deadline = r->deadline};
    logins_fetch(f, &fetch, done, context);
}

void grants_fetch(struct front *f, const struct grant_request *request, exchange_done done, void *context)
{
    struct exchange_request plain;
    switch (request->profile->grant) {
    case GRANT_AUTHORIZATION_CODE:
    case GRANT_DEVICE_CODE:
        fetch_by_login(f, request, done, context);
        break;
    case GRANT_TOKEN_EXCHANGE:
        fetch_by_exchange(f, request, done, context);
        break;
    case GRANT_JWT_BEARER:
        fetch_by_assertion(f, request, done, context);
        break;
    case GRANT_CLIENT_CREDENTIALS:
        plain = plain_request(request);
        exchange_start(f, &plain, done, context);
        break;
    }
}
