/* See value_check.h. */
#include "value_check.h"

#include "form_check.h"
#include "mistake.h"
#include "oauth_value.h"
#include "uri.h"
#include "url.h"

#include <string.h>

#define THUMBPRINT_LENGTH 43 /* SHA-256 in base64url (RFC 7638) */
#define LIMIT_REDIRECT_URI 1024

static bool loopback_allowed(const struct config *c, const struct config_entry *e)
{
    if (strcmp(e->section, "key") == 0)
        return true; /* a key's origins are written for it alone: naming a loopback one is the permission */
    return config_profile(c, span_text(e->name))->allow_http_loopback;
}

enum status value_check_url(const struct config *c, const struct config_entry *e, struct span text, struct error *err)
{
    struct url url;
    struct error wrong;
    if (url_parse(text, &url, &wrong) != STATUS_OK)
        return mistake_at(c, e, err, wrong.next[0] != '\0' ? wrong.next : "write https://host/path", "%s", wrong.message);
    if (!url.https && !(url_is_loopback(text) && loopback_allowed(c, e)))
        return mistake_at(c, e, err, "use https, or for a loopback address allow-http-loopback = yes in the profile",
                          "plain http is refused");
    return STATUS_OK;
}

static enum status check_uri(const struct config *c, const struct config_entry *e, struct error *err)
{
    struct error wrong;
    if (uri_check(e->value, &wrong) == STATUS_OK)
        return STATUS_OK;
    return mistake_at(c, e, err, wrong.next[0] != '\0' ? wrong.next : "dpop-agent.conf(5) has an example", "%s", wrong.message);
}

static enum status check_thumbprint(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (strlen(e->value) == THUMBPRINT_LENGTH)
        return STATUS_OK;
    return mistake_at(c, e, err, "copy it from dpop key show", "wants the %d characters that dpop key show prints",
                      THUMBPRINT_LENGTH);
}

static enum status check_environment(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (strchr(e->value, '=') != NULL && e->value[0] != '=')
        return STATUS_OK;
    return mistake_at(c, e, err, "write environment = NAME=value", "wants NAME=value");
}

/* RFC 8414 section 2, OpenID Connect Discovery section 3. */
static enum status check_issuer(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (strpbrk(e->value, "?#@") != NULL)
        return mistake_at(c, e, err, "write it as the server's metadata name it",
                          "an issuer has no query, no fragment and no user name");
    return value_check_url(c, e, span_text(e->value), err);
}

/* RFC 6749 sections 3.1 and 3.2. */
static enum status check_endpoint(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (strchr(e->value, '#') != NULL)
        return mistake_at(c, e, err, "drop what stands behind #", "an endpoint has no fragment");
    return value_check_url(c, e, span_text(e->value), err);
}

/* An origin has no path: a longer URL there would look like a limit that nobody keeps. */
static enum status check_origin(const struct config *c, const struct config_entry *e, struct span word, struct error *err)
{
    struct url url;
    struct error wrong;
    enum status status = value_check_url(c, e, word, err);
    if (status != STATUS_OK)
        return status;
    if (url_parse(word, &url, &wrong) == STATUS_OK &&
        (url.path.len > 1 || url.query.data != NULL || memchr(word.data, '@', word.len) != NULL ||
         memchr(word.data, '#', word.len) != NULL))
        return mistake_at(c, e, err, "drop what stands behind the host", "an origin is scheme, host and port only");
    return STATUS_OK;
}

static enum status check_origins(const struct config *c, const struct config_entry *e, struct error *err)
{
    enum status status = STATUS_OK;
    const char *p = e->value;
    while (*p != '\0' && status == STATUS_OK) {
        size_t n = strcspn(p, " \t");
        if (n > 0)
            status = check_origin(c, e, span_of(p, n), err);
        p += n;
        p += strspn(p, " \t");
    }
    return status;
}

static enum status check_resource(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (oauth_resource_valid(span_text(e->value)))
        return STATUS_OK;
    return mistake_at(c, e, err, "write https://host/path", "must be an absolute URI without a fragment (RFC 8707)");
}

/* RFC 8693 section 3. */
static enum status check_token_type(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (oauth_resource_valid(span_text(e->value)))
        return STATUS_OK;
    return mistake_at(c, e, err, "write for example urn:ietf:params:oauth:token-type:access_token",
                      "must be an absolute URI (RFC 8693 section 3)");
}

