/* See tokens.h. */
#include "tokens.h"

#include "grants.h"
#include "log.h"
#include "logins.h"
#include "token_kind.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND UINT64_C(1000000)
#define ENTRIES_MAX 4096 /* kinds of tokens; the one that was not asked for for longest goes */
#define WAITERS_MAX 4096    /* of one profile, */
#define EXCHANGES_MAX 32    /* and its exchanges at once: a server that hangs takes nothing from the other profiles */
#define EARLY_MAX (1800 * SECOND) /* a successor is fetched at most this long before the end */
#define RETRY_EARLY (10 * SECOND) /* after a failed early refresh */

struct waiter {
    struct waiter *next;
    struct token_query query; /* without scope and resources, which the entry has */
    token_done done;
    void *context;
};

struct entry {
    struct tokens *tokens;
    struct token_kind kind;
    const struct profile_config *profile;
    bool own; /* of the profile's own scope and resources, without inputs */
    struct grant_inputs inputs;
    char *scope; /* NULL: none is asked for */
    struct strings resources;
    uint64_t last_use;
    bool used; /* asked for since the token came */
    /* the token */
    struct secret *access_token; /* NULL: none */
    char *granted_scope, *raw;
    const char *type; /* a literal */
    char jkt[64];
    uint64_t serial, expires, refresh_at;
    int64_t expires_at;
    bool refused;
    /* the exchange */
    bool exchanging;
    bool outdated; /* what it brings is of a login that is over: for those who wait already, and not kept */
    struct waiter *waiters;
    unsigned int telling; /* callbacks of this entry are running: it stays */
    bool failed;
    struct error failure; /* the last one; told in the status until an exchange succeeds */
};

struct tokens {
    struct front *front;
    struct entry **entries;
    size_t count;
    struct token_kind *own; /* the kind of each profile's own scope and resources */
    struct use {
        size_t waiters, exchanges;
    } *uses; /* of each profile */
    uint64_t last_serial;
    sd_event_source *renewal; /* fires when the next token wants its successor */
};

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
    tokens->entries = calloc(ENTRIES_MAX, sizeof(struct entry *));
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

static void drop_token(struct entry *e)
{
    secret_free(e->access_token);
    free(e->granted_scope);
    free(e->raw);
    e->access_token = NULL;
    e->granted_scope = e->raw = NULL;
    e->refused = false;
}

static void free_entry(struct entry *e)
{
    drop_token(e);
    for (size_t i = 0; i < e->resources.count; i++)
        free(e->resources.items[i]);
    free(e->resources.items);
    free(e->scope);
    grant_inputs_free(&e->inputs);
    while (e->waiters != NULL) {
        struct waiter *w = e->waiters;
        e->waiters = w->next;
        free(w);
    }
    free(e);
}

void tokens_free(struct tokens *tokens)
{
    if (tokens == NULL)
        return;
    for (size_t i = 0; i < tokens->count; i++)
        free_entry(tokens->entries[i]);
    free(tokens->entries);
    free(tokens->own);
    free(tokens->uses);
    (void)sd_event_source_disable_unref(tokens->renewal);
    free(tokens);
}

static struct entry *find(const struct tokens *tokens, const struct token_kind *kind)
{
    for (size_t i = 0; i < tokens->count; i++)
        if (memcmp(&tokens->entries[i]->kind, kind, sizeof(*kind)) == 0)
            return tokens->entries[i];
    return NULL;
}

/* -1: every entry is at an exchange. */
static int make_room(struct tokens *tokens)
{
    size_t oldest = tokens->count;
    if (tokens->count < ENTRIES_MAX)
        return 0;
    for (size_t i = 0; i < tokens->count; i++)
        if (!tokens->entries[i]->exchanging && tokens->entries[i]->telling == 0 &&
            (oldest == tokens->count || tokens->entries[i]->last_use < tokens->entries[oldest]->last_use))
            oldest = i;
    if (oldest == tokens->count)
        return -1;
    free_entry(tokens->entries[oldest]);
    tokens->entries[oldest] = tokens->entries[--tokens->count];
    return 0;
}

static int copy_resources(struct entry *e, const struct list *resources)
{
    const struct strings *own = &e->profile->resources;
    size_t count = resources->count > 0 ? resources->count : own->count;
    struct span item;
    size_t cursor = 0;
    e->resources.items = calloc(count + 1, sizeof(char *));
    if (e->resources.items == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (resources->count == 0)
            item = span_text(own->items[i]);
        else if (!list_next(resources, &cursor, &item))
            return -1;
        if ((e->resources.items[e->resources.count] = span_dup(item)) == NULL)
            return -1;
        e->resources.count++;
    }
    return 0;
}

static int copy_secret(struct secret **out, struct span given)
{
    return given.data == NULL || (*out = secret_new(given)) != NULL ? 0 : -1;
}

