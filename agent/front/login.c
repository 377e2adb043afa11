/* See login.h. */
#include "login.h"

#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000)
#define RESENDS_MAX 16 /* an agent that is killed again and again in the middle of it does not ask for ever */
#define LEFT_MIN 5 /* seconds that an access token must have left to be served instead of a refresh */

static struct span secret_or_absent(const struct secret *s)
{
    return s != NULL ? secret_span(s) : span_text(NULL);
}

static void set_secret(struct secret **member, struct secret *value)
{
    secret_free(*member);
    *member = value;
}

static void set_text(char **member, char *value)
{
    free(*member);
    *member = value;
}

void login_clear(struct login *l)
{
    set_secret(&l->refresh_token, NULL);
    set_secret(&l->access_token, NULL);
    char **texts[] = {&l->scope, &l->subject, &l->token_type, &l->access_scope, &l->raw};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        set_text(texts[i], NULL);
    *l = (struct login){0};
}

void login_drop_access(struct login *l)
{
    set_secret(&l->access_token, NULL);
    set_text(&l->token_type, NULL);
    set_text(&l->access_scope, NULL);
    set_text(&l->raw, NULL);
    l->jkt[0] = '\0';
    l->expires = 0;
}

static int copy(char **member, struct span text)
{
    char *value = text.data != NULL ? span_dup(text) : NULL;
    if (text.data != NULL && value == NULL)
        return -1;
    set_text(member, value);
    return 0;
}

static int take_access(struct login *l, const struct granted *g, const struct token_kind *kind)
{
    struct secret *token = secret_new(g->access_token);
    if (token == NULL || copy(&l->token_type, g->token_type) != 0 || copy(&l->access_scope, g->scope) != 0 ||
        copy(&l->raw, g->raw) != 0) {
        secret_free(token);
        return -1;
    }
    set_secret(&l->access_token, token);
    l->kind = *kind;
    if (g->jkt != NULL)
        (void)!span_copy(span_text(g->jkt), l->jkt, sizeof(l->jkt));
    return 0;
}

int login_take(struct login *l, const struct granted *g, const struct token_kind *kind, bool own)
{
    if (g->refresh_token.data != NULL) {
        struct secret *token = secret_new(g->refresh_token);
        if (token == NULL)
            return -1;
        set_secret(&l->refresh_token, token);
    }
    l->resends = 0;
    l->held = false;
    l->refresh_state = REFRESH_FRESH; /* without a new one the old one goes on to be good (RFC 6749 section 6) */
    if (g->access_token.data == NULL)
        return 0;
    uint64_t expires = g->asked + g->lifetime * SECOND;
    if (l->subject == NULL && copy(&l->subject, g->subject) != 0)
        return -1;
    if (own && take_access(l, g, kind) != 0)
        return -1;
    if (own)
        l->expires = expires;
    if (expires > l->latest_expiry)
        l->latest_expiry = expires;
    return 0;
}

static uint64_t wall_of(uint64_t time, uint64_t now, int64_t wall)
{
    return time > now ? (uint64_t)wall + (time - now) / SECOND : 0;
}

void login_record(const struct login *l, uint64_t now, int64_t wall, struct login_record *out)
{
    *out = (struct login_record){.refresh_state = (uint16_t)l->refresh_state,
                                 .refresh_token = secret_or_absent(l->refresh_token),
                                 .scope = span_text(l->scope),
                                 .subject = span_text(l->subject),
                                 .nonces = l->nonces,
                                 .access_token = secret_or_absent(l->access_token),
                                 .token_type = span_text(l->token_type),
                                 .access_scope = span_text(l->access_scope),
                                 .raw = span_text(l->raw),
                                 .access_expires = wall_of(l->expires, now, wall),
                                 .latest_expiry = wall_of(l->latest_expiry, now, wall),
                                 .written = (uint64_t)wall,
                                 .resends = (uint16_t)l->resends,
                                 .held = l->held,
                                 .token_kind = span_of(l->kind.digest, sizeof(l->kind.digest))};
}

static uint64_t time_of(uint64_t seconds, const struct login_record *r, uint64_t now, int64_t wall)
{
    uint64_t at = (uint64_t)wall > r->written ? (uint64_t)wall : r->written;
    return seconds > at ? now + (seconds - at) * SECOND : 0;
}

int login_from_record(struct login *l, const struct login_record *r, const char *jkt, uint64_t now, int64_t wall)
{
    struct login new = {.refresh_state = (enum refresh_state)r->refresh_state, .resends = r->resends, .held = r->held,
                        .nonces = r->nonces};
    if (new.refresh_state == REFRESH_RESENT && new.resends < RESENDS_MAX)
        new.refresh_state = REFRESH_SENT; /* killed right there: nobody knows whether the second send has happened */
    struct token_kind kind = {0};
    bool has_access = r->access_token.data != NULL && r->token_kind.len == sizeof(kind.digest);
    if (r->refresh_token.data != NULL && (new.refresh_token = secret_new(r->refresh_token)) == NULL)
        return -1;
    struct granted g = {.access_token = r->access_token, .token_type = r->token_type, .scope = r->access_scope,
                        .raw = r->raw, .jkt = jkt};
    if (has_access)
        memcpy(kind.digest, r->token_kind.data, sizeof(kind.digest));
    if (copy(&new.scope, r->scope) != 0 || copy(&new.subject, r->subject) != 0 ||
        (has_access && take_access(&new, &g, &kind) != 0)) {
        login_clear(&new);
        return -1;
    }
    new.expires = time_of(r->access_expires, r, now, wall);
    new.latest_expiry = time_of(r->latest_expiry, r, now, wall);
    login_clear(l);
    *l = new;
    return 0;
}

bool login_serves(const struct login *l, const struct token_kind *kind, uint32_t min_valid, uint64_t now)
{
    uint64_t left = (min_valid > LEFT_MIN ? min_valid : LEFT_MIN) * SECOND;
    return l->access_token != NULL && l->token_type != NULL && memcmp(&l->kind, kind, sizeof(*kind)) == 0 &&
           l->expires > now && l->expires - now >= left;
}

struct granted login_granted(const struct login *l, uint64_t now)
{
    return (struct granted){.access_token = secret_span(l->access_token),
                            .token_type = span_text(l->token_type),
                            .scope = span_text(l->access_scope),
                            .jkt = l->jkt,
                            .lifetime = l->expires > now ? (uint32_t)((l->expires - now) / SECOND) : 0,
                            .asked = now,
                            .subject = span_text(l->subject),
                            .raw = span_text(l->raw)};
}

enum login_next login_next(const struct login *l, uint64_t now)
{
    if (l->refresh_token == NULL || l->refresh_state == REFRESH_RESENT)
        return LOGIN_NEXT_USER;
    return (l->refresh_state == REFRESH_SENT || l->held) && l->latest_expiry > now ? LOGIN_NEXT_WAIT : LOGIN_NEXT_SEND;
}
