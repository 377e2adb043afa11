/* See key_use.h. */
#include "key_use.h"

#include <string.h>

static bool is(const char *name, const char *key)
{
    return name != NULL && strcmp(name, key) == 0;
}

bool key_use_authenticates(const struct profile_config *p, const char *key)
{
    bool client = (p->client_authentication == PRIVATE_KEY_JWT || config_has_tls_client(p)) && is(p->client_key, key);
    bool asserts = p->grant == GRANT_JWT_BEARER && p->assertion_subject != NULL;
    const char *assertion_key = p->assertion_key != NULL ? p->assertion_key
                                : p->client_key != NULL  ? p->client_key
                                                         : p->key;
    return client || (asserts && is(assertion_key, key));
}

bool key_use_any(const struct profile_config *p, const char *key)
{
    return is(p->key, key) || key_use_authenticates(p, key);
}

bool key_use_provable(const struct config *config, const struct profile_config *p)
{
    /* A chain of exchanges has an end: config_check has seen to that. */
    while (p != NULL && p->grant == GRANT_TOKEN_EXCHANGE && p->subject_token_profile != NULL)
        p = config_profile(config, span_text(p->subject_token_profile));
    if (p == NULL)
        return false;
    switch (p->grant) {
    case GRANT_CLIENT_CREDENTIALS:
        return true;
    case GRANT_TOKEN_EXCHANGE:
        return p->subject_token_file != NULL;
    case GRANT_JWT_BEARER:
        return p->assertion_subject != NULL || p->assertion_file != NULL;
    default:
        return false;
    }
}