static int copy_text(char **out, struct span given)
{
    return given.data == NULL || (*out = span_dup(given)) != NULL ? 0 : -1;
}

static int copy_inputs(struct grant_inputs *in, const struct token_query *q)
{
    return copy_secret(&in->subject_token, q->subject_token) == 0 && copy_secret(&in->actor_token, q->actor_token) == 0 &&
                   copy_secret(&in->assertion, q->assertion) == 0 &&
                   copy_text(&in->subject_token_type, q->subject_token_type) == 0 &&
                   copy_text(&in->actor_token_type, q->actor_token_type) == 0
               ? 0
               : -1;
}

static struct entry *add_entry(struct tokens *tokens, const struct token_query *q, const struct token_kind *kind)
{
    struct entry *e;
    struct span scope = q->scope.data != NULL ? q->scope : span_text(q->profile->scope);
    if (make_room(tokens) != 0 || (e = calloc(1, sizeof(*e))) == NULL)
        return NULL;
    e->tokens = tokens;
    e->kind = *kind;
    e->profile = q->profile;
    e->own = memcmp(kind, &tokens->own[q->profile - tokens->front->config->profiles], sizeof(*kind)) == 0;
    if ((scope.data != NULL && scope.len > 0 && (e->scope = span_dup(scope)) == NULL) || copy_resources(e, q->resources) != 0 ||
        copy_inputs(&e->inputs, q) != 0) {
        free_entry(e);
        return NULL;
    }
    tokens->entries[tokens->count++] = e;
    return e;
}

static struct token view(const struct entry *e)
{
    return (struct token){.access_token = e->access_token, .type = e->type, .scope = e->granted_scope, .raw = e->raw, .jkt = e->jkt, .serial = e->serial,
                          .expires = e->expires, .expires_at = e->expires_at};
}

static bool good(const struct entry *e, uint64_t now, uint32_t min_valid)
{
    return e->access_token != NULL && !e->refused && e->expires > now && e->expires - now >= min_valid * SECOND;
}

/* When the successor is fetched: in the last third of the life, at a random moment of its first quarter, so that tokens which
   were obtained together are not renewed together, and a server may be away for a quarter of a one-hour token's life. */
static uint64_t early(uint64_t now, uint64_t lifetime)
{
    uint64_t margin = lifetime / 3 < EARLY_MAX ? lifetime / 3 : EARLY_MAX;
    uint64_t jitter = margin >= 4 ? randombytes_uniform((uint32_t)(margin / 4)) : 0;
    return now + lifetime - margin + jitter;
}

static int keep(struct entry *e, const struct granted *g)
{
    struct secret *access_token = secret_new(g->access_token);
    char *scope = g->scope.data != NULL ? span_dup(g->scope) : NULL;
    char *raw = g->raw.data != NULL ? span_dup(g->raw) : NULL;
    if (access_token == NULL || (g->scope.data != NULL && scope == NULL) || (g->raw.data != NULL && raw == NULL)) {
        secret_free(access_token);
        free(scope);
        free(raw);
        return -1;
    }
    drop_token(e);
    e->access_token = access_token;
    e->granted_scope = scope;
    e->raw = raw;
    e->type = span_is(g->token_type, "Bearer") ? "Bearer" : "DPoP";
    e->used = false;
    (void)!span_copy(span_text(g->jkt), e->jkt, sizeof(e->jkt));
    e->serial = ++e->tokens->last_serial;
    e->expires = g->asked + g->lifetime * SECOND;
    /* The exchange may have taken longer than the token lives: then the difference is negative. */
    e->expires_at = (int64_t)time(NULL) + ((int64_t)e->expires - (int64_t)front_now(e->tokens->front)) / (int64_t)SECOND;
    /* An assertion that an application gave may be good for one use only. */
    e->refresh_at = e->inputs.assertion == NULL ? early(g->asked, g->lifetime * SECOND) : UINT64_MAX;
    return 0;
}

/* Is its successor to be fetched by itself? Nobody pays for a token that nobody uses. */
static bool renews(const struct entry *e)
{
    return e->access_token != NULL && e->used && !e->refused && !e->exchanging;
}

static void plan_renewal(struct tokens *tokens)
{
    uint64_t next = UINT64_MAX, now = front_now(tokens->front);
    for (size_t i = 0; i < tokens->count; i++) {
        const struct entry *e = tokens->entries[i];
        if (renews(e) && e->refresh_at < next && e->refresh_at < e->expires && now < e->expires)
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
                         e->expires > now ? (unsigned int)((e->expires - now) / SECOND) : 0, w->query.min_valid),
               &short_lived);
    use_of(e->tokens, w->query.profile)->waiters--;
    w->done(w->context, err, &token);
    free(w);
}

