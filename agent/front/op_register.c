/*
 * The operation `register`: the agent registers itself as a client of an authorization server (RFC 7591), an init
 * process adds the profile to the configuration, and the agent reloads. In this order, so that the server is troubled
 * only when everything before it is well: who asks, names, the key, the server's metadata, the registration, the
 * profile.
 *
 * Only the agent's own user and root may ask for it.
 */
#include "operations.h"

#include "children.h"
#include "json_text.h"
#include "keys.h"
#include "log.h"
#include "oauth_value.h"
#include "registration.h"
#include "reload.h"
#include "url.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGE "registration"
#define ADD_TIMEOUT UINT64_C(60000000)
#define NET_GRACE UINT64_C(1000000)
#define OPTIONS_MAX 16
#define OPTION_MAX (2 * LIMIT_NESTED)

struct registering {
    struct front *front;
    struct request *request;
    uint64_t deadline;
    char *name, *key_name, *issuer, *resource, *client_name, *scope, *authentication, *grant, *origins, *ca_file;
    struct buffer initial_access_token;
    bool allow_http_loopback;
    struct registration plan;
    struct jwk jwk;
    char jkt[JWK_THUMBPRINT_SIZE];
    char *client_id;
    enum client_authentication registered_authentication;
    char *configuration, *secret_file;
};

static void free_registering(struct registering *x)
{
    char *texts[] = {x->name,           x->key_name, x->issuer,  x->resource,  x->client_name,   x->scope,
                     x->authentication, x->grant,    x->origins, x->ca_file,   x->client_id,     x->configuration,
                     x->secret_file};
    x->front->init_at_work = false;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    buffer_free(&x->initial_access_token);
    free(x);
}

static void fail(struct registering *x, const struct error *failure)
{
    struct request *r = x->request;
    struct error err = *failure;
    if (err.stage[0] == '\0')
        error_put_text(err.stage, sizeof(err.stage), span_text(STAGE));
    if (x->client_id != NULL) { /* the server has it now, whatever became of it here */
        size_t len = strlen(err.message);
        (void)snprintf(err.message + len, sizeof(err.message) - len,
                       "; the server has registered the client as \"%.100s\"", x->client_id);
    }
    free_registering(x);
    request_fail(r, &err);
}

