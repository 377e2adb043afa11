/* See held_token.h. */
#include "held_token.h"

#include <stdlib.h>
#include <time.h>

#define SECOND UINT64_C(1000000)

void held_token_drop(struct held_token *t)
{
    secret_free(t->access_token);
    free(t->scope);
    free(t->raw);
    *t = (struct held_token){0};
}

int held_token_take(struct held_token *t, const struct granted *g, uint64_t now)
{
    struct held_token new = {.access_token = secret_new(g->access_token),
                             .scope = g->scope.data != NULL ? span_dup(g->scope) : NULL,
                             .raw = g->raw.data != NULL ? span_dup(g->raw) : NULL,
                             .type = span_is(g->token_type, "Bearer") ? "Bearer" : "DPoP",
                             .asked = g->asked,
                             .expires = g->asked + g->lifetime * SECOND};
    if (new.access_token == NULL || (g->scope.data != NULL && new.scope == NULL) ||
        (g->raw.data != NULL && new.raw == NULL)) {
        held_token_drop(&new);
        return -1;
    }
    (void)!span_copy(span_text(g->jkt), new.jkt, sizeof(new.jkt));
    /* The exchange may have taken longer than the token lives: then the difference is negative. */
    new.expires_at = (int64_t)time(NULL) + ((int64_t)new.expires - (int64_t)now) / (int64_t)SECOND;
    held_token_drop(t);
    *t = new;
    return 0;
}

void taken_tokens_free(struct taken_token *first)
{
    while (first != NULL) {
        struct taken_token *t = first;
        first = t->next;
        held_token_drop(&t->token);
        free(t);
    }
}
