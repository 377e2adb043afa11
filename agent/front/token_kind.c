/* See token_kind.h. */
#include "token_kind.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 512 /* scope values that are sorted; what comes behind counts in its order */

/* Each part is preceded by its length, so that no two lists of parts run into the same bytes. */
static void add(crypto_generichash_state *h, struct span part)
{
    uint64_t len = part.data != NULL ? (uint64_t)part.len : UINT64_MAX;
    (void)crypto_generichash_update(h, (const unsigned char *)&len, sizeof(len));
    (void)crypto_generichash_update(h, part.data, part.len);
}

static int compare(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    int r = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return r != 0 ? r : (x->len > y->len) - (x->len < y->len);
}

static void add_scope(crypto_generichash_state *h, struct span scope)
{
    struct span words[MAX_WORDS];
    size_t count = 0, i = 0;
    while (i < scope.len && count < MAX_WORDS) {
        size_t begin = i;
        while (i < scope.len && scope.data[i] != ' ')
            i++;
        if (i > begin)
            words[count++] = span_of(scope.data + begin, i - begin);
        i += i < scope.len;
    }
    qsort(words, count, sizeof(words[0]), compare);
    for (size_t w = 0; w < count; w++)
        if (w == 0 || !span_equal(words[w], words[w - 1]))
            add(h, words[w]);
    add(h, span_of(scope.data + i, scope.len - i));
}

void token_kind_of(const struct profile_config *profile, struct span scope, const struct list *resources, struct token_kind *out)
{
    crypto_generichash_state h;
    struct span item;
    size_t cursor = 0;
    (void)crypto_generichash_init(&h, NULL, 0, sizeof(out->digest));
    add(&h, span_text(profile->issuer));
    add(&h, span_text(profile->token_endpoint));
    add(&h, span_text(profile->client_id));
    add(&h, span_text(config_client_authentication_name(profile->client_authentication)));
    add(&h, span_text(profile->client_key));
    add(&h, span_text(config_grant_name(profile->grant)));
    add(&h, span_text(profile->key));
    for (size_t i = 0; i < profile->form.count; i++)
        add(&h, span_text(profile->form.items[i]));
    add(&h, span_text(NULL));
    if (resources->count > 0)
        while (list_next(resources, &cursor, &item))
            add(&h, item);
    else
        for (size_t i = 0; i < profile->resources.count; i++)
            add(&h, span_text(profile->resources.items[i]));
    add(&h, span_text(NULL));
    scope = scope.data != NULL ? scope : span_text(profile->scope);
    add_scope(&h, scope.data != NULL ? scope : span_of("", 0));
    (void)crypto_generichash_final(&h, out->digest, sizeof(out->digest));
}