static void fail_without_memory(struct registering *x)
{
    struct error err;
    (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
    fail(x, &err);
}

/* --- at last: the agent has the profile --- */

static void on_reloaded(void *context, const struct error *err)
{
    struct registering *x = context;
    const char *authentication = config_client_authentication_name(x->registered_authentication);
    struct register_answer answer = {.profile = span_text(x->name),
                                     .issuer = span_text(x->issuer),
                                     .client_id = span_text(x->client_id),
                                     .client_authentication = span_text(authentication),
                                     .configuration = span_text(x->configuration),
                                     .secret_file = span_text(x->secret_file)};
    if (err != NULL) {
        fail(x, err);
        return;
    }
    request_answer(x->request, &message_register_answer, &answer);
    free_registering(x);
}

static void on_added(void *context, const struct error *failure, struct span fields)
{
    struct registering *x = context;
    struct profile_added added;
    struct error err;
    if (failure != NULL) {
        fail(x, failure);
        return;
    }
    if (message_take(fields, &message_profile_added, &added, sizeof(added), &err) != STATUS_OK) {
        fail(x, &err);
        return;
    }
    x->configuration = span_dup(added.configuration);
    x->secret_file = added.secret_file.data != NULL ? span_dup(added.secret_file) : NULL;
    if (x->configuration == NULL)
        fail_without_memory(x);
    else
        reload_start(x->front, on_reloaded, x);
}

/* --- the profile --- */

struct options {
    struct buffer texts[OPTIONS_MAX];
    struct span items[OPTIONS_MAX];
    size_t count;
    bool failed;
};

static void put_option(struct options *o, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    struct buffer *text = &o->texts[o->count];
    buffer_init(text, OPTION_MAX);
    buffer_put_text(text, name);
    buffer_put_text(text, " = ");
    buffer_put_text(text, value);
    o->items[o->count++] = buffer_span(text);
    o->failed = o->failed || text->failed;
}

static void put_registration(const struct registered *found, struct buffer *json)
{
    json_text_open(json);
    json_text_string(json, "registration_client_uri", found->registration_uri);
    json_text_string(json, "registration_access_token", found->registration_token);
    json_text_close(json);
}

static void add_profile(struct registering *x, const struct registered *found, const char *scope)
{
    struct front *f = x->front;
    struct options o = {.count = 0};
    struct buffer registration;
    put_option(&o, "key", x->key_name);
    put_option(&o, "issuer", x->issuer);
    put_option(&o, "client-id", x->client_id);
    put_option(&o, "client-authentication", config_client_authentication_name(found->authentication));
    put_option(&o, "grant", config_grant_name(x->plan.grant));
    put_option(&o, "scope", scope);
    put_option(&o, "resource", x->resource);
    put_option(&o, "origins", x->origins);
    put_option(&o, "ca-file", x->ca_file);
    put_option(&o, "allow-http-loopback", x->allow_http_loopback ? "yes" : NULL);
    buffer_init(&registration, LIMIT_NESTED);
    if (found->registration_token.data != NULL && found->registration_uri.data != NULL)
        put_registration(found, &registration);
    struct add_profile m = {.name = span_text(x->name),
                            .options = {.items = o.items, .count = o.count},
                            .client_secret = found->client_secret,
                            .registration = registration.len > 0 ? buffer_span(&registration) : span_text(NULL)};
    if (o.failed || registration.failed) {
        fail_without_memory(x);
    } else {
        children_command(f->children, INTERNAL_START_INIT);
        children_call(f->children, ROLE_INIT, INTERNAL_ADD_PROFILE, &message_add_profile, &m,
                      front_now(f) + ADD_TIMEOUT, on_added, x);
    }
    buffer_free(&registration);
    for (size_t i = 0; i < o.count; i++)
        buffer_free(&o.texts[i]);
}

/* --- the registration --- */

static void on_answer(struct registering *x, const struct fetch_answer *a)
{
    struct registered found;
    struct buffer scope;
    struct error err;
    if (registration_read(&x->plan, a, &found, &err) != STATUS_OK) {
        fail(x, &err);
        return;
    }
    if (found.secret_expires)
        log_warning("the secret of client %.*s at %s ends one day: register anew before", (int)found.client_id.len,
                    (const char *)found.client_id.data, x->issuer);
    x->client_id = span_dup(found.client_id);
    x->registered_authentication = found.authentication;
    buffer_init(&scope, LIMIT_SCOPE + 1);
    registration_put_scope(&x->plan, a, &scope);
    buffer_put(&scope, "", 1);
    if (x->client_id == NULL || scope.failed)
        fail_without_memory(x);
    else
        add_profile(x, &found, (const char *)buffer_span(&scope).data);
    buffer_free(&scope);
}

static void on_fetched(void *context, const struct error *failure, struct span fields)
{
    struct registering *x = context;
    struct fetch_answer a;
    struct error err;
    if (failure != NULL) {
        fail(x, failure);
    } else if (message_take(fields, &message_fetch_answer, &a, sizeof(a), &err) != STATUS_OK) {
        fail(x, &err);
    } else if (a.failure.data != NULL) {
        if (messages_take_error(a.failure, &err) != STATUS_OK || err.status == STATUS_OK)
            (void)error_set(&err, STATUS_INTERNAL, NULL, "the net process gives no reason for a failure");
        fail(x, &err);
    } else {
        on_answer(x, &a);
    }
}

static void send_registration(struct registering *x, const char *endpoint)
{
    struct front *f = x->front;
    struct buffer json;
    uint64_t now = front_now(f);
    buffer_init(&json, LIMIT_NESTED);
    registration_put(&x->plan, &x->jwk, x->jkt, &json);
    if (json.failed) {
        buffer_free(&json);
        fail_without_memory(x);
        return;
    }
    struct fetch_request m = {.url = span_text(endpoint),
                              .json = buffer_span(&json),
                              .bearer = x->initial_access_token.len > 0 ? buffer_span(&x->initial_access_token)
                              : span_text(NULL), .ca_file = span_text(x->ca_file),
                              .allow_http_loopback = x->allow_http_loopback,
                              .timeout = x->deadline > now ? (uint32_t)((x->deadline - now) / 1000) + 1 : 1};
    children_fetch(f->children, NULL, &m, x->deadline + NET_GRACE, on_fetched, x);
    buffer_free(&json);
}

static void on_metadata(void *context, const struct error *failure, const struct server_metadata *server)
{
    struct registering *x = context;
    struct error err;
    if (failure != NULL) {
        fail(x, failure);
        return;
    }
    enum status status = STATUS_OK;
    if (server->registration_endpoint == NULL)
        status = error_set(&err, STATUS_SERVER_MISBEHAVED,
                           "register the client by hand, and add the profile to the configuration",
                           "%s has no registration_endpoint (RFC 7591)", server->issuer);
    if (status == STATUS_OK)
        status = registration_plan(span_text(x->authentication), span_text(x->grant), server, &x->plan, &err);
    if (status != STATUS_OK) {
        fail(x, &err);
        return;
    }
    x->plan.client_name = x->client_name;
    x->plan.scope = x->scope;
    free(x->issuer);
    x->issuer = strdup(server->issuer);
    if (x->issuer == NULL)
        fail_without_memory(x);
    else
        send_registration(x, server->registration_endpoint);
}

/* --- the key: it has to work, or the profile would not --- */

static void on_key_shown(void *context, const struct error *failure, const struct key_public *key,
                         const uint8_t *signature)
{
    struct registering *x = context;
    struct metadata_query query = {.issuer = x->issuer, .resource = x->resource, .ca_file = x->ca_file,
                                   .allow_http_loopback = x->allow_http_loopback};
    (void)signature;
    if (failure != NULL) {
        fail(x, failure);
        return;
    }
    x->jwk = key->jwk;
    memcpy(x->jkt, key->jkt, sizeof(x->jkt));
    metadata_find(x->front->metadata, &query, x->deadline, on_metadata, x);
}

/* --- what the caller gives --- */

static int copy(struct span from, char **to)
{
    if (from.data == NULL || from.len == 0)
        return 0;
    *to = span_dup(from);
    return *to != NULL ? 0 : -1;
}

static int copy_texts(struct registering *x, const struct register_request *in)
{
    return copy(in->name, &x->name) != 0 || copy(in->issuer, &x->issuer) != 0 ||
           copy(in->resource, &x->resource) != 0 ||
                   copy(in->client_name, &x->client_name) != 0 || copy(in->scope, &x->scope) != 0 ||
                   copy(in->client_authentication, &x->authentication) != 0 || copy(in->grant, &x->grant) != 0 ||
                   copy(in->ca_file, &x->ca_file) != 0
               ? -1
               : 0;
}

static enum status check_url(const struct registering *x, const char *what, const char *text, struct error *err)
{
    struct url url;
    struct error wrong;
    if (text == NULL)
        return STATUS_OK;
    if (url_parse(span_text(text), &url, &wrong) != STATUS_OK)
        return error_set(err, STATUS_INVALID_ARGUMENT, "write https://host/path", "%s: %s", what, wrong.message);
    if (!url.https && !(x->allow_http_loopback && url_is_loopback(span_text(text))))
        return error_set(err, STATUS_INSECURE_URL, "use https; for tests see allow-http-loopback",
                         "%s: plain http is refused", what);
    return STATUS_OK;
}

static enum status check_name(const struct registering *x, struct error *err)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (x->name == NULL || x->name[0] == '.' || strspn(x->name, allowed) != strlen(x->name) ||
        strlen(x->name) >= LIMIT_NAME)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "use up to 63 letters, digits, '.', '_' and '-', no '.' in front",
                         "this is no name for a profile");
    if (config_profile(x->front->config, span_text(x->name)) != NULL)
        return error_set(err, STATUS_EXISTS, "choose another name", "there is a profile \"%s\" already", x->name);
    return STATUS_OK;
}

