/* See as_sending.h: what came back, and whether it is a reason to send once more. */
#include "as_sending.h"

#include "answer.h"
#include "backoff.h"
#include "challenge.h"
#include "log.h"
#include "skew.h"
#include "trace.h"

#include <sodium.h>
#include <string.h>
#include <time.h>

static bool is_error(const struct fetch_answer *a, const char *code)
{
    return span_is(answer_text(a, "error"), code);
}

static void read_challenges(const struct fetch_answer *a, struct challenge_result *out)
{
    struct span item;
    size_t cursor = 0;
    *out = (struct challenge_result){0};
    while (list_next(&a->challenges, &cursor, &item))
        (void)challenge_read(item, out);
}

static bool is_nonce_challenge(const struct fetch_answer *a, const struct challenge_result *challenge)
{
    return (a->http_status == 400 || a->http_status == 401) && (challenge->use_dpop_nonce || is_error(a, "use_dpop_nonce"));
}

/* May the reason be that our clock differs from the server's? Its Date then decides. Some servers say invalid_request where
   they mean the proof; a client assertion with a wrong time is an invalid_client. */
static bool is_clock_rejection(const struct sending *x, const struct fetch_answer *a, const struct challenge_result *challenge)
{
    if (a->http_status != 400 && a->http_status != 401)
        return false;
    if (challenge->invalid_dpop_proof || is_error(a, "invalid_dpop_proof"))
        return true;
    if (is_error(a, "invalid_client"))
        return x->request.profile->client_authentication == PRIVATE_KEY_JWT;
    if (is_error(a, "invalid_grant"))
        return x->request.grant_assertion;
    if (!is_error(a, "invalid_request"))
        return false;
    char text[256];
    error_put_text(text, sizeof(text), answer_text(a, "error_description"));
    return strcasestr(text, "dpop") != NULL;
}

/* Learns the nonce of any answer. False: it brought none, or none that may be used (RFC 9449 section 8.1). */
static bool learn_nonce(struct sending *x, const struct fetch_answer *a, uint8_t digest[NONCE_DIGEST_SIZE])
{
    struct front *f = x->all->front;
    struct span nonce;
    size_t cursor = 0;
    if (a->nonces.count != 1 || !list_next(&a->nonces, &cursor, &nonce) || x->result.jkt[0] == '\0' ||
        nonce_put(f->nonces, NONCE_AUTHORIZATION_SERVER, x->origin, x->result.jkt, nonce) != 0 || nonce_digest(nonce, digest) != 0)
        return false;
    as_request_note_nonce(x->all, x->origin, x->result.jkt);
    return true;
}

static void refuse_nonce(struct sending *x, const struct fetch_answer *a, const char *what)
{
    struct error err;
    (void)error_set(&err, STATUS_SERVER_MISBEHAVED, "tell the authorization server's operator", "profile \"%s\": %s %s",
                    x->request.profile->name, x->endpoint, what);
    err.http_status = a->http_status;
    error_put_text(err.oauth_error, sizeof(err.oauth_error), answer_text(a, "error"));
    as_request_finish(x, &err, NULL);
}

static void on_nonce_challenge(struct sending *x, const struct fetch_answer *a, bool learned,
                               const uint8_t digest[NONCE_DIGEST_SIZE])
{
    x->result.nonces = true;
    if (!learned) {
        refuse_nonce(x, a, "asks for a DPoP nonce, but sends none that may be used");
    } else if (memcmp(digest, x->nonce_sent, NONCE_DIGEST_SIZE) == 0) {
        refuse_nonce(x, a, "refuses the DPoP nonce that it issued itself");
    } else if (x->nonce_retried) {
        refuse_nonce(x, a, "asks for a new DPoP nonce again and again");
    } else {
        x->nonce_retried = true;
        log_debug("profile %s: %s asks for a nonce, sending again", x->request.profile->name, x->origin);
        as_send_begin(x);
    }
}

static bool clock_learned(struct sending *x, const struct fetch_answer *a)
{
    int64_t now = (int64_t)time(NULL);
    if (x->clock_retried || !skew_learn(x->all->front->skew, x->origin, a->date, now, x->skew_sent))
        return false;
    x->clock_retried = true;
    log_warning("profile %s: the clock of %s is %lld s from ours: proofs for it follow its clock", x->request.profile->name,
                x->origin, (long long)skew_get(x->all->front->skew, x->origin));
    return true;
}

static void count_failure(struct sending *x, uint32_t retry_after)
{
    backoff_failed(x->all->backoff, x->origin, x->sent_at, front_now(x->all->front), retry_after, randombytes_random());
}

static void on_answer(struct sending *x, const struct fetch_answer *a)
{
    struct challenge_result challenge;
    uint8_t nonce[NONCE_DIGEST_SIZE] = {0};
    bool learned = learn_nonce(x, a, nonce);
    x->result.answered = !x->probing;
    if (a->http_status >= 500 || a->http_status == 429)
        count_failure(x, a->retry_after);
    else
        backoff_succeeded(x->all->backoff, x->origin);
    bool probed = x->probing && a->http_status < 500 && a->http_status != 429;
    x->probing = x->probing && !probed; /* what is sent next is the request itself, */
    read_challenges(a, &challenge);     /* and the probe was the first of its two sends for a nonce or because of the clock */
    if (x->request.dpop && is_nonce_challenge(a, &challenge)) {
        on_nonce_challenge(x, a, learned, nonce);
        return;
    }
    if (is_clock_rejection(x, a, &challenge) && clock_learned(x, a)) {
        as_send_begin(x);
        return;
    }
    if (probed) {
        x->nonce_retried = true; /* if the request is asked for a nonce nevertheless, the two sends for that have been */
        as_send_begin(x);
        return;
    }
    x->result.nonces = x->result.nonces || as_request_has_sent_nonces(x->all, x->origin);
    x->result.in_doubt = false;
    if (x->probing) {
        struct error err;
        (void)as_request_refused(x->request.profile, x->endpoint, x->request.stage, a, &err);
        as_request_finish(x, &err, NULL);
        return;
    }
    as_request_finish(x, NULL, a);
}

static void on_failure(struct sending *x, const struct error *failure, bool sent)
{
    if (failure->status == STATUS_SERVER_UNREACHABLE || failure->status == STATUS_TIMEOUT)
        count_failure(x, 0);
    x->result.in_doubt = sent;
    as_request_finish(x, failure, NULL);
}

void as_answer_fetched(void *context, const struct error *failure, struct span fields)
{
    struct sending *x = context;
    struct fetch_answer a;
    struct error err;
    if (failure != NULL) { /* the net process ended, or did not answer: nobody knows how far it came */
        on_failure(x, failure, true);
        return;
    }
    if (message_take(fields, &message_fetch_answer, &a, sizeof(a), &err) != STATUS_OK) {
        on_failure(x, &err, true);
        return;
    }
    trace_add(x->all->front, x->request.profile, a.trace);
    if (a.failure.data != NULL) {
        bool told = messages_take_error(a.failure, &err) == STATUS_OK && err.status != STATUS_OK;
        if (!told)
            (void)error_set(&err, STATUS_INTERNAL, NULL, "profile \"%s\": the net process gives no reason for a failure",
                            x->request.profile->name);
        on_failure(x, &err, a.sent || !told);
        return;
    }
    on_answer(x, &a);
}
