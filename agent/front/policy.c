/* See policy.h. */
#include "policy.h"

#include "url.h"

#include <stdlib.h>
#include <string.h>

#define NEXT_ORIGINS "name it in `origins` if it may have them, and reload"

struct policy {
    const struct config *config;
    struct strings *profiles; /* normalised origins, as many as the configuration has profiles */
    struct strings *keys;
};

static enum status normalise(const struct strings *in, struct strings *out, struct error *err)
{
    char origin[URL_ORIGIN_SIZE];
    out->items = calloc(in->count + 1, sizeof(*out->items));
    if (out->items == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    for (; out->count < in->count; out->count++) {
        enum status status = url_origin(span_text(in->items[out->count]), origin, sizeof(origin), err);
        if (status != STATUS_OK)
            return status;
        if ((out->items[out->count] = strdup(origin)) == NULL)
            return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    return STATUS_OK;
}

enum status policy_new(const struct config *config, struct policy **out, struct error *err)
{
    enum status status = STATUS_OK;
    struct policy *p = calloc(1, sizeof(*p));
    if (p != NULL) {
        p->config = config;
        p->profiles = calloc(config->profile_count + 1, sizeof(*p->profiles));
        p->keys = calloc(config->key_count + 1, sizeof(*p->keys));
    }
    if (p == NULL || p->profiles == NULL || p->keys == NULL)
        status = error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    for (size_t i = 0; i < config->profile_count && status == STATUS_OK; i++)
        status = normalise(&config->profiles[i].origins, &p->profiles[i], err);
    for (size_t i = 0; i < config->key_count && status == STATUS_OK; i++)
        status = normalise(&config->keys[i].origins, &p->keys[i], err);
    if (status == STATUS_OK)
        *out = p;
    else
        policy_free(p);
    return status;
}

static void free_lists(struct strings *lists, size_t count)
{
    for (size_t i = 0; lists != NULL && i < count; i++) {
        for (size_t j = 0; j < lists[i].count; j++)
            free(lists[i].items[j]);
        free(lists[i].items);
    }
    free(lists);
}

void policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    free_lists(p->profiles, p->config->profile_count);
    free_lists(p->keys, p->config->key_count);
    free(p);
}

static bool names(const struct strings *origins, const char *origin)
{
    for (size_t i = 0; i < origins->count; i++)
        if (strcmp(origins->items[i], origin) == 0)
            return true;
    return false;
}

/* `loopback`: plain http to it would be allowed, if only the origin were named. */
static enum status refuse(const char *what, const char *name, const char *origin, bool loopback, struct error *err)
{
    if (strncmp(origin, "http://", 7) == 0 && !(loopback && url_is_loopback(span_text(origin))))
        return error_set(err, STATUS_INSECURE_URL, "use https", "%s \"%s\": %s is plain http", what, name, origin);
    return error_set(err, STATUS_ORIGIN_REFUSED, NEXT_ORIGINS, "%s \"%s\" does not name the origin %s", what, name, origin);
}

enum status policy_profile(const struct policy *p, const struct profile_config *profile, const char *origin, struct error *err)
{
    if (names(&p->profiles[profile - p->config->profiles], origin))
        return STATUS_OK;
    return refuse("profile", profile->name, origin, profile->allow_http_loopback, err);
}

enum status policy_key(const struct policy *p, const struct key_config *key, const char *origin, struct error *err)
{
    if (names(&p->keys[key - p->config->keys], origin))
        return STATUS_OK;
    for (size_t i = 0; i < p->config->profile_count; i++)
        if (strcmp(p->config->profiles[i].key, key->name) == 0 && names(&p->profiles[i], origin))
            return STATUS_OK;
    return refuse("key", key->name, origin, true, err);
}
