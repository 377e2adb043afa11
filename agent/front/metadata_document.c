/* See metadata_document.h. */
#include "metadata_document.h"

#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERATOR "tell the authorization server's operator"

/* Every URL of a document that is used, and the option that counts before it. */
static const struct {
    const char *name;
    size_t at;         /* in struct server_metadata */
    size_t configured; /* in struct profile_config; 0: no option names it */
} endpoints[METADATA_ENDPOINTS] = {
#define ENDPOINT(member) {#member, offsetof(struct server_metadata, member), offsetof(struct profile_config, member)}
    ENDPOINT(token_endpoint),
    ENDPOINT(authorization_endpoint),
    ENDPOINT(pushed_authorization_request_endpoint),
    ENDPOINT(device_authorization_endpoint),
    ENDPOINT(revocation_endpoint),
    ENDPOINT(introspection_endpoint),
    {"registration_endpoint", offsetof(struct server_metadata, registration_endpoint), 0},
#undef ENDPOINT
};

static const struct {
    const char *name;
    size_t at;
} lists[] = {
    {"dpop_signing_alg_values_supported", offsetof(struct server_metadata, dpop_signing_alg_values)},
    {"code_challenge_methods_supported", offsetof(struct server_metadata, code_challenge_methods)},
    {"token_endpoint_auth_methods_supported", offsetof(struct server_metadata, token_endpoint_auth_methods)},
    {"token_endpoint_auth_signing_alg_values_supported",
     offsetof(struct server_metadata, token_endpoint_auth_signing_alg_values)},
    {"grant_types_supported", offsetof(struct server_metadata, grant_types)},
};
#define LISTS (sizeof(lists) / sizeof(lists[0]))

static char **endpoint_of(struct server_metadata *server, size_t i)
{
    return (char **)(void *)((char *)server + endpoints[i].at);
}

static struct strings *list_of(struct server_metadata *server, size_t i)
{
    return (struct strings *)(void *)((char *)server + lists[i].at);
}

static const char *configured_of(const struct profile_config *p, size_t i)
{
    if (p == NULL || endpoints[i].configured == 0)
        return NULL;
    return *(char *const *)(const void *)((const char *)p + endpoints[i].configured);
}

static bool has(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i], text) == 0)
            return true;
    return false;
}

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

/* --- memory --- */

static void free_strings(struct strings *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i]);
    free(s->items);
}

void metadata_document_free_server(struct server_metadata *server)
{
    free(server->issuer);
    free(server->date);
    for (size_t i = 0; i < METADATA_ENDPOINTS; i++)
        free(*endpoint_of(server, i));
    for (size_t i = 0; i < LISTS; i++)
        free_strings(list_of(server, i));
    *server = (struct server_metadata){.issuer = NULL};
}

void metadata_document_free(struct metadata_document *d)
{
    metadata_document_free_server(&d->server);
    for (size_t i = 0; i < METADATA_ENDPOINTS; i++)
        free(d->aliases[i]);
    *d = (struct metadata_document){.lists_dpop_algorithms = false};
}

static int copy_text(char **to, const char *from)
{
    if (from == NULL)
        return 0;
    free(*to);
    *to = strdup(from);
    return *to != NULL ? 0 : -1;
}

/* --- where it stands --- */

int metadata_document_url(enum metadata_form form, const char *subject, char out[URL_SIZE])
{
    const char *host = strstr(subject, "://");
    if (host == NULL)
        return -1;
    size_t origin = (size_t)(host + 3 - subject) + strcspn(host + 3, "/?");
    size_t len = strlen(subject);
    int n;
    if (form == METADATA_RESOURCE) {
        const char *rest = subject + origin; /* its last slash stays, unless it is the one behind the host */
        if (rest[0] == '/' && (rest[1] == '\0' || rest[1] == '?'))
            rest++;
        n = snprintf(out, URL_SIZE, "%.*s/.well-known/oauth-protected-resource%s", (int)origin, subject, rest);
    } else {
        if (len > origin && subject[len - 1] == '/')
            len--;
        n = form == METADATA_OAUTH
                ? snprintf(out, URL_SIZE, "%.*s/.well-known/oauth-authorization-server%.*s", (int)origin, subject,
                           (int)(len - origin), subject + origin)
                : snprintf(out, URL_SIZE, "%.*s/.well-known/openid-configuration", (int)len, subject);
    }
    return n > 0 && n <= URL_MAX ? 0 : -1;
}

