/*
 * What kind of token is asked for: the cache's key. Two requests get the same token only if everything that the
 * authorization server sees is the same: endpoint, client, proof key, scope as a set, resources, audiences, authorization
 * details, extra form fields, subject token or assertion; and of a login only in the same profile.
 * Pure.
 */
#ifndef FRONT_TOKEN_KIND_H
#define FRONT_TOKEN_KIND_H

#include "config.h"
#include "messages.h"

#define TOKEN_KIND_SIZE 32

struct token_kind {
    uint8_t digest[TOKEN_KIND_SIZE];
};

/* `scope` absent and `resources` empty stand for the profile's own. */
void token_kind_of(const struct profile_config *profile, struct span scope, const struct list *resources,
                   struct token_kind *out);

/* Makes another kind of it: of the tokens that come for this subject token, actor token or assertion. */
void token_kind_add(struct token_kind *kind, struct span part);

#endif
