/* The operation `token`: an access token of a profile, from the cache or from the authorization server. */
#include "operations.h"

#include "tokens.h"

static void on_token(void *context, const struct error *err, const struct token *token)
{
    struct request *r = context;
    if (err != NULL) {
        request_fail(r, err);
        return;
    }
    uint64_t now = front_now(r->front);
    struct token_answer answer = {.access_token = secret_span(token->access_token),
                                  .token_type = span_text("DPoP"),
                                  .expires_in = token->expires > now ? (uint32_t)((token->expires - now) / 1000000) : 0,
                                  .expires_at = (uint64_t)token->expires_at,
                                  .scope = span_text(token->scope),
                                  .jkt = span_text(token->jkt)};
    request_answer(r, &message_token_answer, &answer);
}

void op_token(struct request *r, const void *message)
{
    const struct token_request *in = message;
    const struct profile_config *profile = operations_profile(r, in->profile);
    struct error err;
    if (profile == NULL)
        return;
    if (operations_check_query(in->scope, &in->resources, &err) != STATUS_OK) {
        request_fail(r, &err);
        return;
    }
    struct token_query query = {.profile = profile,
                                .scope = in->scope,
                                .resources = &in->resources,
                                .min_valid = in->min_valid,
                                .force = in->force,
                                .deadline = front_deadline(r->front, in->timeout)};
    tokens_get(r->front->tokens, &query, on_token, r);
}