/* Where its tokens may go: as given, or to the resource. */
static enum status set_origins(struct registering *x, const struct register_request *in, struct error *err)
{
    char origin[URL_ORIGIN_SIZE];
    struct span item;
    size_t cursor = 0;
    struct buffer all;
    enum status status = STATUS_OK;
    buffer_init(&all, LIMIT_NESTED);
    while (status == STATUS_OK && list_next(&in->origins, &cursor, &item)) {
        status = url_origin(item, origin, sizeof(origin), err);
        buffer_put_text(&all, origin);
        buffer_put_text(&all, " ");
    }
    if (status == STATUS_OK && in->origins.count == 0 && x->resource == NULL)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "name an origin, or the API as resource",
                           "nothing says where the profile's tokens may go");
    else if (status == STATUS_OK && in->origins.count == 0 &&
             (status = url_origin(span_text(x->resource), origin, sizeof(origin), err)) == STATUS_OK)
        buffer_put_text(&all, origin);
    if (status == STATUS_OK && (all.failed || (x->origins = span_dup(buffer_span(&all))) == NULL))
        status = error_set(err, STATUS_TOO_LARGE, NULL, "the origins do not fit");
    buffer_free(&all);
    return status;
}

static enum status check(struct registering *x, const struct register_request *in, struct error *err)
{
    enum status status = check_name(x, err);
    if (status == STATUS_OK && x->issuer == NULL && x->resource == NULL)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "give the issuer, or an API's URL", "no server is named");
    if (status == STATUS_OK && x->issuer != NULL && strpbrk(x->issuer, "?#@") != NULL)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "write it as the server's metadata name it",
                           "an issuer has no query, no fragment and no user name");
    if (status == STATUS_OK)
        status = check_url(x, "issuer", x->issuer, err);
    if (status == STATUS_OK)
        status = check_url(x, "resource", x->resource, err);
    if (status == STATUS_OK && x->resource != NULL && !oauth_resource_valid(span_text(x->resource)))
        status = error_set(err, STATUS_INVALID_ARGUMENT, "give an absolute URI without a fragment",
                           "the resource is no absolute URI");
    if (status == STATUS_OK && x->scope != NULL && !oauth_scope_valid(span_text(x->scope)))
        status = error_set(err, STATUS_INVALID_ARGUMENT, "give words with blanks between them, without quotes",
                           "the scope has characters that no scope has (RFC 6749 section 3.3)");
    if (status == STATUS_OK && x->ca_file != NULL && x->ca_file[0] != '/')
        status = error_set(err, STATUS_INVALID_ARGUMENT, "give an absolute path",
                           "the agent is not in the caller's folder");
    return status == STATUS_OK ? set_origins(x, in, err) : status;
}

