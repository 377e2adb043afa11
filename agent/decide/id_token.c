/* See id_token.h. */
#include "id_token.h"

#define CORE "OpenID Connect Core 3.1.3.7"
#define REFRESH "OpenID Connect Core 12.2"
#define SHOWN_MAX 100 /* bytes of a claim that an error shows */

/* `value`: the claim's, absent when there is nothing to show. */
static enum status refuse(struct error *e, const struct id_token_expected *expected, const char *rule, const char *what,
                          struct span value)
{
    int shown = value.len > SHOWN_MAX ? SHOWN_MAX : (int)value.len;
    return error_set(e, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator",
                     "profile \"%s\": the id_token %s%s%.*s%s (%s)", expected->where, what,
                     value.data != NULL ? ": \"" : "", shown, value.data != NULL ? (const char *)value.data : "",
                     value.data != NULL ? "\"" : "", rule);
}

static const struct span nothing = {0};

static enum status check_issuer(const struct id_token_claims *c, const struct id_token_expected *expected,
                                struct error *e)
{
    if (c->iss.len == 0)
        return refuse(e, expected, CORE " rule 2", "has no iss", nothing);
    if (expected->issuer.data != NULL && !span_equal(c->iss, expected->issuer))
        return refuse(e, expected, CORE " rule 2", "is from another issuer than the profile's", c->iss);
    return STATUS_OK;
}

static enum status check_audience(const struct id_token_claims *c, const struct id_token_expected *expected,
                                  struct error *e)
{
    struct span audience;
    bool ours = false, others = false;
    for (size_t cursor = 0; list_next(&c->aud, &cursor, &audience);) {
        bool is_client = span_equal(audience, expected->client_id);
        ours |= is_client;
        others |= !is_client;
    }
    if (!ours)
        return refuse(e, expected, CORE " rule 3", "is for another client: client-id is not in aud", nothing);
    if (others && c->azp.data == NULL)
        return refuse(e, expected, CORE " rule 4", "has other audiences besides this client, and no azp", nothing);
    if (c->azp.data != NULL && !span_equal(c->azp, expected->client_id))
        return refuse(e, expected, CORE " rule 5", "was issued to another client, by its azp", c->azp);
    return STATUS_OK;
}

static enum status check_times(const struct id_token_claims *c, const struct id_token_expected *expected,
                               struct error *e)
{
    if (!c->has_exp)
        return refuse(e, expected, CORE " rule 9", "has no exp", nothing);
    if (c->exp <= expected->now - ID_TOKEN_CLOCK_SKEW) {
        enum status status = refuse(e, expected, CORE " rule 9", "had expired when it came", nothing);
        error_put_text(e->next, sizeof(e->next), span_text("compare the clocks of this machine and of the server"));
        return status;
    }
    if (!c->has_iat)
        return refuse(e, expected, CORE " rule 10", "has no iat", nothing);
    return STATUS_OK;
}

enum status id_token_check(const struct id_token_claims *claims, const struct id_token_expected *expected,
                           struct error *e)
{
    enum status status = check_issuer(claims, expected, e);
    if (status == STATUS_OK)
        status = check_audience(claims, expected, e);
    if (status == STATUS_OK)
        status = check_times(claims, expected, e);
    if (status != STATUS_OK)
        return status;
    if (expected->nonce.data != NULL && claims->nonce.data == NULL)
        return refuse(e, expected, CORE " rule 11", "has no nonce, although one was sent", nothing);
    if (expected->nonce.data != NULL && !span_equal(claims->nonce, expected->nonce))
        return refuse(e, expected, CORE " rule 11", "answers another login: its nonce is not the one that was sent",
                      nothing);
    if (claims->sub.len == 0)
        return refuse(e, expected, "OpenID Connect Core 2", "has no sub", nothing);
    if (expected->subject.data != NULL && !span_equal(claims->sub, expected->subject))
        return refuse(e, expected, REFRESH, "is about another user than before the refresh", nothing);
    return STATUS_OK;
}