static void on_exchanged(void *context, const struct error *failure, const struct granted *granted,
                         const struct exchange_result *result)
{
    struct entry *e = context;
    struct error err;
    struct waiter *waiters = e->waiters;
    (void)result;
    use_of(e->tokens, e->profile)->exchanges--;
    bool outdated = e->outdated;
    e->exchanging = e->outdated = false;
    e->waiters = NULL;
    if (failure == NULL && keep(e, granted) != 0) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        failure = &err;
    }
    bool repeated = failure != NULL && e->failed && e->failure.status == failure->status;
    e->failed = failure != NULL;
    if (failure != NULL) {
        e->failure = *failure;
        e->refresh_at = e->inputs.assertion == NULL ? front_now(e->tokens->front) + retry_early(failure) : UINT64_MAX;
        (repeated ? log_debug : log_warning)("profile %s: no token: %s", e->profile->name, failure->message);
    } else {
        log_info("profile %s: a token for %u s", e->profile->name, granted->lifetime);
    }
    /* A callback may ask again and so begin the next exchange: this round's waiters are in a list of their own. */
    e->telling++;
    while (waiters != NULL) {
        struct waiter *w = waiters;
        waiters = w->next;
        tell(e, w, failure);
    }
    if (outdated)
        drop_token(e);
    e->telling--;
    plan_renewal(e->tokens);
}

/* Another profile may share the token; the exchange is made with the client secret, CA and timeout of the one that asks. */
static void begin_exchange(struct entry *e, const struct profile_config *profile, uint32_t min_valid, bool force)
{
    struct front *f = e->tokens->front;
    struct grant_request request = {.profile = profile, .kind = &e->kind, .own = e->own, .scope = span_text(e->scope),
                                    .resources = &e->resources, .inputs = &e->inputs, .min_valid = min_valid,
                                    /* who has one and asks nevertheless wants another */
                                    .force = force || e->access_token != NULL,
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
        if (!renews(e) || now < e->refresh_at || now >= e->expires)
            continue;
        if (may_wait(tokens, e->profile, e))
            begin_exchange(e, e->profile, 0, true);
        else
            e->refresh_at = now + SECOND;
    }
    plan_renewal(tokens);
    return 0;
}

static struct token_kind kind_of(const struct tokens *tokens, const struct token_query *q)
{
    struct token_kind kind = tokens->own[q->profile - tokens->front->config->profiles];
    const struct span inputs[] = {q->subject_token, q->subject_token_type, q->actor_token, q->actor_token_type, q->assertion};
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
    struct entry *e = find(tokens, &kind);
    bool serves = e != NULL && !q->force && good(e, now, q->min_valid);
    if (!serves && !may_wait(tokens, q->profile, e)) {
        (void)error_set(&err, STATUS_BUSY, "try again later", "profile \"%s\": too many requests wait for its authorization server",
                        q->profile->name);
        done(context, &err, NULL);
        return;
    }
    if (e == NULL && (e = add_entry(tokens, q, &kind)) == NULL) {
        (void)error_set(&err, STATUS_BUSY, "try again later", "the token cache is full");
        done(context, &err, NULL);
        return;
    }
    e->last_use = now;
    if (serves && !e->used) {
        e->used = true;
        plan_renewal(tokens);
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
    const struct entry *e = find(tokens, &kind);
    if (e == NULL || !good(e, front_now(tokens->front), 0))
        return false;
    *out = view(e);
    return true;
}

/* Are its tokens made of the other profile's, by token exchanges? The configuration has no cycles of them. */
static bool derives_from(const struct tokens *tokens, const struct profile_config *p, const struct profile_config *other)
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
        drop_token(e);
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
        if (e->access_token == NULL || e->serial != serial)
            continue;
        e->refused = true;
        login = config_needs_login(e->profile) ? e->profile : NULL;
    }
    for (size_t i = 0; login != NULL && i < tokens->count; i++) {
        const struct entry *e = tokens->entries[i];
        if (e->profile == login && e->access_token != NULL && !e->refused && e->expires > latest)
            latest = e->expires;
    }
    if (login != NULL)
        logins_refused(tokens->front, login, latest);
}

uint32_t tokens_count(const struct tokens *tokens)
{
    uint32_t n = 0;
    for (size_t i = 0; i < tokens->count; i++)
        n += tokens->entries[i]->access_token != NULL;
    return n;
}

struct token_state tokens_state(const struct tokens *tokens, const struct profile_config *profile)
{
    const struct entry *e = find(tokens, &tokens->own[profile - tokens->front->config->profiles]);
    uint64_t now = front_now(tokens->front);
    struct token_state s = {.state = "no token"};
    if (e == NULL)
        return s;
    if (good(e, now, 0)) {
        s.state = "token";
        s.expires_in = (uint32_t)((e->expires - now) / SECOND);
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
