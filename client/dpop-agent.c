/*
 * The public functions of libdpop-agent (dpop-agent.h, the contract): they turn arguments into a message, call the
 * agent, and copy its answer for the caller. Everything else is behind call_perform.
 */
#include "dpop-agent.h"

#include "deadline.h"
#include "failure.h"
#include "internal.h"
#include "messages.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_VALUES 64 /* resources, nonces or challenges in one request */

/* NULL-terminated strings of the caller as a list. */
struct values {
    struct span items[MAX_VALUES];
    struct list list;
};

static int values_fill(struct values *v, const char *const *texts, const char *name, struct dpop_error *err)
{
    size_t count = 0;
    for (; texts != NULL && texts[count] != NULL; count++) {
        if (count == MAX_VALUES)
            return failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "more than %d %s", MAX_VALUES, name);
        v->items[count] = span_text(texts[count]);
    }
    v->list = (struct list){.items = v->items, .count = count};
    return DPOP_OK;
}

/* Copies a span of the answer; an absent one stays NULL. A copy that fails is noted in *failed. */
static char *copy(struct span s, bool *failed)
{
    if (s.data == NULL)
        return NULL;
    char *text = span_dup(s);
    *failed = *failed || text == NULL;
    return text;
}

static void clear_text(char **text)
{
    if (*text != NULL)
        wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static int no_memory(struct dpop_error *err)
{
    return failure_set(err, STATUS_NO_MEMORY, NULL, "out of memory for the agent's answer");
}

/* RFC 6749 section A.12: an access token is printable ASCII. Anything else could break out of a header or a line. */
static bool printable(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] > 0x7e)
            return false;
    return s.len > 0;
}

int dpop_agent_connect(struct dpop_agent **out, const char *socket, uint32_t timeout_ms, struct dpop_error *err)
{
    struct dpop_error unused;
    struct dpop_agent *agent = calloc(1, sizeof(*agent));
    int status;

    err = err != NULL ? err : &unused;
    if (agent == NULL)
        return no_memory(err);
    connection_init(&agent->connection);
    if (socket != NULL && (agent->socket = strdup(socket)) == NULL)
        status = no_memory(err);
    else
        status = call_open(agent, deadline_after(timeout_ms), err);
    if (status == DPOP_OK)
        *out = agent;
    else
        dpop_agent_close(&agent);
    return status;
}

void dpop_agent_close(struct dpop_agent **agent)
{
    if (agent == NULL || *agent == NULL)
        return;
    connection_close(&(*agent)->connection);
    free((*agent)->socket);
    free(*agent);
    *agent = NULL;
}

int dpop_agent_proof(struct dpop_agent *agent, const struct dpop_proof_request *request, struct dpop_proof *out,
                     struct dpop_error *err)
{
    struct dpop_error unused;
    struct proof_answer answer;
    bool failed = false;
    int64_t deadline = deadline_after(request->timeout_ms);
    const struct proof_request in = {
        .key = span_text(request->key),
        .profile = span_text(request->profile),
        .htm = span_text(request->method),
        .htu = span_text(request->url),
        .nonce = span_text(request->nonce),
        .access_token = span_text(request->access_token),
        .ath = span_text(request->ath),
        .timeout = deadline_for_agent(deadline),
    };
    const struct call call = {.operation = OPERATION_PROOF, .request = &message_proof_request, .in = &in,
                              .answer = &message_proof_answer, .out = &answer, .out_size = sizeof(answer),
                              .deadline = deadline};

    err = err != NULL ? err : &unused;
    int status = call_perform(agent, &call, err);
    if (status != DPOP_OK)
        return status;
    struct dpop_proof proof = {
        .proof = copy(answer.proof, &failed),
        .htu = copy(answer.htu, &failed),
        .jkt = copy(answer.jkt, &failed),
    };
    call_done(agent);
    if (failed) {
        dpop_proof_clear(&proof);
        return no_memory(err);
    }
    *out = proof;
    return DPOP_OK;
}

void dpop_proof_clear(struct dpop_proof *proof)
{
    if (proof == NULL)
        return;
    clear_text(&proof->proof);
    clear_text(&proof->htu);
    clear_text(&proof->jkt);
}

/* The caller's token from the agent's answer. */
static int copy_token(const struct token_answer *answer, struct dpop_token *out, struct dpop_error *err)
{
    bool failed = false;
    if (!printable(answer->access_token))
        return failure_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the agent's access token is not printable ASCII");
    struct dpop_token token = {
        .access_token = copy(answer->access_token, &failed),
        .token_type = copy(answer->token_type, &failed),
        .scope = copy(answer->scope, &failed),
        .jkt = copy(answer->jkt, &failed),
        .expires_in = answer->expires_in,
        .expires_at = answer->expires_at,
        .raw = copy(answer->raw, &failed),
    };
    if (failed) {
        dpop_token_clear(&token);
        return no_memory(err);
    }
    *out = token;
    return DPOP_OK;
}