/* --- what it says --- */

/* A member that must be a URL we may use, if it is there. */
static enum status read_url(const struct fetch_answer *a, const char *name, const char *of, bool allow_http_loopback, char **out,
                            struct error *err)
{
    struct json_member m;
    struct url url;
    struct error wrong;
    if (!answer_member(a, name, &m) || m.kind == JSON_KIND_NULL)
        return STATUS_OK;
    if (m.kind != JSON_KIND_TEXT)
        return error_set(err, STATUS_SERVER_MISBEHAVED, OPERATOR, "the metadata of %s have a %s that is no text", of, name);
    if (url_parse(m.text, &url, &wrong) != STATUS_OK)
        return error_set(err, STATUS_SERVER_MISBEHAVED, OPERATOR, "the metadata of %s have no usable %s: %s", of, name,
                         wrong.message);
    if (!url.https && !(allow_http_loopback && url_is_loopback(m.text)))
        return error_set(err, STATUS_INSECURE_URL, "it must be https; for tests see allow-http-loopback",
                         "the metadata of %s name a plain http %s", of, name);
    *out = span_dup(m.text);
    return *out != NULL ? STATUS_OK : no_memory(err);
}

static enum status read_list(const struct fetch_answer *a, const char *name, const char *of, struct strings *out, struct error *err)
{
    struct json_member m;
    struct span item;
    size_t cursor = 0;
    if (!answer_member(a, name, &m) || m.kind == JSON_KIND_NULL)
        return STATUS_OK;
    if (m.kind != JSON_KIND_TEXTS)
        return error_set(err, STATUS_SERVER_MISBEHAVED, OPERATOR, "the metadata of %s have a %s that is no list of texts", of,
                         name);
    out->items = calloc(m.texts.count + 1, sizeof(*out->items));
    if (out->items == NULL)
        return no_memory(err);
    while (list_next(&m.texts, &cursor, &item) && (out->items[out->count] = span_dup(item)) != NULL)
        out->count++;
    return out->count == m.texts.count ? STATUS_OK : no_memory(err);
}

static bool is_true(const struct fetch_answer *a, const char *name)
{
    struct json_member m;
    return answer_member(a, name, &m) && m.kind == JSON_KIND_TRUE;
}

static enum status read_members(const struct fetch_answer *a, const char *issuer, bool allow_http_loopback,
                                struct metadata_document *d, struct error *err)
{
    char alias[96];
    struct json_member m;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < METADATA_ENDPOINTS && status == STATUS_OK; i++) {
        status = read_url(a, endpoints[i].name, issuer, allow_http_loopback, endpoint_of(&d->server, i), err);
        (void)snprintf(alias, sizeof(alias), "mtls_endpoint_aliases.%s", endpoints[i].name);
        if (status == STATUS_OK)
            status = read_url(a, alias, issuer, allow_http_loopback, &d->aliases[i], err);
    }
    for (size_t i = 0; i < LISTS && status == STATUS_OK; i++)
        status = read_list(a, lists[i].name, issuer, list_of(&d->server, i), err);
    if (status != STATUS_OK)
        return status;
    d->server.discovered = true;
    d->server.require_pushed_authorization_requests = is_true(a, "require_pushed_authorization_requests");
    d->server.authorization_response_iss_parameter_supported = is_true(a, "authorization_response_iss_parameter_supported");
    d->lists_dpop_algorithms = answer_member(a, "dpop_signing_alg_values_supported", &m) && m.kind == JSON_KIND_TEXTS;
    d->server.issuer = strdup(issuer);
    d->server.date = a->date.data != NULL ? span_dup(a->date) : NULL;
    return d->server.issuer != NULL && (a->date.data == NULL || d->server.date != NULL) ? STATUS_OK : no_memory(err);
}

