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

static void add_strings(crypto_generichash_state *h, const struct strings *s)
{
    for (size_t i = 0; i < s->count; i++)
        add(h, span_text(s->items[i]));
    add(h, span_text(NULL));
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
    add(&h, span_text(config_needs_login(profile) ? profile->name : NULL));
    add(&h, span_text(config_dpop_name(profile->dpop)));
    add_strings(&h, &profile->form);
    add_strings(&h, &profile->audiences);
    const char *texts[] = {profile->authorization_details, profile->subject_token_profile, profile->subject_token_file,
                           profile->subject_token_type, profile->actor_token_file, profile->actor_token_type,
                           profile->requested_token_type, profile->assertion_file, profile->assertion_key,
                           profile->assertion_issuer, profile->assertion_subject, profile->assertion_audience};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        add(&h, span_text(texts[i]));
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

void token_kind_add(struct token_kind *kind, struct span part)
{
    crypto_generichash_state h;
    (void)crypto_generichash_init(&h, NULL, 0, sizeof(kind->digest));
    add(&h, span_of(kind->digest, sizeof(kind->digest)));
    add(&h, part);
    (void)crypto_generichash_final(&h, kind->digest, sizeof(kind->digest));
}