int dpop_agent_token(struct dpop_agent *agent, const struct dpop_token_request *request, struct dpop_token *out,
                     struct dpop_error *err)
{
    struct dpop_error unused;
    struct token_answer answer;
    struct values resources;
    int64_t deadline = deadline_after(request->timeout_ms);

    err = err != NULL ? err : &unused;
    int status = values_fill(&resources, request->resources, "resources", err);
    if (status != DPOP_OK)
        return status;
    const struct token_request in = {
        .profile = span_text(request->profile),
        .scope = span_text(request->scope),
        .resources = resources.list,
        .min_valid = request->min_valid,
        .force = request->force != 0,
        .timeout = deadline_for_agent(deadline),
        .raw = request->raw != 0,
        .subject_token = span_text(request->subject_token),
        .subject_token_type = span_text(request->subject_token_type),
        .actor_token = span_text(request->actor_token),
        .actor_token_type = span_text(request->actor_token_type),
        .assertion = span_text(request->assertion),
    };
    const struct call call = {.operation = OPERATION_TOKEN, .request = &message_token_request, .in = &in,
                              .answer = &message_token_answer, .out = &answer, .out_size = sizeof(answer),
                              .deadline = deadline, .once = request->assertion != NULL};
    status = call_perform(agent, &call, err);
    if (status != DPOP_OK)
        return status;
    status = copy_token(&answer, out, err);
    call_done(agent);
    return status;
}

void dpop_token_clear(struct dpop_token *token)
{
    if (token == NULL)
        return;
    clear_text(&token->access_token);
    clear_text(&token->token_type);
    clear_text(&token->scope);
    clear_text(&token->jkt);
    clear_text(&token->raw);
    token->expires_in = 0;
    token->expires_at = 0;
}

/* RFC 9110 section 11.1: schemes are compared without regard to case. */
static bool has_scheme(struct span authorization, const char *scheme)
{
    size_t len = strlen(scheme);
    return authorization.len > len && strncasecmp((const char *)authorization.data, scheme, len) == 0;
}

static int copy_authorization(const struct authorize_answer *answer, struct dpop_authorization *out,
                              struct dpop_error *err)
{
    bool failed = false;
    bool bearer = answer->dpop.data == NULL;
    if (!printable(answer->url) || !printable(answer->authorization) || (!bearer && !printable(answer->dpop)))
        return failure_set(err, STATUS_AGENT_MISBEHAVED, NULL,
                           "the agent's URL or header values are not printable ASCII");
    if (bearer && !has_scheme(answer->authorization, "Bearer "))
        return failure_set(err, STATUS_AGENT_MISBEHAVED, NULL, "the agent gave a DPoP-bound token without a proof");
    struct dpop_authorization authorization = {
        .url = copy(answer->url, &failed),
        .authorization = copy(answer->authorization, &failed),
        .dpop = copy(answer->dpop, &failed),
        .attempt = copy(answer->attempt, &failed),
        .attempt_len = answer->attempt.len,
    };
    if (failed) {
        dpop_authorization_clear(&authorization);
        return no_memory(err);
    }
    *out = authorization;
    return DPOP_OK;
}

int dpop_agent_authorize(struct dpop_agent *agent, const struct dpop_authorize *request, struct dpop_authorization *out,
                         struct dpop_error *err)
{
    struct dpop_error unused;
    struct authorize_answer answer;
    struct values resources;
    const struct dpop_authorization *earlier = request->earlier;
    int64_t deadline = deadline_after(request->timeout_ms);

    err = err != NULL ? err : &unused;
    int status = values_fill(&resources, request->resources, "resources", err);
    if (status != DPOP_OK)
        return status;
    const struct authorize_request in = {
        .profile = span_text(request->profile),
        .htm = span_text(request->method),
        .url = span_text(request->url),
        .attempt = earlier != NULL ? span_of(earlier->attempt, earlier->attempt_len) : span_of(NULL, 0),
        .scope = span_text(request->scope),
        .resources = resources.list,
        .timeout = deadline_for_agent(deadline),
    };
    const struct call call = {.operation = OPERATION_AUTHORIZE, .request = &message_authorize_request, .in = &in,
                              .answer = &message_authorize_answer, .out = &answer, .out_size = sizeof(answer),
                              .deadline = deadline};
    status = call_perform(agent, &call, err);
    if (status != DPOP_OK)
        return status;
    status = copy_authorization(&answer, out, err);
    call_done(agent);
    return status;
}