static enum status check_scope(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (oauth_scope_valid(span_text(e->value)))
        return STATUS_OK;
    return mistake_at(c, e, err, "write scope = read write",
                      "must be words with blanks between them, without quotes (RFC 6749 section 3.3)");
}

/* RFC 8252 section 7.3; localhost besides, because servers ask for it. The net process listens there. Port 0, which no URL
   has, is written like none at all: an ephemeral one. */
static enum status check_redirect_uri(const struct config *c, const struct config_entry *e, struct error *err)
{
    static const char *const hosts[] = {"http://127.0.0.1", "http://[::1]", "http://localhost"};
    const char *rest = NULL;
    char without_port[LIMIT_REDIRECT_URI];
    struct url url;
    struct error wrong;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]) && rest == NULL; i++)
        if (strncmp(e->value, hosts[i], strlen(hosts[i])) == 0)
            rest = e->value + strlen(hosts[i]);
    if (rest == NULL || (*rest != '\0' && *rest != ':' && *rest != '/'))
        return mistake_at(c, e, err, "write redirect-uri = http://127.0.0.1/callback",
                          "the browser comes back to this machine: http to 127.0.0.1, [::1] or localhost (RFC 8252 section 7.3)");
    if (strpbrk(rest, "?#") != NULL)
        return mistake_at(c, e, err, "drop what stands behind the path", "has no query and no fragment");
    bool port_0 = strncmp(rest, ":0", 2) == 0 && (rest[2] == '\0' || rest[2] == '/');
    size_t host = (size_t)(rest - e->value);
    if (strlen(e->value) >= sizeof(without_port))
        return mistake_at(c, e, err, "write redirect-uri = http://127.0.0.1/callback", "is longer than %d bytes",
                          LIMIT_REDIRECT_URI - 1);
    memcpy(without_port, e->value, host);
    strcpy(without_port + host, rest + (port_0 ? 2 : 0));
    if (url_parse(span_text(without_port), &url, &wrong) != STATUS_OK)
        return mistake_at(c, e, err, "write redirect-uri = http://127.0.0.1/callback", "%s", wrong.message);
    return STATUS_OK;
}

/* The supervisor has no JSON parser, and wants none: the server judges what is inside the brackets (RFC 9396 section 2). */
static enum status check_details(const struct config *c, const struct config_entry *e, struct error *err)
{
    size_t length = strlen(e->value);
    if (length >= 2 && e->value[0] == '[' && e->value[length - 1] == ']')
        return STATUS_OK;
    return mistake_at(c, e, err, "write [{\"type\": \"…\"}]", "must be a JSON array (RFC 9396 section 2)");
}

/* What is written must not be what is read: a trace would end up in a certificate file, or in the configuration. */
static enum status check_trace_file(const struct config *c, const struct config_entry *e, struct error *err)
{
    bool used = strcmp(e->value, c->path) == 0;
    for (size_t i = 0; i < c->entry_count && !used; i++) {
        const struct config_entry *other = &c->entries[i];
        used = strcmp(other->option, e->option) != 0 && strcmp(other->value, e->value) == 0;
    }
    if (!used)
        return STATUS_OK;
    return mistake_at(c, e, err, "name a file of its own", "%.200s has another use in this configuration", e->value);
}

enum status value_check(const struct config *c, const struct config_entry *e, struct error *err)
{
    static const struct {
        const char *option;
        enum status (*check)(const struct config *c, const struct config_entry *e, struct error *err);
    } checks[] = {{"uri", check_uri},
                  {"thumbprint", check_thumbprint},
                  {"environment", check_environment},
                  {"issuer", check_issuer},
                  {"token-endpoint", check_endpoint},
                  {"authorization-endpoint", check_endpoint},
                  {"pushed-authorization-request-endpoint", check_endpoint},
                  {"device-authorization-endpoint", check_endpoint},
                  {"revocation-endpoint", check_endpoint},
                  {"introspection-endpoint", check_endpoint},
                  {"origins", check_origins},
                  {"resource", check_resource},
                  {"scope", check_scope},
                  {"authorization-details", check_details},
                  {"redirect-uri", check_redirect_uri},
                  {"subject-token-type", check_token_type},
                  {"actor-token-type", check_token_type},
                  {"requested-token-type", check_token_type},
                  {"trace-file", check_trace_file}};
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        if (strcmp(e->option, checks[i].option) == 0)
            return checks[i].check(c, e, err);
    return form_check(c, e, err);
}
