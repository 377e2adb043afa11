/* See metadata.h. */
#include "metadata.h"

#include "answer.h"
#include "children.h"
#include "log.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_FOR (3600 * UINT64_C(1000000))
#define WELL_KNOWN_OAUTH "/.well-known/oauth-authorization-server"
#define WELL_KNOWN_OPENID "/.well-known/openid-configuration"

struct waiter {
    struct waiter *next;
    metadata_done done;
    void *context;
};

struct entry {
    struct metadata *metadata;
    const struct profile_config *profile;
    char *token_endpoint; /* NULL: not known yet */
    uint64_t fetched;
    bool fetching;
    bool second_form; /* the RFC 8414 form has been tried */
    uint64_t deadline;
    struct waiter *waiters;
};

struct metadata {
    struct front *front;
    struct entry *entries; /* one for each profile */
};

static void fetch(struct entry *e);

int metadata_open(struct front *f)
{
    struct metadata *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return -1;
    f->metadata = m;
    m->front = f;
    m->entries = calloc(f->config->profile_count + 1, sizeof(*m->entries));
    if (m->entries == NULL)
        return -1;
    for (size_t i = 0; i < f->config->profile_count; i++)
        m->entries[i] = (struct entry){.metadata = m, .profile = &f->config->profiles[i]};
    return 0;
}

void metadata_free(struct metadata *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; m->entries != NULL && i < m->front->config->profile_count; i++) {
        struct entry *e = &m->entries[i];
        free(e->token_endpoint);
        while (e->waiters != NULL) {
            struct waiter *w = e->waiters;
            e->waiters = w->next;
            free(w);
        }
    }
    free(m->entries);
    free(m);
}

static void tell_waiters(struct entry *e, const struct error *err)
{
    struct waiter *waiters = e->waiters;
    e->waiters = NULL;
    e->fetching = false;
    while (waiters != NULL) {
        struct waiter *w = waiters;
        waiters = w->next;
        w->done(w->context, err, err == NULL ? e->token_endpoint : NULL);
        free(w);
    }
}

/* RFC 8414 section 3.1 puts the well-known part between host and path, OpenID Connect behind the path. */
static int well_known_url(const struct entry *e, char *out, size_t size)
{
    const char *issuer = e->profile->issuer;
    size_t len = strlen(issuer);
    size_t origin = (size_t)(strchr(strstr(issuer, "://") + 3, '/') != NULL ? strchr(strstr(issuer, "://") + 3, '/') - issuer
                                                                            : (ptrdiff_t)len);
    if (len > origin && issuer[len - 1] == '/')
        len--;
    int n = e->second_form ? snprintf(out, size, "%.*s%s", (int)len, issuer, WELL_KNOWN_OPENID)
                           : snprintf(out, size, "%.*s%s%.*s", (int)origin, issuer, WELL_KNOWN_OAUTH, (int)(len - origin),
                                      issuer + origin);
    return n > 0 && (size_t)n < size ? 0 : -1;
}

static bool lists_es256(const struct json_member *algorithms)
{
    struct span item;
    size_t cursor = 0;
    while (list_next(&algorithms->texts, &cursor, &item))
        if (span_is(item, "ES256"))
            return true;
    return false;
}

static enum status check(const struct entry *e, const struct fetch_answer *a, char **endpoint, struct error *err)
{
    const char *issuer = e->profile->issuer;
    struct span text = answer_text(a, "token_endpoint");
    struct json_member algorithms;
    struct url url;

    if (a->json_error.data != NULL)
        return error_set(err, STATUS_SERVER_MISBEHAVED, NULL, "profile \"%s\": the metadata of %s: %.*s", e->profile->name, issuer,
                         (int)a->json_error.len, (const char *)a->json_error.data);
    if (!span_is(answer_text(a, "issuer"), issuer))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "copy the issuer exactly, with or without its last slash",
                         "profile \"%s\": the metadata of %s name another issuer (RFC 8414 section 3.3)", e->profile->name, issuer);
    if (text.data == NULL || url_parse(text, &url, err) != STATUS_OK)
        return error_set(err, STATUS_SERVER_MISBEHAVED, "name it with token-endpoint",
                         "profile \"%s\": the metadata of %s have no usable token_endpoint", e->profile->name, issuer);
    if (!url.https && !(e->profile->allow_http_loopback && url_is_loopback(text)))
        return error_set(err, STATUS_INSECURE_URL, NULL, "profile \"%s\": the metadata of %s name a plain http token_endpoint",
                         e->profile->name, issuer);
    if (answer_member(a, "dpop_signing_alg_values_supported", &algorithms) && !lists_es256(&algorithms))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "this authorization server cannot be used with a P-256 key",
                         "profile \"%s\": %s does not list ES256 in dpop_signing_alg_values_supported", e->profile->name, issuer);
    *endpoint = span_dup(text);
    return *endpoint != NULL ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

