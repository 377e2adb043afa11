/* See request.h. */
#include "request.h"

#include "credentials.h"
#include "form.h"
#include "form_fields.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_LINE_MAX (4 * CREDENTIALS_SECRET_MAX + 8 * LIMIT_URL + LIMIT_PROOF + LIMIT_ASSERTION) /* every line fits */
#define BODY_MAX (INTERNAL_FRAME_MAX + HEADER_LINE_MAX + 3 * 3 * LIMIT_ASSERTION)

bool request_is_post(const struct request *r)
{
    return r->body_kind != SESSION_NO_BODY;
}

static enum status no_memory(const struct request *r, struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "%s: out of memory", r->label);
}

/* The URL is built anew from what was checked: userinfo and fragment are not in it. */
static enum status take_url(struct request *r, struct span text, struct error *err)
{
    char origin[URL_ORIGIN_SIZE];
    struct url url;

    enum status status = url_parse(text, &url, err);
    if (status != STATUS_OK)
        return status;
    if (!url.https && !(r->allow_http_loopback && url_is_loopback(text)))
        return error_set(err, STATUS_INSECURE_URL,
                         "use https; for tests, allow-http-loopback = yes allows http to 127.0.0.1, ::1 and localhost",
                         "plain http to %s is refused", url.host);
    (void)url_write_origin(&url, origin);
    bool has_query = url.query.data != NULL;
    int n = snprintf(r->url, sizeof(r->url), "%s%.*s%s%.*s", origin, (int)url.path.len,
                     url.path.data != NULL ? (const char *)url.path.data : "", has_query ? "?" : "", (int)url.query.len,
                     has_query ? (const char *)url.query.data : "");
    if (n < 0 || (size_t)n >= sizeof(r->url))
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the URL is too long");
    r->https = url.https;
    (void)snprintf(r->host, sizeof(r->host), "%s", url.host);
    (void)snprintf(r->host_header, sizeof(r->host_header), "%s", origin + strlen(url.https ? "https://" : "http://"));
    size_t shown = strcspn(r->url, "?");
    (void)snprintf(r->label, sizeof(r->label), "%s %.*s", request_is_post(r) ? "POST" : "GET",
                   shown < REQUEST_URL_SHOWN ? (int)shown : REQUEST_URL_SHOWN, r->url);
    return STATUS_OK;
}

/* libcurl copies the line. */
static enum status add_line(struct request *r, const char *name, struct span value, struct error *err)
{
    struct buffer line;
    buffer_init(&line, HEADER_LINE_MAX);
    buffer_put_text(&line, name);
    buffer_put(&line, value.data, value.len);
    buffer_put(&line, "", 1);
    struct curl_slist *lines = line.failed ? NULL : curl_slist_append(r->lines, (const char *)buffer_span(&line).data);
    buffer_free(&line);
    if (lines == NULL)
        return no_memory(r, err);
    r->lines = lines;
    return STATUS_OK;
}

static enum status add_basic(struct request *r, struct span id, struct span secret, struct error *err)
{
    struct buffer value;
    buffer_init(&value, HEADER_LINE_MAX);
    credentials_put_basic(&value, id, secret);
    enum status status =
        value.failed ? no_memory(r, err) : add_line(r, "Authorization: ", buffer_span(&value), err);
    buffer_free(&value);
    return status;
}

static enum status authenticate(struct request *r, struct error *err)
{
    const struct profile_config *p = r->profile;
    char what[LIMIT_NAME + 32];

    if (p != NULL && p->client_authentication != CLIENT_SECRET_BASIC && p->client_authentication != CLIENT_SECRET_POST)
        return STATUS_OK;
    if (p == NULL || r->body_kind != SESSION_FORM || p->client_id == NULL)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: a client secret goes with a form and a client-id only",
                         r->label);
    (void)snprintf(what, sizeof(what), "client secret of profile %s", p->name);
    enum status status = secret_read(p->client_secret_file, p->client_secret_credential, what, CREDENTIALS_SECRET_MAX,
                                     &r->client_secret, err);
    if (status != STATUS_OK)
        return status;
    if (p->client_authentication == CLIENT_SECRET_BASIC)
        return add_basic(r, span_text(p->client_id), secret_span(r->client_secret), err);
    credentials_put_post(&r->body, span_text(p->client_id), secret_span(r->client_secret));
    return r->body.failed ? no_memory(r, err) : STATUS_OK;
}

static enum status add_token_file(struct request *r, const char *parameter, const char *file, struct error *err)
{
    char what[LIMIT_NAME + 48];
    struct secret *token = NULL;

    if (file == NULL || form_fields_has(buffer_span(&r->body), parameter))
        return STATUS_OK;
    (void)snprintf(what, sizeof(what), "%s of profile %s", parameter, r->profile_name);
    enum status status = secret_read(file, NULL, what, LIMIT_ASSERTION, &token, err);
    if (status != STATUS_OK)
        return status;
    form_put(&r->body, parameter, secret_span(token));
    secret_free(token);
    return r->body.failed ? no_memory(r, err) : STATUS_OK;
}

