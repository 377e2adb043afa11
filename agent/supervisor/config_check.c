/* See config_check.h. */
#include "config_check.h"

#include "oauth_value.h"
#include "uri.h"
#include "url.h"

#include <stdio.h>
#include <string.h>

static enum status at_line(const struct config *c, const struct config_entry *e, const char *text, const char *next,
                           struct error *err)
{
    char copy[384];
    (void)snprintf(copy, sizeof(copy), "%.*s", (int)sizeof(copy) - 1, text); /* room for path and line */
    return error_set(err, STATUS_CONFIGURATION, next, "%s:%u: %s: %s", c->path, e->line, e->option, copy);
}

static bool loopback_allowed(const struct config *c, const struct config_entry *e)
{
    if (strcmp(e->section, "key") == 0)
        return true; /* a key's origins are written for it alone: naming a loopback one is the permission */
    return config_profile(c, span_text(e->name))->allow_http_loopback;
}

static enum status check_url(const struct config *c, const struct config_entry *e, struct span text, struct error *err)
{
    struct url url;
    struct error wrong;
    if (url_parse(text, &url, &wrong) != STATUS_OK)
        return at_line(c, e, wrong.message, wrong.next, err);
    if (!url.https && !(url_is_loopback(text) && loopback_allowed(c, e)))
        return at_line(c, e, "plain http is refused",
                       "use https, or for a loopback address allow-http-loopback = yes in the profile", err);
    return STATUS_OK;
}

/* RFC 8414 section 2, OpenID Connect Discovery section 3. */
static enum status check_issuer(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (strpbrk(e->value, "?#@") != NULL)
        return at_line(c, e, "an issuer has no query, no fragment and no user name", NULL, err);
    return check_url(c, e, span_text(e->value), err);
}

/* An origin has no path: a longer URL there would look like a limit that nobody keeps. */
static enum status check_origin(const struct config *c, const struct config_entry *e, struct span word, struct error *err)
{
    struct url url;
    struct error wrong;
    enum status status = check_url(c, e, word, err);
    if (status != STATUS_OK)
        return status;
    if (url_parse(word, &url, &wrong) == STATUS_OK &&
        (url.path.len > 1 || url.query.data != NULL || memchr(word.data, '@', word.len) != NULL ||
         memchr(word.data, '#', word.len) != NULL))
        return at_line(c, e, "an origin is scheme, host and port only", "drop what stands behind the host", err);
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
    if (!oauth_resource_valid(span_text(e->value)))
        return at_line(c, e, "must be an absolute URI without a fragment (RFC 8707)", NULL, err);
    return STATUS_OK;
}

static enum status check_scope(const struct config *c, const struct config_entry *e, struct error *err)
{
    if (!oauth_scope_valid(span_text(e->value)))
        return at_line(c, e, "must be words with blanks between them, without quotes (RFC 6749 section 3.3)", NULL, err);
    return STATUS_OK;
}

/* What the agent sets itself may not come twice (RFC 6749 section 3.2). */
static enum status check_form(const struct config *c, const struct config_entry *e, struct error *err)
{
    static const char *const ours[] = {"grant_type", "scope", "resource", "client_id", "client_secret", "client_assertion",
                                       "client_assertion_type"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strncmp(e->value, ours[i], strlen(ours[i])) == 0 && e->value[strlen(ours[i])] == '=')
            return at_line(c, e, "this field is the agent's to set", "use the option that is there for it", err);
    return STATUS_OK;
}

enum status config_check(const struct config *c, struct error *err)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < c->entry_count && status == STATUS_OK; i++) {
        const struct config_entry *e = &c->entries[i];
        if (strcmp(e->option, "uri") == 0) {
            struct error wrong;
            if (uri_check(e->value, &wrong) != STATUS_OK)
                status = at_line(c, e, wrong.message, wrong.next, err);
        } else if (strcmp(e->option, "issuer") == 0) {
            status = check_issuer(c, e, err);
        } else if (strcmp(e->option, "token-endpoint") == 0) {
            status = check_url(c, e, span_text(e->value), err);
        } else if (strcmp(e->option, "origins") == 0) {
            status = check_origins(c, e, err);
        } else if (strcmp(e->option, "resource") == 0) {
            status = check_resource(c, e, err);
        } else if (strcmp(e->option, "scope") == 0) {
            status = check_scope(c, e, err);
        } else if (strcmp(e->option, "form") == 0) {
            status = check_form(c, e, err);
        }
    }
    return status;
}
