/* See as_request.h and as_sending.h: the requests' beginning, their turns, their end. */
#include "as_sending.h"

#include "answer.h"
#include "assertion.h"
#include "backoff.h"
#include "htu.h"
#include "keys.h"
#include "pace.h"
#include "proof.h"
#include "skew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NONCE_FRESH 20000000 /* microseconds: a nonce that came so lately need not be asked for again */
#define SERVERS_MAX 1024
#define CLOCK_HINT 60        /* seconds of difference that are worth a word */
#define OF_PROFILE_MAX 8     /* requests of one profile that are under way: it leaves room at its server for others */

/* A server that has sent a nonce for one of our keys. */
struct server {
    struct server *next;
    uint64_t nonce_at; /* when it sent the last one */
    char jkt[JWK_THUMBPRINT_SIZE];
    char origin[];
};

static void begin_waiting(struct as_requests *all);

int as_requests_open(struct front *f)
{
    struct as_requests *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return -1;
    f->as_requests = all;
    all->front = f;
    all->end = &all->first;
    all->backoff = backoff_table_new(SERVERS_MAX);
    all->pace = pace_table_new(SERVERS_MAX);
    all->of_profile = calloc(f->config->profile_count + 1, sizeof(*all->of_profile));
    return all->backoff != NULL && all->pace != NULL && all->of_profile != NULL ? 0 : -1;
}

static void free_sending(struct sending *x)
{
    buffer_free(&x->form);
    buffer_free(&x->assertion);
    buffer_free(&x->grant_assertion);
    buffer_free(&x->proof);
    free(x->endpoint);
    free(x->htu);
    free(x->audience);
    free(x);
}

void as_requests_free(struct as_requests *all)
{
    if (all == NULL)
        return;
    while (all->servers != NULL) {
        struct server *s = all->servers;
        all->servers = s->next;
        free(s);
    }
    backoff_table_free(all->backoff);
    pace_table_free(all->pace);
    free(all->of_profile);
    free(all);
}

static struct server *find_server(const struct as_requests *all, const char *origin, const char *jkt)
{
    struct server *s = all->servers;
    while (s != NULL && (strcmp(s->origin, origin) != 0 || strcmp(s->jkt, jkt) != 0))
        s = s->next;
    return s;
}

void as_request_note_nonce(struct as_requests *all, const char *origin, const char *jkt)
{
    struct server *s = find_server(all, origin, jkt);
    size_t size = strlen(origin) + 1;
    if (s == NULL && (all->server_count >= SERVERS_MAX || (s = calloc(1, sizeof(*s) + size)) == NULL))
        return;
    if (s->origin[0] == '\0') {
        memcpy(s->origin, origin, size);
        (void)!span_copy(span_text(jkt), s->jkt, sizeof(s->jkt));
        s->next = all->servers;
        all->servers = s;
        all->server_count++;
    }
    s->nonce_at = front_now(all->front);
}

/* Whatever key it was for: who asks one client for nonces asks them all. */
bool as_request_has_sent_nonces(const struct as_requests *all, const char *origin)
{
    const struct server *s = all->servers;
    while (s != NULL && strcmp(s->origin, origin) != 0)
        s = s->next;
    return s != NULL;
}

static unsigned int *of_profile(const struct sending *x)
{
    return &x->all->of_profile[x->request.profile - x->all->front->config->profiles];
}

/* --- the end --- */

void as_request_finish(struct sending *x, const struct error *failure, const struct fetch_answer *answer)
{
    struct as_requests *all = x->all;
    struct error err;
    if (x->under_way) {
        pace_end(all->pace, x->origin);
        (*of_profile(x))--;
    }
    if (failure != NULL) {
        err = *failure;
        if (err.stage[0] == '\0')
            error_put_text(err.stage, sizeof(err.stage), span_text(x->request.stage));
        x->result.in_doubt = x->result.in_doubt && !x->probing;
        failure = &err;
    }
    x->done(x->context, failure, answer, &x->result);
    free_sending(x);
    begin_waiting(all);
}

void as_request_fail_internal(struct sending *x)
{
    struct error err;
    (void)error_set(&err, STATUS_INTERNAL, NULL, "profile \"%s\": the %s could not be built", x->request.profile->name,
                    x->request.stage);
    as_request_finish(x, &err, NULL);
}

/* --- its turn --- */

struct key *as_request_key(const struct sending *x, const char *name)
{
    struct key *key = keys_find(x->all->front->keys, span_text(name));
    return key != NULL && key == x->request.swap.instead_of ? x->request.swap.use : key;
}

