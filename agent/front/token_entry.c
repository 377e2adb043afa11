/* See token_parts.h. */
#include "token_parts.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000)
#define EARLY_MAX (1800 * SECOND) /* a successor is fetched at most this long before the end */

void token_entry_drop(struct entry *e)
{
    held_token_drop(&e->token);
    e->refused = false;
}

void token_entry_free(struct entry *e)
{
    token_entry_drop(e);
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

struct entry *token_entry_find(const struct tokens *tokens, const struct token_kind *kind)
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
    if (tokens->count < TOKEN_ENTRIES_MAX)
        return 0;
    for (size_t i = 0; i < tokens->count; i++)
        if (!tokens->entries[i]->exchanging && tokens->entries[i]->telling == 0 &&
            (oldest == tokens->count || tokens->entries[i]->last_use < tokens->entries[oldest]->last_use))
            oldest = i;
    if (oldest == tokens->count)
        return -1;
    token_entry_free(tokens->entries[oldest]);
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
    return copy_secret(&in->subject_token, q->subject_token) == 0 &&
                   copy_secret(&in->actor_token, q->actor_token) == 0 &&
                   copy_secret(&in->assertion, q->assertion) == 0 &&
                   copy_text(&in->subject_token_type, q->subject_token_type) == 0 &&
                   copy_text(&in->actor_token_type, q->actor_token_type) == 0
               ? 0
               : -1;
}

struct entry *token_entry_add(struct tokens *tokens, const struct token_query *q, const struct token_kind *kind)
{
    struct entry *e;
    struct span scope = q->scope.data != NULL ? q->scope : span_text(q->profile->scope);
    if (make_room(tokens) != 0 || (e = calloc(1, sizeof(*e))) == NULL)
        return NULL;
    e->tokens = tokens;
    e->kind = *kind;
    e->profile = q->profile;
    e->own = memcmp(kind, &tokens->own[q->profile - tokens->front->config->profiles], sizeof(*kind)) == 0;
    if ((scope.data != NULL && scope.len > 0 && (e->scope = span_dup(scope)) == NULL) ||
        copy_resources(e, q->resources) != 0 || copy_inputs(&e->inputs, q) != 0) {
        token_entry_free(e);
        return NULL;
    }
    tokens->entries[tokens->count++] = e;
    return e;
}

/* When the successor is fetched: in the last third of the life, at a random moment of its first quarter, so that
   tokens which were obtained together are not renewed together, and a server may be away for a quarter of a one-hour
   token's life. */
static uint64_t early(uint64_t now, uint64_t lifetime)
{
    uint64_t margin = lifetime / 3 < EARLY_MAX ? lifetime / 3 : EARLY_MAX;
    uint64_t jitter = margin >= 4 ? randombytes_uniform((uint32_t)(margin / 4)) : 0;
    return now + lifetime - margin + jitter;
}

void token_entry_keep(struct entry *e, struct held_token *token)
{
    token_entry_drop(e);
    e->token = *token;
    *token = (struct held_token){0};
    e->used = false;
    e->serial = ++e->tokens->last_serial;
    /* An assertion that an application gave may be good for one use only. */
    e->refresh_at = e->inputs.assertion == NULL ? early(e->token.asked, e->token.expires - e->token.asked) : UINT64_MAX;
}
