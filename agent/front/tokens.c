/* See tokens.h. */
#include "token_parts.h"

#include "log.h"
#include "logins.h"

#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000)
#define WAITERS_MAX 4096    /* of one profile, */
#define EXCHANGES_MAX 32    /* and its exchanges at once: a server that hangs takes nothing from the other profiles */
#define RETRY_EARLY (10 * SECOND) /* after a failed early refresh */

static struct use *use_of(const struct tokens *tokens, const struct profile_config *profile)
{
    return &tokens->uses[profile - tokens->front->config->profiles];
}

static int on_renewal(sd_event_source *source, uint64_t usec, void *userdata);

int tokens_open(struct front *f)
{
    struct tokens *tokens = calloc(1, sizeof(*tokens));
    struct list none = {0};
    if (tokens == NULL)
        return -1;
    f->tokens = tokens;
    tokens->front = f;
    tokens->entries = calloc(TOKEN_ENTRIES_MAX, sizeof(struct entry *));
    tokens->own = calloc(f->config->profile_count + 1, sizeof(*tokens->own));
    tokens->uses = calloc(f->config->profile_count + 1, sizeof(*tokens->uses));
    if (tokens->entries == NULL || tokens->own == NULL || tokens->uses == NULL)
        return -1;
    for (size_t i = 0; i < f->config->profile_count; i++)
        token_kind_of(&f->config->profiles[i], span_text(NULL), &none, &tokens->own[i]);
    if (sd_event_add_time(f->event, &tokens->renewal, CLOCK_BOOTTIME, 0, SECOND / 10, on_renewal, tokens) < 0)
        return -1;
    return sd_event_source_set_enabled(tokens->renewal, SD_EVENT_OFF) >= 0 ? 0 : -1;
}

void tokens_free(struct tokens *tokens)
{
    if (tokens == NULL)
        return;
    for (size_t i = 0; i < tokens->count; i++)
        token_entry_free(tokens->entries[i]);
    free(tokens->entries);
    free(tokens->own);
    free(tokens->uses);
    taken_tokens_free(tokens->strays);
    (void)sd_event_source_disable_unref(tokens->renewal);
    free(tokens);
}

static struct token view(const struct entry *e)
{
    const struct held_token *t = &e->token;
    return (struct token){.access_token = t->access_token, .type = t->type, .scope = t->scope, .raw = t->raw,
                          .jkt = t->jkt, .serial = e->serial, .expires = t->expires, .expires_at = t->expires_at};
}

static bool good(const struct entry *e, uint64_t now, uint32_t min_valid)
{
    return e->token.access_token != NULL && !e->refused && e->token.expires > now &&
           e->token.expires - now >= min_valid * SECOND;
}

/* Is its successor to be fetched by itself? Nobody pays for a token that nobody uses. */
static bool renews(const struct entry *e)
{
    return e->token.access_token != NULL && e->used && !e->refused && !e->exchanging;
}

void tokens_plan_renewal(struct tokens *tokens)
{
    uint64_t next = UINT64_MAX, now = front_now(tokens->front);
    for (size_t i = 0; i < tokens->count; i++) {
        const struct entry *e = tokens->entries[i];
        if (renews(e) && e->refresh_at < next && e->refresh_at < e->token.expires && now < e->token.expires)
            next = e->refresh_at;
    }
    if (next == UINT64_MAX) {
        (void)sd_event_source_set_enabled(tokens->renewal, SD_EVENT_OFF);
        return;
    }
    (void)sd_event_source_set_time(tokens->renewal, next);
    (void)sd_event_source_set_enabled(tokens->renewal, SD_EVENT_ONESHOT);
}

static uint64_t retry_early(const struct error *failure)
{
    return failure->retry_after > RETRY_EARLY / SECOND ? failure->retry_after * SECOND : RETRY_EARLY;
}

static void tell(struct entry *e, struct waiter *w, const struct error *err)
{
    struct error short_lived;
    struct token token = view(e);
    uint64_t now = front_now(e->tokens->front);
    if (err == NULL && !good(e, now, w->query.min_valid))
        err = (error_set(&short_lived, STATUS_TOKEN_TOO_SHORT, "ask for less, or let the server issue longer tokens",
                         "profile \"%s\": a new token lives for %u s, but %u s were asked for", w->query.profile->name,
                         e->token.expires > now ? (unsigned int)((e->token.expires - now) / SECOND) : 0,
                         w->query.min_valid),
               &short_lived);
    use_of(e->tokens, w->query.profile)->waiters--;
    w->done(w->context, err, &token);
    free(w);
}

static void begin_exchange(struct entry *e, const struct profile_config *profile, uint32_t min_valid, bool force);

/* What came is of a key that a rotation has taken away meanwhile: those who wait get one of the new key. */
static bool begin_again(struct entry *e, const struct granted *granted)
{
    tokens_put_stray(e->tokens, e->profile, granted);
    if (good(e, front_now(e->tokens->front), 0))
        return false;
    if (e->waiters != NULL)
        begin_exchange(e, e->waiters->query.profile, e->waiters->query.min_valid, e->waiters->query.force);
    return true;
}