static enum status no_json(const struct fetch_answer *a, const char *what, const char *of, struct error *err)
{
    return error_set(err, STATUS_SERVER_MISBEHAVED, "check that it is the right URL", "the %s of %s: %.*s", what, of,
                     (int)a->json_error.len, (const char *)a->json_error.data);
}

enum status metadata_document_read(const struct fetch_answer *a, const char *issuer, bool allow_http_loopback,
                                   struct metadata_document *out, struct error *err)
{
    if (a->json_error.data != NULL)
        return no_json(a, "metadata", issuer, err);
    struct span named = answer_text(a, "issuer");
    if (!span_is(named, issuer))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "copy the issuer exactly, with or without its last slash",
                         "the metadata of %s name another issuer, \"%.*s\" (RFC 8414 section 3.3)", issuer,
                         named.len < 200 ? (int)named.len : 200, named.data != NULL ? (const char *)named.data : "");
    enum status status = read_members(a, issuer, allow_http_loopback, out, err);
    if (status != STATUS_OK)
        metadata_document_free(out);
    return status;
}

/* As a configured issuer would be checked (supervisor/value_check.c). */
static enum status check_issuer(struct span issuer, const char *resource, bool allow_http_loopback, struct error *err)
{
    struct url url;
    struct error wrong;
    if (url_parse(issuer, &url, &wrong) != STATUS_OK || memchr(issuer.data, '?', issuer.len) != NULL ||
        memchr(issuer.data, '#', issuer.len) != NULL || memchr(issuer.data, '@', issuer.len) != NULL)
        return error_set(err, STATUS_SERVER_MISBEHAVED, "name the issuer in the profile",
                         "the resource metadata of %s name an authorization server that is no issuer's URL", resource);
    if (!url.https && !(allow_http_loopback && url_is_loopback(issuer)))
        return error_set(err, STATUS_INSECURE_URL, "name the issuer in the profile",
                         "the resource metadata of %s name a plain http authorization server", resource);
    return STATUS_OK;
}

enum status metadata_document_read_resource(const struct fetch_answer *a, const char *resource, bool allow_http_loopback,
                                            struct metadata_document *out, struct error *err)
{
    struct json_member servers;
    struct span issuer, named;
    size_t cursor = 0;
    if (a->json_error.data != NULL)
        return no_json(a, "resource metadata", resource, err);
    named = answer_text(a, "resource");
    if (!span_is(named, resource))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "name the resource exactly as its metadata do, or name the issuer",
                         "the resource metadata of %s are of another resource, \"%.*s\" (RFC 9728 section 3.3)", resource,
                         named.len < 200 ? (int)named.len : 200, named.data != NULL ? (const char *)named.data : "");
    if (!answer_member(a, "authorization_servers", &servers) || servers.kind != JSON_KIND_TEXTS ||
        !list_next(&servers.texts, &cursor, &issuer))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "name the issuer in the profile",
                         "the resource metadata of %s name no authorization server (RFC 9728 section 2)", resource);
    enum status status = check_issuer(issuer, resource, allow_http_loopback, err);
    if (status != STATUS_OK)
        return status;
    out->server.issuer = span_dup(issuer);
    return out->server.issuer != NULL ? STATUS_OK : no_memory(err);
}

/* --- what a profile makes of it --- */