static enum status add_token_files(struct request *r, struct error *err)
{
    const struct profile_config *p = r->profile;
    if (p == NULL || r->body_kind != SESSION_FORM)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: a profile's token files go with a form only", r->label);
    enum status status = add_token_file(r, "subject_token", p->subject_token_file, err);
    if (status == STATUS_OK)
        status = add_token_file(r, "actor_token", p->actor_token_file, err);
    if (status == STATUS_OK)
        status = add_token_file(r, "assertion", p->assertion_file, err);
    return status;
}

/* b64token of RFC 6750 section 2.1. */
static enum status add_bearer(struct request *r, struct span token, bool authenticated, struct error *err)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
    struct buffer value;

    if (authenticated)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: a bearer token and a client secret", r->label);
    for (size_t i = 0; i < token.len; i++)
        if (token.data[i] == '\0' || strchr(allowed, token.data[i]) == NULL)
            return error_set(err, STATUS_INVALID_ARGUMENT, "copy it as the server gave it",
                             "%s: the bearer token has characters that no token has", r->label);
    if (token.len == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s: the bearer token is empty", r->label);
    buffer_init(&value, LIMIT_ASSERTION + sizeof("Bearer "));
    buffer_put_text(&value, "Bearer ");
    buffer_put(&value, token.data, token.len);
    enum status status =
        value.failed ? no_memory(r, err) : add_line(r, "Authorization: ", buffer_span(&value), err);
    buffer_free(&value);
    return status;
}

static enum status add_lines(struct request *r, const struct fetch_request *fetch, struct error *err)
{
    enum status status = add_line(r, "Accept: ", span_text("application/json"), err);
    if (status == STATUS_OK)
        status = add_line(r, "Expect:", span_text(""), err);
    if (status == STATUS_OK && request_is_post(r))
        status = add_line(r, "Content-Type: ", span_text(r->body_kind == SESSION_FORM
                                                             ? "application/x-www-form-urlencoded"
                                                             : "application/json"), err);
    if (status == STATUS_OK && fetch->dpop.data != NULL)
        status = add_line(r, "DPoP: ", fetch->dpop, err);
    if (status == STATUS_OK && fetch->bearer.data != NULL)
        status = add_bearer(r, fetch->bearer, r->client_secret != NULL, err);
    return status;
}

/* Whose request it is: the limits of a profile, or those that the request brings. */
static enum status take_limits(struct request *r, const struct config *config, const struct fetch_request *fetch,
                               struct error *err)
{
    r->profile_name = "";
    r->allow_http_loopback = fetch->allow_http_loopback;
    struct span ca_file = fetch->ca_file;
    if (fetch->profile.data != NULL) {
        r->profile = config_profile(config, fetch->profile);
        if (r->profile == NULL)
            return error_set(err, STATUS_UNKNOWN_PROFILE, NULL, "no profile of that name is configured");
        r->profile_name = r->profile->name;
        r->allow_http_loopback = r->profile->allow_http_loopback;
        ca_file = span_text(r->profile->ca_file);
    }
    if (ca_file.data == NULL)
        return STATUS_OK;
    r->ca_file = span_dup(ca_file);
    return r->ca_file != NULL ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

enum status request_make(const struct config *config, const struct fetch_request *fetch, struct request *out,
                         struct error *err)
{
    struct request *r = out;
    struct span body = fetch->form.data != NULL ? fetch->form : fetch->json;

    *r = (struct request){.body_kind = fetch->form.data != NULL   ? SESSION_FORM
                                       : fetch->json.data != NULL ? SESSION_JSON
                                                                  : SESSION_NO_BODY};
    buffer_init(&r->body, BODY_MAX);
    enum status status = take_limits(r, config, fetch, err);
    if (status == STATUS_OK)
        status = take_url(r, fetch->url, err);
    if (status != STATUS_OK)
        return status;
    if (fetch->timeout == 0 || (fetch->form.data != NULL && fetch->json.data != NULL))
        return error_set(err, STATUS_INTERNAL, NULL, "%s: a fetch without a timeout, or with two bodies", r->label);
    buffer_put(&r->body, body.data, body.len);
    if (fetch->token_files)
        status = add_token_files(r, err);
    if (status == STATUS_OK && fetch->authenticate)
        status = authenticate(r, err);
    if (status == STATUS_OK)
        status = add_lines(r, fetch, err);
    return status == STATUS_OK && r->body.failed ? no_memory(r, err) : status;
}

void request_free(struct request *r)
{
    curl_slist_free_all(r->lines);
    secret_free(r->client_secret);
    buffer_free(&r->body);
    free(r->ca_file);
    wipe(r, sizeof(*r)); /* the URL's query */
}