static void note_end(struct entry *e, const struct error *failure, const struct granted *granted)
{
    bool repeated = failure != NULL && e->failed && e->failure.status == failure->status;
    e->failed = failure != NULL;
    if (failure != NULL) {
        e->failure = *failure;
        e->refresh_at = e->inputs.assertion == NULL ? front_now(e->tokens->front) + retry_early(failure) : UINT64_MAX;
        (repeated ? log_debug : log_warning)("profile %s: no token: %s", e->profile->name, failure->message);
    } else {
        log_info("profile %s: a token for %u s", e->profile->name, granted->lifetime);
    }
}

static void on_exchanged(void *context, const struct error *failure, const struct granted *granted,
                         const struct exchange_result *result)
{
    struct entry *e = context;
    struct held_token token = {0};
    struct error err;
    (void)result;
    use_of(e->tokens, e->profile)->exchanges--;
    bool outdated = e->outdated;
    e->exchanging = e->outdated = false;
    if (failure == NULL && token_bound_stray(e, granted)) {
        if (begin_again(e, granted))
            return;
    } else if (failure == NULL && held_token_take(&token, granted, front_now(e->tokens->front)) != 0) {
        failure = (error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory"), &err);
    } else if (failure == NULL) {
        token_entry_keep(e, &token);
    }
    note_end(e, failure, granted);
    /* A callback may ask again and so begin the next exchange: this round's waiters are in a list of their own. */
    struct waiter *waiters = e->waiters;
    e->waiters = NULL;
    e->telling++;
    while (waiters != NULL) {
        struct waiter *w = waiters;
        waiters = w->next;
        tell(e, w, failure);
    }
    if (outdated)
        token_entry_drop(e);
    e->telling--;
    tokens_plan_renewal(e->tokens);
}

/* Another profile may share the token; the exchange is made with the client secret, CA and timeout of the one that
   asks. */
static void begin_exchange(struct entry *e, const struct profile_config *profile, uint32_t min_valid, bool force)
{
    struct front *f = e->tokens->front;
    struct grant_request request = {.profile = profile, .kind = &e->kind, .own = e->own, .scope = span_text(e->scope),
                                    .resources = &e->resources, .inputs = &e->inputs, .min_valid = min_valid,
                                    /* who has one and asks nevertheless wants another */
                                    .force = force || e->token.access_token != NULL,
                                    .deadline = front_now(f) + profile->timeout * SECOND};
    if (e->exchanging)
        return;
    e->profile = profile;
    e->exchanging = true;
    use_of(e->tokens, e->profile)->exchanges++;
    grants_fetch(f, &request, on_exchanged, e);
}

static void wait_for_token(struct entry *e, const struct token_query *q, token_done done, void *context)
{
    struct error err;
    struct waiter *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL);
        return;
    }
    *w = (struct waiter){.next = e->waiters, .query = *q, .done = done, .context = context};
    e->waiters = w;
    use_of(e->tokens, q->profile)->waiters++;
    front_wait(e->tokens->front);
    begin_exchange(e, q->profile, q->min_valid, q->force);
}

/* May the profile wait for one more answer of its server? */
static bool may_wait(const struct tokens *tokens, const struct profile_config *profile, const struct entry *e)
{
    const struct use *use = use_of(tokens, profile);
    return use->waiters < WAITERS_MAX && ((e != NULL && e->exchanging) || use->exchanges < EXCHANGES_MAX);
}

static int on_renewal(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct tokens *tokens = userdata;
    uint64_t now = front_now(tokens->front);
    (void)source;
    (void)usec;
    for (size_t i = 0; i < tokens->count; i++) {
        struct entry *e = tokens->entries[i];
        if (!renews(e) || now < e->refresh_at || now >= e->token.expires)
            continue;
        if (may_wait(tokens, e->profile, e))
            begin_exchange(e, e->profile, 0, true);
        else
            e->refresh_at = now + SECOND;
    }
    tokens_plan_renewal(tokens);
    return 0;
}

static struct token_kind kind_of(const struct tokens *tokens, const struct token_query *q)
{
    struct token_kind kind = tokens->own[q->profile - tokens->front->config->profiles];
    const struct span inputs[] = {q->subject_token, q->subject_token_type, q->actor_token, q->actor_token_type,
                                  q->assertion};
    bool given = false;
    if (q->scope.data != NULL || q->resources->count > 0)
        token_kind_of(q->profile, q->scope, q->resources, &kind);
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
        given = given || inputs[i].data != NULL;
    for (size_t i = 0; given && i < sizeof(inputs) / sizeof(inputs[0]); i++)
        token_kind_add(&kind, inputs[i]);
    return kind;
}