static int copy_server(const struct metadata_document *d, const struct profile_config *p, struct server_metadata *out)
{
    struct server_metadata *from = (struct server_metadata *)(uintptr_t)&d->server; /* only read */
    out->discovered = true;
    out->require_pushed_authorization_requests = from->require_pushed_authorization_requests;
    out->authorization_response_iss_parameter_supported = from->authorization_response_iss_parameter_supported;
    if (copy_text(&out->issuer, from->issuer) != 0 || copy_text(&out->date, from->date) != 0)
        return -1;
    for (size_t i = 0; i < METADATA_ENDPOINTS; i++) {
        bool aliased = p != NULL && config_has_tls_client(p) && d->aliases[i] != NULL;
        if (copy_text(endpoint_of(out, i), aliased ? d->aliases[i] : *endpoint_of(from, i)) != 0)
            return -1;
    }
    for (size_t i = 0; i < LISTS; i++) {
        const struct strings *all = list_of(from, i);
        struct strings *copy = list_of(out, i);
        if (all->count > 0 && (copy->items = calloc(all->count, sizeof(*copy->items))) == NULL)
            return -1;
        for (; copy->count < all->count; copy->count++)
            if ((copy->items[copy->count] = strdup(all->items[copy->count])) == NULL)
                return -1;
    }
    return 0;
}

enum status metadata_document_use(const struct metadata_document *d, const struct profile_config *p, struct server_metadata *out,
                                  struct error *err)
{
    int failed = d != NULL ? copy_server(d, p, out) : copy_text(&out->issuer, p->issuer);
    for (size_t i = 0; i < METADATA_ENDPOINTS && failed == 0; i++)
        failed = copy_text(endpoint_of(out, i), configured_of(p, i));
    if (failed == 0)
        return STATUS_OK;
    metadata_document_free_server(out);
    return no_memory(err);
}

static enum status weaker(const struct metadata_document *d, struct error *err, const char *what)
{
    return error_set(err, STATUS_SERVER_MISBEHAVED, "this server does not offer the FAPI 2.0 Security Profile; or set fapi2 = no",
                     "fapi2: %s %s", d->server.issuer, what);
}

/* FAPI 2.0 Security Profile, final, sections 5.3.2 and 5.3.3. */
static enum status judge_fapi2(const struct metadata_document *d, const struct profile_config *p, struct error *err)
{
    const struct server_metadata *s = &d->server;
    char text[160];
    if (!has(&s->token_endpoint_auth_methods, config_client_authentication_name(p->client_authentication))) {
        (void)snprintf(text, sizeof(text), "does not list %s in token_endpoint_auth_methods_supported",
                       config_client_authentication_name(p->client_authentication));
        return weaker(d, err, text);
    }
    if (p->client_authentication == PRIVATE_KEY_JWT && s->token_endpoint_auth_signing_alg_values.count > 0 &&
        !has(&s->token_endpoint_auth_signing_alg_values, "ES256"))
        return weaker(d, err, "does not list ES256 in token_endpoint_auth_signing_alg_values_supported");
    if (p->grant != GRANT_AUTHORIZATION_CODE)
        return STATUS_OK;
    if (s->pushed_authorization_request_endpoint == NULL)
        return weaker(d, err, "has no pushed_authorization_request_endpoint (PAR, RFC 9126)");
    if (!has(&s->code_challenge_methods, "S256"))
        return weaker(d, err, "does not list S256 in code_challenge_methods_supported (PKCE)");
    if (!s->authorization_response_iss_parameter_supported)
        return weaker(d, err, "does not say authorization_response_iss_parameter_supported (RFC 9207)");
    return STATUS_OK;
}

enum status metadata_document_judge(const struct metadata_document *d, const struct profile_config *p, struct error *err)
{
    bool must_speak_dpop = p == NULL || p->dpop != DPOP_OPTIONAL;
    if (d->server.token_endpoint == NULL && (p == NULL || p->token_endpoint == NULL))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "name it with token-endpoint",
                         "the metadata of %s have no usable token_endpoint", d->server.issuer);
    if (must_speak_dpop && d->lists_dpop_algorithms && !has(&d->server.dpop_signing_alg_values, "ES256"))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "this authorization server cannot be used with a P-256 key",
                         "%s does not list ES256 in dpop_signing_alg_values_supported", d->server.issuer);
    return p != NULL && p->fapi2 ? judge_fapi2(d, p, err) : STATUS_OK;
}
