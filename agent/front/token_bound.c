/* See token_parts.h and tokens.h: tokens and the keys that they are bound to (RFC 9449 section 6), when a key goes. */
#include "token_parts.h"

#include "keys.h"

#include <stdlib.h>
#include <string.h>

/* A login's tokens go with the login. */
bool token_bound_stray(const struct entry *e, const struct granted *g)
{
    const struct key_public *key = keys_public(keys_find(e->tokens->front->keys, span_text(e->profile->key)));
    return !config_needs_login(e->profile) && g->jkt != NULL && g->jkt[0] != '\0' && key != NULL &&
           strcmp(g->jkt, key->jkt) != 0;
}

static struct taken_token *take(struct taken_token *list, const struct profile_config *profile,
                                struct held_token *token)
{
    struct taken_token *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return list; /* it stays where it is, and ends by itself */
    *t = (struct taken_token){.next = list, .profile = profile, .token = *token};
    *token = (struct held_token){0};
    return t;
}

void tokens_put_stray(struct tokens *tokens, const struct profile_config *profile, const struct granted *granted)
{
    struct held_token token = {0};
    if (held_token_take(&token, granted, front_now(tokens->front)) == 0)
        tokens->strays = take(tokens->strays, profile, &token);
    held_token_drop(&token);
}

static bool is_of(const struct held_token *t, const char *jkt)
{
    return t->access_token != NULL && (jkt == NULL || strcmp(t->jkt, jkt) == 0);
}

struct taken_token *tokens_take(struct tokens *tokens, const struct profile_config *profile, const char *jkt)
{
    struct taken_token *list = NULL;
    uint64_t now = front_now(tokens->front);
    for (size_t i = 0; i < tokens->count; i++) {
        struct entry *e = tokens->entries[i];
        if (e->profile != profile || !is_of(&e->token, jkt))
            continue;
        if (e->token.expires > now)
            list = take(list, profile, &e->token);
        token_entry_drop(e);
    }
    for (struct taken_token **p = &tokens->strays; *p != NULL;) {
        struct taken_token *t = *p;
        if (t->profile != profile || !is_of(&t->token, jkt)) {
            p = &t->next;
            continue;
        }
        *p = t->next;
        t->next = list;
        list = t;
    }
    return list;
}

void tokens_put(struct tokens *tokens, const struct profile_config *profile, struct held_token *token)
{
    const struct token_kind *kind = &tokens->own[profile - tokens->front->config->profiles];
    struct list none = {0};
    struct token_query q = {.profile = profile, .resources = &none};
    struct entry *e = token_entry_find(tokens, kind);
    if (e == NULL)
        e = token_entry_add(tokens, &q, kind);
    if (e == NULL)
        return;
    token_entry_keep(e, token);
    e->failed = false;
    e->last_use = front_now(tokens->front);
    tokens_plan_renewal(tokens);
}
