/*
 * The operation `introspect` (RFC 7662): what the authorization server says of a token that the agent holds. Nothing is
 * fetched for it. Where the server names the key that the token is bound to (RFC 9449 section 6.2), it must be ours.
 */
#include "operations.h"

#include "answer.h"
#include "as_request.h"
#include "form.h"
#include "logins.h"
#include "metadata.h"
#include "raw_json.h"
#include "text.h"
#include "token_kind.h"
#include "tokens.h"

#include <stdlib.h>

#define FORM_MAX (256 * 1024)
#define STAGE "introspection"

struct introspection {
    struct request *request;
    const struct profile_config *profile;
    struct buffer form;
    char jkt[64]; /* empty: the token is a Bearer token */
    uint64_t deadline;
};

static void free_introspection(struct introspection *x)
{
    buffer_free(&x->form);
    free(x);
}

static void fail(struct introspection *x, const struct error *failure)
{
    struct error err = *failure;
    if (err.stage[0] == '\0')
        error_put_text(err.stage, sizeof(err.stage), span_text(STAGE));
    request_fail(x->request, &err);
    free_introspection(x);
}

static enum status read_answer(const struct introspection *x, const struct fetch_answer *a, bool *active, struct error *err)
{
    const char *profile = x->profile->name;
    struct json_member m;
    if (a->json_error.data != NULL)
        return error_set(err, STATUS_SERVER_MISBEHAVED, "check introspection-endpoint", "profile \"%s\": its introspection endpoint: %.*s",
                         profile, (int)a->json_error.len, (const char *)a->json_error.data);
    if (!answer_member(a, "active", &m) || (m.kind != JSON_KIND_TRUE && m.kind != JSON_KIND_FALSE))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator",
                         "profile \"%s\": the introspection answer has no member active that is true or false (RFC 7662 section 2.2)",
                         profile);
    *active = m.kind == JSON_KIND_TRUE;
    struct span jkt = a->cnf_jkt.data != NULL ? a->cnf_jkt : answer_text(a, "cnf.jkt");
    if (*active && jkt.data != NULL && x->jkt[0] != '\0' && !span_is(jkt, x->jkt))
        return error_set(err, STATUS_TOKEN_OTHER_KEY, "tell the authorization server's operator",
                         "profile \"%s\": the server says that the token is bound to another key (cnf.jkt)", profile);
    return STATUS_OK;
}

static void on_answered(void *context, const struct error *failure, const struct fetch_answer *a, const struct as_result *result)
{
    static const char *const nothing[] = {NULL};
    struct introspection *x = context;
    struct introspect_answer answer = {.active = false};
    struct buffer claims;
    struct error err;
    (void)result;
    if (failure != NULL) {
        fail(x, failure);
        return;
    }
    if (a->http_status != 200) {
        (void)as_request_refused(x->profile, "the introspection endpoint", STAGE, a, &err);
        fail(x, &err);
        return;
    }
    if (read_answer(x, a, &answer.active, &err) != STATUS_OK) {
        fail(x, &err);
        return;
    }
    buffer_init(&claims, LIMIT_NESTED);
    raw_json_put(&claims, a, nothing);
    answer.claims = buffer_span(&claims);
    if (claims.failed || !text_valid(answer.claims)) {
        (void)error_set(&err, STATUS_TOO_LARGE, NULL, "profile \"%s\": the introspection answer is too large", x->profile->name);
        fail(x, &err);
    } else {
        request_answer(x->request, &message_introspect_answer, &answer);
        free_introspection(x);
    }
    buffer_free(&claims);
}

static void on_metadata(void *context, const struct error *failure, const struct server_metadata *server)
{
    struct introspection *x = context;
    struct error err;
    if (failure != NULL) {
        fail(x, failure);
        return;
    }
    if (server->introspection_endpoint == NULL) {
        (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "name it with introspection-endpoint",
                        "profile \"%s\": the server has no introspection_endpoint (RFC 7662)", x->profile->name);
        fail(x, &err);
        return;
    }
    struct as_request request = {.profile = x->profile,
                                 .server = server,
                                 .endpoint = server->introspection_endpoint,
                                 .stage = STAGE,
                                 .form = buffer_span(&x->form),
                                 .deadline = x->deadline};
    as_request_send(x->request->front, &request, on_answered, x);
}

static void put_token(struct introspection *x, struct span access_token, struct span type, const char *jkt)
{
    form_put(&x->form, "token", access_token);
    form_put(&x->form, "token_type_hint", span_text("access_token"));
    for (size_t i = 0; i < x->profile->introspection_form.count; i++)
        form_put_pair(&x->form, x->profile->introspection_form.items[i]);
    if (span_is(type, "DPoP"))
        error_put_text(x->jkt, sizeof(x->jkt), span_text(jkt));
}

/* Of the cache's token, or of the one that came with a login and that nobody has asked for since. */
static enum status set_up(struct introspection *x, const struct introspect_request *in, struct error *err)
{
    struct front *f = x->request->front;
    struct token_query query = {.profile = x->profile, .scope = in->scope, .resources = &in->resources, .deadline = x->deadline};
    struct token_kind kind;
    struct granted kept;
    struct token token;
    if (operations_check_query(in->scope, &in->resources, err) != STATUS_OK)
        return err->status;
    token_kind_of(x->profile, in->scope, &in->resources, &kind);
    if (tokens_peek(f->tokens, &query, &token))
        put_token(x, secret_span(token.access_token), span_text(token.type), token.jkt);
    else if (logins_peek(f, x->profile, &kind, &kept))
        put_token(x, kept.access_token, kept.token_type, kept.jkt);
    else
        return error_set(err, config_needs_login(x->profile) ? STATUS_LOGIN_REQUIRED : STATUS_INVALID_ARGUMENT,
                         "dpop token gets one, with the same scope and resources", "profile \"%s\": there is no such token to ask about",
                         x->profile->name);
    return x->form.failed ? error_set(err, STATUS_NO_MEMORY, NULL, "out of memory") : STATUS_OK;
}

void op_introspect(struct request *r, const void *message)
{
    const struct introspect_request *in = message;
    const struct profile_config *profile = operations_profile(r, in->profile);
    struct introspection *x;
    struct error err;
    if (profile == NULL)
        return;
    if ((x = calloc(1, sizeof(*x))) == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        request_fail(r, &err);
        return;
    }
    uint64_t wanted = front_deadline(r->front, in->timeout), allowed = front_now(r->front) + profile->timeout * UINT64_C(1000000);
    *x = (struct introspection){.request = r, .profile = profile, .deadline = wanted < allowed ? wanted : allowed};
    buffer_init(&x->form, FORM_MAX);
    if (set_up(x, in, &err) != STATUS_OK)
        fail(x, &err);
    else
        metadata_get(r->front->metadata, profile, x->deadline, on_metadata, x);
}