/* Would a nonce challenge spend what is sent? Then a nonce is had first. */
static bool wants_probe(const struct sending *x)
{
    const struct key_public *key = keys_public(as_request_key(x, x->request.profile->key));
    const struct server *server = key != NULL ? find_server(x->all, x->origin, key->jkt) : NULL;
    bool fresh = server != NULL && front_now(x->all->front) <= server->nonce_at + NONCE_FRESH;
    return x->request.precious && x->request.dpop &&
           (x->request.nonces || as_request_has_sent_nonces(x->all, x->origin)) && !fresh;
}

static bool in_backoff(struct sending *x, struct error *err)
{
    uint64_t now = front_now(x->all->front), until = backoff_until(x->all->backoff, x->origin);
    if (until <= now)
        return false;
    (void)error_set(err, STATUS_SERVER_UNAVAILABLE, "wait, or see what is wrong with the server: dpop profile test",
                    "profile \"%s\": %s has failed, and is asked again in %u s", x->request.profile->name, x->origin,
                    (unsigned int)((until - now) / 1000000 + 1));
    err->retry_after = (uint32_t)((until - now) / 1000000 + 1);
    return true;
}

/* Takes the first out of the queue that can begin now, or is refused. */
static struct sending *take_ready(struct as_requests *all, struct error *refusal, bool *refused)
{
    uint64_t retry_at;
    const char *full = NULL; /* a server that takes no more now: most of a long queue goes to one */
    const struct sending *many = NULL; /* of a profile that has enough under way */
    for (struct sending **p = &all->first; *p != NULL; p = &(*p)->next) {
        struct sending *x = *p;
        if (full != NULL && strcmp(x->origin, full) == 0)
            continue;
        if (many != NULL && many->request.profile == x->request.profile && strcmp(x->origin, many->origin) == 0)
            continue;
        *refused = in_backoff(x, refusal);
        if (!*refused && *of_profile(x) >= OF_PROFILE_MAX) {
            many = x;
            continue;
        }
        if (!*refused && !pace_begin(all->pace, x->origin, front_now(all->front), &retry_at)) {
            full = x->origin;
            continue;
        }
        *p = x->next;
        if (all->end == &x->next)
            all->end = p;
        return x;
    }
    return NULL;
}

static void start(struct sending *x)
{
    x->under_way = true;
    (*of_profile(x))++;
    x->probing = wants_probe(x);
    as_send_begin(x);
}

/* A start may end at once and come back here: then the loop that is at work already goes on. */
static void begin_waiting(struct as_requests *all)
{
    struct sending *x;
    struct error err;
    bool refused;
    if (all->beginning)
        return;
    all->beginning = true;
    while ((x = take_ready(all, &err, &refused)) != NULL) {
        if (refused)
            as_request_finish(x, &err, NULL);
        else
            start(x);
    }
    all->beginning = false;
}

void as_requests_tick(struct as_requests *all, uint64_t now)
{
    struct sending **p = &all->first;
    struct sending *over = NULL;
    while (*p != NULL) {
        struct sending *x = *p;
        if (now < x->request.deadline) {
            p = &x->next;
            continue;
        }
        *p = x->next;
        x->next = over;
        over = x;
    }
    all->end = p;
    while (over != NULL) {
        struct error err;
        struct sending *x = over;
        over = x->next;
        (void)error_set(&err, STATUS_TIMEOUT, "try again later",
                        "profile \"%s\": too many requests to %s are before this one",
                        x->request.profile->name, x->origin);
        as_request_finish(x, &err, NULL);
    }
    begin_waiting(all);
}

void as_requests_end(struct as_requests *all)
{
    struct error err;
    if (all == NULL)
        return;
    all->beginning = true; /* nothing begins any more */
    while (all->first != NULL) {
        struct sending *x = all->first;
        all->first = x->next;
        if (all->first == NULL)
            all->end = &all->first;
        (void)error_set(&err, STATUS_RESTARTED, "try again", "the agent is ending or reloading its configuration");
        as_request_finish(x, &err, NULL);
    }
}

bool as_requests_waiting(const struct as_requests *all)
{
    return all->first != NULL;
}

/* --- the beginning --- */

static enum status set_up(struct sending *x, const struct as_request *request, struct error *err)
{
    const struct profile_config *p = request->profile;
    const char *issuer = request->server->issuer != NULL ? request->server->issuer : p->issuer;
    char url[URL_SIZE], htu[URL_SIZE];
    enum status status = htu_sent(span_text(request->endpoint), url, sizeof(url), htu, sizeof(htu), err);
    if (status == STATUS_OK)
        status = url_origin(span_text(url), x->origin, sizeof(x->origin), err);
    if (status != STATUS_OK)
        return status;
    x->endpoint = strdup(url);
    x->htu = strdup(htu);
    x->audience = issuer != NULL ? strdup(issuer) : NULL;
    buffer_put(&x->form, request->form.data, request->form.len);
    if (x->endpoint == NULL || x->htu == NULL || (issuer != NULL && x->audience == NULL) || x->form.failed)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    return STATUS_OK;
}