void tokens_get(struct tokens *tokens, const struct token_query *q, token_done done, void *context)
{
    struct token_kind kind = kind_of(tokens, q);
    uint64_t now = front_now(tokens->front);
    struct error err;
    struct entry *e = token_entry_find(tokens, &kind);
    bool serves = e != NULL && !q->force && good(e, now, q->min_valid);
    if (!serves && !may_wait(tokens, q->profile, e)) {
        (void)error_set(&err, STATUS_BUSY, "try again later",
                        "profile \"%s\": too many requests wait for its authorization server", q->profile->name);
        done(context, &err, NULL);
        return;
    }
    if (e == NULL && (e = token_entry_add(tokens, q, &kind)) == NULL) {
        (void)error_set(&err, STATUS_BUSY, "try again later", "the token cache is full");
        done(context, &err, NULL);
        return;
    }
    e->last_use = now;
    if (serves && !e->used) {
        e->used = true;
        tokens_plan_renewal(tokens);
    }
    if (!serves) {
        wait_for_token(e, q, done, context);
        return;
    }
    if (now >= e->refresh_at && may_wait(tokens, q->profile, e))
        begin_exchange(e, q->profile, 0, true);
    struct token token = view(e);
    done(context, NULL, &token);
}

bool tokens_peek(struct tokens *tokens, const struct token_query *q, struct token *out)
{
    struct token_kind kind = kind_of(tokens, q);
    const struct entry *e = token_entry_find(tokens, &kind);
    if (e == NULL || !good(e, front_now(tokens->front), 0))
        return false;
    *out = view(e);
    return true;
}

/* Are its tokens made of the other profile's, by token exchanges? The configuration has no cycles of them. */
static bool derives_from(const struct tokens *tokens, const struct profile_config *p,
                         const struct profile_config *other)
{
    while (p != NULL && p != other)
        p = p->grant == GRANT_TOKEN_EXCHANGE && p->subject_token_profile != NULL
                ? config_profile(tokens->front->config, span_text(p->subject_token_profile))
                : NULL;
    return p != NULL;
}

void tokens_forget(struct tokens *tokens, const struct profile_config *profile)
{
    for (size_t i = 0; i < tokens->count; i++) {
        struct entry *e = tokens->entries[i];
        if (!derives_from(tokens, e->profile, profile))
            continue;
        token_entry_drop(e);
        e->failed = false;
        e->outdated = e->exchanging && e->profile != profile;
    }
}

void tokens_refuse(struct tokens *tokens, uint64_t serial)
{
    const struct profile_config *login = NULL;
    uint64_t latest = 0;
    for (size_t i = 0; i < tokens->count; i++) {
        struct entry *e = tokens->entries[i];
        if (e->token.access_token == NULL || e->serial != serial)
            continue;
        e->refused = true;
        login = config_needs_login(e->profile) ? e->profile : NULL;
    }
    for (size_t i = 0; login != NULL && i < tokens->count; i++) {
        const struct entry *e = tokens->entries[i];
        if (e->profile == login && e->token.access_token != NULL && !e->refused && e->token.expires > latest)
            latest = e->token.expires;
    }
    if (login != NULL)
        logins_refused(tokens->front, login, latest);
}

uint32_t tokens_count(const struct tokens *tokens)
{
    uint32_t n = 0;
    for (size_t i = 0; i < tokens->count; i++)
        n += tokens->entries[i]->token.access_token != NULL;
    return n;
}

struct token_state tokens_state(const struct tokens *tokens, const struct profile_config *profile)
{
    const struct entry *e = token_entry_find(tokens, &tokens->own[profile - tokens->front->config->profiles]);
    uint64_t now = front_now(tokens->front);
    struct token_state s = {.state = "no token"};
    if (e == NULL)
        return s;
    if (good(e, now, 0)) {
        s.state = "token";
        s.expires_in = (uint32_t)((e->token.expires - now) / SECOND);
    } else if (e->exchanging) {
        s.state = "fetching";
    } else if (e->failed) {
        s.state = "failed";
    }
    s.reason = e->failed ? e->failure.message : NULL;
    return s;
}

/* A waiter whose time is over is told; the exchange goes on for the others, and for the next to ask. */
static void expire(struct entry *e, uint64_t now)
{
    struct error err;
    struct waiter *over = NULL; /* a list of their own, since a callback may change the entry's */
    for (struct waiter **p = &e->waiters; *p != NULL;) {
        struct waiter *w = *p;
        if (now < w->query.deadline) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->next = over;
        over = w;
    }
    e->telling++;
    while (over != NULL) {
        struct waiter *w = over;
        over = w->next;
        (void)error_set(&err, STATUS_TIMEOUT, "try again; the agent still waits for the server",
                        "profile \"%s\": no token came in time", w->query.profile->name);
        use_of(e->tokens, w->query.profile)->waiters--;
        w->done(w->context, &err, NULL);
        free(w);
    }
    e->telling--;
}

void tokens_tick(struct tokens *tokens, uint64_t now)
{
    for (size_t i = 0; i < tokens->count; i++)
        expire(tokens->entries[i], now);
}

bool tokens_waiting(const struct tokens *tokens)
{
    size_t n = 0;
    for (size_t i = 0; i < tokens->front->config->profile_count; i++)
        n += tokens->uses[i].waiters;
    return n > 0;
}