void op_register(struct request *r, const void *message)
{
    const struct register_request *in = message;
    struct front *f = r->front;
    struct registering *x;
    struct key *key;
    struct error err;
    if (!operations_owner(r, "register clients") || (key = operations_key(r, in->key)) == NULL)
        return;
    if (f->init_at_work || (x = calloc(1, sizeof(*x))) == NULL) {
        (void)error_set(&err, STATUS_BUSY, "try again when it has ended", "an init or another registration is at work");
        request_fail(r, &err);
        return;
    }
    f->init_at_work = true;
    *x = (struct registering){.front = f, .request = r, .deadline = front_deadline(f, in->timeout),
                              .allow_http_loopback = in->allow_http_loopback};
    buffer_init(&x->initial_access_token, LIMIT_ASSERTION);
    buffer_put(&x->initial_access_token, in->initial_access_token.data, in->initial_access_token.len);
    x->key_name = strdup(keys_config(key)->name);
    if (copy_texts(x, in) != 0 || x->key_name == NULL || x->initial_access_token.failed) {
        fail_without_memory(x);
        return;
    }
    if (check(x, in, &err) != STATUS_OK) {
        fail(x, &err);
        return;
    }
    struct sign_job job = {.done = on_key_shown, .context = x, .deadline = x->deadline};
    keys_sign(key, &job);
}
