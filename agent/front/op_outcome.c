/*
 * The operation `outcome`: how a resource server answered an attempt. The agent learns the nonce of every answer, and
 * says whether one more send is worth it: once for a nonce, once for a token that is no longer good (RFC 9449 sections
 * 7 to 9), once for a clock that its Date shows to be another one.
 */
#include "operations.h"

#include "attempt.h"
#include "challenge.h"
#include "log.h"
#include "skew.h"
#include "tokens.h"

#include <string.h>
#include <time.h>

#define SENDS_MAX 3 /* the first, and two for two causes */

/* Learns the nonce. Two headers at once, or an illegal one, are as good as none. */
static bool learn(struct front *f, const struct attempt *a, const struct outcome_request *in,
                  uint8_t digest[NONCE_DIGEST_SIZE])
{
    struct span nonce;
    size_t cursor = 0;
    return in->nonces.count == 1 && list_next(&in->nonces, &cursor, &nonce) &&
           nonce_put(f->nonces, NONCE_RESOURCE_SERVER, a->origin, a->jkt, nonce) == 0 &&
           nonce_digest(nonce, digest) == 0;
}

static struct outcome_answer verdict(enum verdict v, const char *reason)
{
    return (struct outcome_answer){.verdict = (uint16_t)v, .reason = span_text(reason)};
}

static struct outcome_answer judge_nonce(const struct attempt *a, bool learned, const uint8_t digest[NONCE_DIGEST_SIZE])
{
    if (!learned)
        return verdict(VERDICT_FAIL, "the resource server asks for a DPoP nonce, but sends none that may be used");
    if (a->has_nonce && memcmp(digest, a->nonce, NONCE_DIGEST_SIZE) == 0)
        return verdict(VERDICT_FAIL, "the resource server refuses the DPoP nonce that it issued itself");
    if (a->nonce_retries > 0 || a->sends >= SENDS_MAX)
        return verdict(VERDICT_FAIL, "the resource server asks for a new DPoP nonce again and again");
    return verdict(VERDICT_RETRY, "the resource server asks for its DPoP nonce");
}

static struct outcome_answer judge_token(struct front *f, const struct attempt *a)
{
    tokens_refuse(f->tokens, a->token_serial);
    if (a->refreshes > 0 || a->sends >= SENDS_MAX)
        return verdict(VERDICT_FAIL, "the resource server refuses a new access token too (invalid_token)");
    return verdict(VERDICT_REFRESH, "the resource server refuses the access token (invalid_token)");
}

static struct outcome_answer judge_clock(struct front *f, const struct attempt *a, struct span date)
{
    if (!skew_learn(f->skew, a->origin, date, (int64_t)time(NULL), a->skew))
        return verdict(VERDICT_FAIL,
                       "the resource server refuses the proof (invalid_dpop_proof): check this machine's clock, "
                       "and its Date");
    log_warning("profile %s: the clock of %s is %lld s from ours: proofs for it follow its clock", a->profile,
                a->origin, (long long)skew_get(f->skew, a->origin));
    if (a->clock_retries > 0 || a->sends >= SENDS_MAX)
        return verdict(VERDICT_FAIL, "the resource server refuses the proof (invalid_dpop_proof), and its clock jumps");
    return verdict(VERDICT_RETRY, "the resource server's clock differs from ours, and is known now");
}

static struct outcome_answer judge(struct front *f, const struct attempt *a, const struct outcome_request *in,
                                   bool learned, const uint8_t digest[NONCE_DIGEST_SIZE])
{
    struct challenge_result result = {0};
    enum challenge_verdict challenge = CHALLENGE_NOTHING;
    struct span item;
    size_t cursor = 0;
    if (in->http_status != 400 && in->http_status != 401 && in->http_status != 403)
        return verdict(VERDICT_DONE, NULL);
    while (list_next(&in->challenges, &cursor, &item))
        challenge = challenge_read(item, &result);
    switch (challenge) {
    case CHALLENGE_NONCE:
        return judge_nonce(a, learned, digest);
    case CHALLENGE_INVALID_PROOF:
        return judge_clock(f, a, in->date);
    case CHALLENGE_INVALID_TOKEN:
        return judge_token(f, a);
    case CHALLENGE_INSUFFICIENT_SCOPE:
        return verdict(VERDICT_FAIL, "the access token's scope is not enough (insufficient_scope)");
    default:
        break;
    }
    /* The authorization server's form of the challenge has its error in a body, which is not looked at here: a 400 with
       a nonce, to a request that had none, is taken for it. */
    if (in->http_status == 400 && in->challenges.count == 0 && learned && !a->has_nonce)
        return judge_nonce(a, learned, digest);
    return verdict(VERDICT_DONE, NULL);
}

/* From before a restart of the agent, which has forgotten nonces and tokens: where these are refused, one more send has
   others, and is an attempt that is known. */
static struct outcome_answer judge_unknown(const struct outcome_request *in)
{
    struct challenge_result result = {0};
    enum challenge_verdict challenge = CHALLENGE_NOTHING;
    struct span item;
    size_t cursor = 0;
    while ((in->http_status == 400 || in->http_status == 401) && list_next(&in->challenges, &cursor, &item))
        challenge = challenge_read(item, &result);
    if (challenge == CHALLENGE_NONCE || challenge == CHALLENGE_INVALID_TOKEN || challenge == CHALLENGE_INVALID_PROOF)
        return verdict(VERDICT_RETRY, "the agent was restarted since this attempt: one more send is worth it");
    return verdict(VERDICT_DONE, "the agent does not know this attempt: it was restarted since");
}

void op_outcome(struct request *r, const void *message)
{
    const struct outcome_request *in = message;
    struct attempt attempt;
    uint8_t digest[NONCE_DIGEST_SIZE] = {0};
    struct outcome_answer answer = judge_unknown(in);
    if (attempt_take(in->attempt, r->front->attempt_key, &attempt) == 0) {
        bool learned = learn(r->front, &attempt, in, digest);
        answer = judge(r->front, &attempt, in, learned, digest);
    }
    request_answer(r, &message_outcome_answer, &answer);
}