void dpop_authorization_clear(struct dpop_authorization *authorization)
{
    if (authorization == NULL)
        return;
    clear_text(&authorization->url);
    clear_text(&authorization->authorization);
    clear_text(&authorization->dpop);
    if (authorization->attempt != NULL)
        wipe(authorization->attempt, authorization->attempt_len);
    free(authorization->attempt);
    authorization->attempt = NULL;
    authorization->attempt_len = 0;
}

/* The verdict and, in err->message, its reason: the answer stands in for an error although the call succeeded. */
static int take_verdict(const struct outcome_answer *answer, enum dpop_verdict *verdict, struct dpop_error *err)
{
    if (answer->verdict < VERDICT_DONE || answer->verdict > VERDICT_FAIL)
        return failure_set(err, STATUS_AGENT_MISBEHAVED, "check that agent and client are of fitting versions",
                           "the agent's verdict %u is not known here", answer->verdict);
    *err = (struct dpop_error){.status = DPOP_OK};
    error_put_text(err->message, sizeof(err->message), answer->reason);
    *verdict = (enum dpop_verdict)answer->verdict;
    return DPOP_OK;
}

int dpop_agent_outcome(struct dpop_agent *agent, const struct dpop_outcome *outcome, enum dpop_verdict *verdict,
                       struct dpop_error *err)
{
    struct dpop_error unused;
    struct outcome_answer answer;
    struct values nonces, challenges;

    err = err != NULL ? err : &unused;
    if (outcome->attempt == NULL || outcome->http_status < 100 || outcome->http_status > 999)
        return failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "an outcome needs an attempt and its HTTP status");
    int status = values_fill(&nonces, outcome->nonces, "DPoP-Nonce headers", err);
    if (status == DPOP_OK)
        status = values_fill(&challenges, outcome->challenges, "WWW-Authenticate headers", err);
    if (status != DPOP_OK)
        return status;
    const struct outcome_request in = {
        .attempt = span_of(outcome->attempt->attempt, outcome->attempt->attempt_len),
        .http_status = (uint16_t)outcome->http_status,
        .date = span_text(outcome->date),
        .nonces = nonces.list,
        .challenges = challenges.list,
    };
    const struct call call = {.operation = OPERATION_OUTCOME, .request = &message_outcome_request, .in = &in,
                              .answer = &message_outcome_answer, .out = &answer, .out_size = sizeof(answer),
                              .deadline = deadline_after(outcome->timeout_ms)};
    status = call_perform(agent, &call, err);
    if (status != DPOP_OK)
        return status;
    status = take_verdict(&answer, verdict, err);
    call_done(agent);
    return status;
}

static int copy_introspection(const struct introspect_answer *answer, struct dpop_introspection *out,
                              struct dpop_error *err)
{
    bool failed = false;
    char *claims = copy(answer->claims, &failed);
    if (failed)
        return no_memory(err);
    *out = (struct dpop_introspection){.active = answer->active, .claims = claims};
    return DPOP_OK;
}

int dpop_agent_introspect(struct dpop_agent *agent, const struct dpop_introspection_request *request,
                          struct dpop_introspection *out, struct dpop_error *err)
{
    struct dpop_error unused;
    struct introspect_answer answer;
    struct values resources;
    int64_t deadline = deadline_after(request->timeout_ms);

    err = err != NULL ? err : &unused;
    int status = values_fill(&resources, request->resources, "resources", err);
    if (status != DPOP_OK)
        return status;
    const struct introspect_request in = {
        .profile = span_text(request->profile),
        .scope = span_text(request->scope),
        .resources = resources.list,
        .timeout = deadline_for_agent(deadline),
    };
    const struct call call = {.operation = OPERATION_INTROSPECT, .request = &message_introspect_request, .in = &in,
                              .answer = &message_introspect_answer, .out = &answer, .out_size = sizeof(answer),
                              .deadline = deadline};
    status = call_perform(agent, &call, err);
    if (status != DPOP_OK)
        return status;
    status = copy_introspection(&answer, out, err);
    call_done(agent);
    return status;
}

void dpop_introspection_clear(struct dpop_introspection *introspection)
{
    if (introspection == NULL)
        return;
    clear_text(&introspection->claims);
    introspection->active = 0;
}

const char *dpop_status_name(int status)
{
    return status_name((unsigned int)status);
}

const char *dpop_status_text(int status)
{
    return status_text((unsigned int)status);
}

enum dpop_class dpop_status_class(int status)
{
    return (enum dpop_class)status_class((unsigned int)status);
}

const char *dpop_version(void)
{
    return DPOP_VERSION;
}