static void give_up(struct entry *e, const struct error *err)
{
    if (e->token_endpoint != NULL) {
        log_warning("profile %s: its server's metadata cannot be renewed: %s", e->profile->name, err->message);
        e->fetched = front_now(e->metadata->front);
        tell_waiters(e, NULL);
        return;
    }
    tell_waiters(e, err);
}

static void on_fetched(void *context, const struct error *failure, struct span fields)
{
    struct entry *e = context;
    struct fetch_answer a;
    struct error err;
    char *endpoint;

    if (failure != NULL) {
        give_up(e, failure);
        return;
    }
    if (message_take(fields, &message_fetch_answer, &a, sizeof(a), &err) != STATUS_OK) {
        give_up(e, &err);
        return;
    }
    /* A server that does not know the first form may also answer it with a page of its own. */
    if (!e->second_form && a.http_status < 500 && (a.http_status != 200 || a.json_error.data != NULL)) {
        e->second_form = true;
        fetch(e);
        return;
    }
    if (a.http_status != 200) {
        (void)error_set(&err, a.http_status >= 500 ? STATUS_SERVER_UNAVAILABLE : STATUS_SERVER_MISBEHAVED,
                        "check issuer, or name the endpoint with token-endpoint",
                        "profile \"%s\": no metadata at %s: status %u", e->profile->name, e->profile->issuer, a.http_status);
        err.http_status = a.http_status;
        give_up(e, &err);
        return;
    }
    if (check(e, &a, &endpoint, &err) != STATUS_OK) {
        give_up(e, &err);
        return;
    }
    free(e->token_endpoint);
    e->token_endpoint = endpoint;
    e->fetched = front_now(e->metadata->front);
    tell_waiters(e, NULL);
}

static void fetch(struct entry *e)
{
    char url[URL_SIZE];
    struct error err;
    struct front *f = e->metadata->front;
    uint64_t now = front_now(f);
    if (well_known_url(e, url, sizeof(url)) != 0) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, NULL, "profile \"%s\": its issuer is too long", e->profile->name);
        give_up(e, &err);
        return;
    }
    struct fetch_request m = {.profile = span_text(e->profile->name),
                              .url = span_text(url),
                              .timeout = e->deadline > now ? (uint32_t)((e->deadline - now) / 1000) + 1 : 1};
    children_call(f->children, ROLE_NET, INTERNAL_FETCH, &message_fetch_request, &m, e->deadline + 1000000, on_fetched, e);
}

void metadata_get(struct metadata *m, const struct profile_config *profile, uint64_t deadline, metadata_done done, void *context)
{
    struct entry *e = &m->entries[profile - m->front->config->profiles];
    struct waiter *w;
    struct error err;
    if (profile->token_endpoint != NULL) {
        done(context, NULL, profile->token_endpoint);
        return;
    }
    if (e->token_endpoint != NULL && front_now(m->front) < e->fetched + KEPT_FOR) {
        done(context, NULL, e->token_endpoint);
        return;
    }
    if ((w = calloc(1, sizeof(*w))) == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL);
        return;
    }
    *w = (struct waiter){.next = e->waiters, .done = done, .context = context};
    e->waiters = w;
    if (e->fetching)
        return;
    e->fetching = true;
    e->second_form = false;
    e->deadline = deadline;
    fetch(e);
}

const char *metadata_token_endpoint(const struct metadata *m, const struct profile_config *profile)
{
    return profile->token_endpoint != NULL ? profile->token_endpoint : m->entries[profile - m->front->config->profiles].token_endpoint;
}