void as_request_send(struct front *f, const struct as_request *request, as_request_done done, void *context)
{
    struct sending *x = calloc(1, sizeof(*x));
    struct as_result nothing = {0};
    struct error err;
    if (x == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL, &nothing);
        return;
    }
    *x = (struct sending){.all = f->as_requests, .request = *request, .done = done, .context = context};
    buffer_init(&x->form, AS_FORM_MAX);
    buffer_init(&x->assertion, ASSERTION_MAX);
    buffer_init(&x->grant_assertion, ASSERTION_MAX);
    buffer_init(&x->proof, PROOF_MAX);
    if (set_up(x, request, &err) != STATUS_OK) {
        as_request_finish(x, &err, NULL);
        return;
    }
    *x->all->end = x;
    x->all->end = &x->next;
    begin_waiting(f->as_requests);
    front_wait(f);
}

/* --- refusals in words --- */

static const char *next_step(const struct profile_config *profile, struct span oauth_error)
{
    static const struct {
        const char *error, *next;
    } steps[] = {
        {"invalid_client", "check client-id, client-authentication and the client's secret, key or certificate"},
        {"unauthorized_client", "allow this grant for the client at the authorization server"},
        {"unsupported_grant_type", "choose another grant in the profile"},
        {"invalid_grant", "log in again, or give a new subject token or assertion"},
        {"invalid_scope", "check scope in the profile"},
        {"invalid_target", "check resource and audience in the profile"},
        {"invalid_authorization_details", "check authorization-details in the profile"},
        {"invalid_request_uri", "try again"},
        {"invalid_dpop_proof", "check this machine's clock, and token-endpoint if a proxy rewrites it"},
        {"access_denied", "the user or the server has said no"},
    };
    if (profile->client_authentication == PRIVATE_KEY_JWT && span_is(oauth_error, "invalid_client"))
        return "check client-id, the key that the server knows of the client (client-key), and this machine's clock";
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (span_is(oauth_error, steps[i].error))
            return steps[i].next;
    return "see what the server says";
}

/* A clock beyond what max-clock-skew allows to follow: then the refusal is its fault more often than not. */
static void hint_at_clock(const struct fetch_answer *a, struct error *err)
{
    int64_t date, now = (int64_t)time(NULL);
    if (err->status != STATUS_SERVER_REFUSED || skew_parse_date(a->date, &date) != 0 ||
        (date - now < CLOCK_HINT && now - date < CLOCK_HINT))
        return;
    (void)snprintf(err->next, sizeof(err->next),
                   "set this machine's clock: the server's is %lld s from it (max-clock-skew bounds what is "
                   "followed)", (long long)(date - now));
}

enum status as_request_refused(const struct profile_config *profile, const char *endpoint, const char *stage,
                               const struct fetch_answer *a, struct error *err)
{
    struct span oauth_error = answer_text(a, "error");
    unsigned int status = a->http_status;
    if (status >= 500 || status == 429)
        (void)error_set(err, STATUS_SERVER_UNAVAILABLE, "try again later", "profile \"%s\": %s answers with status %u",
                        profile->name, endpoint, status);
    else if (status >= 300 && status < 400)
        (void)error_set(err, STATUS_SERVER_MISBEHAVED, "name the right endpoint in the profile",
                        "profile \"%s\": %s answers with a redirect (status %u), which is not followed", profile->name,
                        endpoint, status);
    else if (oauth_error.data != NULL)
        (void)error_set(err, STATUS_SERVER_REFUSED, next_step(profile, oauth_error), "profile \"%s\": %s refuses: %.*s",
                        profile->name, endpoint, (int)oauth_error.len, (const char *)oauth_error.data);
    else
        (void)error_set(err, STATUS_SERVER_MISBEHAVED, "check the endpoint; dpop trace shows the exchange",
                        "profile \"%s\": %s answers with status %u, which is neither 200 nor an OAuth error%s%.*s",
                        profile->name, endpoint, status, a->json_error.data != NULL ? ": " : "", (int)a->json_error.len,
                        a->json_error.data != NULL ? (const char *)a->json_error.data : "");
    hint_at_clock(a, err);
    err->http_status = a->http_status;
    err->retry_after = a->retry_after;
    error_put_text(err->stage, sizeof(err->stage), span_text(stage));
    error_put_text(err->oauth_error, sizeof(err->oauth_error), oauth_error);
    error_put_text(err->oauth_description, sizeof(err->oauth_description), answer_text(a, "error_description"));
    error_put_text(err->oauth_uri, sizeof(err->oauth_uri), answer_text(a, "error_uri"));
    return err->status;
}
