/* The operation `token`: an access token of a profile, from the cache or from the authorization server. */
#include "operations.h"

#include "tokens.h"

static void answer_token(struct request *r, const struct token *token, bool raw)
{
    uint64_t now = front_now(r->front);
    struct token_answer answer = {.access_token = secret_span(token->access_token),
                                  .token_type = span_text(token->type),
                                  .expires_in = token->expires > now ? (uint32_t)((token->expires - now) / 1000000) : 0,
                                  .expires_at = (uint64_t)token->expires_at,
                                  .scope = span_text(token->scope),
                                  .jkt = span_text(token->jkt),
                                  .raw = span_text(raw ? token->raw : NULL)};
    request_answer(r, &message_token_answer, &answer);
}

static void on_token(void *context, const struct error *err, const struct token *token)
{
    if (err != NULL)
        request_fail(context, err);
    else
        answer_token(context, token, false);
}

static void on_raw_token(void *context, const struct error *err, const struct token *token)
{
    if (err != NULL)
        request_fail(context, err);
    else
        answer_token(context, token, true);
}

/* Inputs belong to their grant: what would be ignored is refused. */
static enum status check_inputs(const struct profile_config *p, const struct token_request *in, struct error *err)
{
    bool exchange = in->subject_token.data != NULL || in->subject_token_type.data != NULL || in->actor_token.data != NULL ||
                    in->actor_token_type.data != NULL;
    if (exchange && p->grant != GRANT_TOKEN_EXCHANGE)
        return error_set(err, STATUS_INVALID_ARGUMENT, "use a profile with grant = token-exchange",
                         "profile \"%s\": its grant (%s) takes no subject or actor token", p->name, config_grant_name(p->grant));
    if (in->assertion.data != NULL && p->grant != GRANT_JWT_BEARER)
        return error_set(err, STATUS_INVALID_ARGUMENT, "use a profile with grant = jwt-bearer",
                         "profile \"%s\": its grant (%s) takes no assertion", p->name, config_grant_name(p->grant));
    return STATUS_OK;
}

void op_token(struct request *r, const void *message)
{
    const struct token_request *in = message;
    const struct profile_config *profile = operations_profile(r, in->profile);
    struct error err;
    if (profile == NULL)
        return;
    if (operations_check_query(in->scope, &in->resources, &err) != STATUS_OK || check_inputs(profile, in, &err) != STATUS_OK) {
        request_fail(r, &err);
        return;
    }
    struct token_query query = {.profile = profile,
                                .scope = in->scope,
                                .resources = &in->resources,
                                .min_valid = in->min_valid,
                                .force = in->force,
                                .deadline = front_deadline(r->front, in->timeout),
                                .subject_token = in->subject_token,
                                .subject_token_type = in->subject_token_type,
                                .actor_token = in->actor_token,
                                .actor_token_type = in->actor_token_type,
                                .assertion = in->assertion};
    tokens_get(r->front->tokens, &query, in->raw ? on_raw_token : on_token, r);
}
