/* See registration.h. */
#include "registration.h"

#include "answer.h"
#include "json_text.h"
#include "text.h"

#include <string.h>

#define REDIRECT_URI "http://127.0.0.1/callback" /* the profile's default; the port is free (RFC 8252 section 7.3) */
#define CLIENTS (SELF_SIGNED_TLS_CLIENT_AUTH + 1)
#define GRANTS (GRANT_JWT_BEARER + 1)
#define PIECE_MAX 4096

static bool has(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i], text) == 0)
            return true;
    return false;
}

static bool is_tls(enum client_authentication a)
{
    return a == TLS_CLIENT_AUTH || a == SELF_SIGNED_TLS_CLIENT_AUTH;
}

static bool is_secret(enum client_authentication a)
{
    return a == CLIENT_SECRET_BASIC || a == CLIENT_SECRET_POST;
}

/* --- what is asked for --- */

/* -1: no such name. */
static int find_name(struct span name, const char *(*name_of)(unsigned int i), unsigned int count)
{
    for (unsigned int i = 0; i < count; i++)
        if (span_is(name, name_of(i)))
            return (int)i;
    return -1;
}

static const char *client_name_of(unsigned int i)
{
    return config_client_authentication_name((enum client_authentication)i);
}

static const char *grant_name_of(unsigned int i)
{
    return config_grant_name((enum grant)i);
}

/* RFC 8414 section 2: a server that lists nothing has client_secret_basic. */
static bool supports(const struct server_metadata *server, enum client_authentication a)
{
    if (server->token_endpoint_auth_methods.count == 0)
        return a == CLIENT_SECRET_BASIC;
    return has(&server->token_endpoint_auth_methods, config_client_authentication_name(a));
}

static enum status choose_authentication(const struct server_metadata *server, struct registration *plan, struct error *err)
{
    static const enum client_authentication best[] = {PRIVATE_KEY_JWT, CLIENT_SECRET_BASIC, CLIENT_SECRET_POST, CLIENT_NONE};
    const struct strings *algorithms = &server->token_endpoint_auth_signing_alg_values;
    for (size_t i = 0; i < sizeof(best) / sizeof(best[0]); i++) {
        if (!supports(server, best[i]) || (best[i] == CLIENT_NONE && plan->grant == GRANT_CLIENT_CREDENTIALS) ||
            (best[i] == PRIVATE_KEY_JWT && algorithms->count > 0 && !has(algorithms, "ES256")))
            continue;
        plan->authentication = best[i];
        return STATUS_OK;
    }
    return error_set(err, STATUS_SERVER_MISBEHAVED, "register the client by hand, and add the profile to the configuration",
                     "%s lists no client authentication that can be registered here", server->issuer);
}

static enum status check_authentication(struct span name, const struct server_metadata *server, struct registration *plan,
                                        struct error *err)
{
    int found = find_name(name, client_name_of, CLIENTS);
    if (found < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "use private_key_jwt, client_secret_basic, client_secret_post or none",
                         "there is no client authentication \"%.*s\"", (int)name.len, (const char *)name.data);
    plan->authentication = (enum client_authentication)found;
    plan->authentication_asked = true;
    if (is_tls(plan->authentication))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "make the certificate with dpop key csr or dpop key cert, register client and certificate at the "
                         "server, then add a profile with client-certificate-file",
                         "%s is not registered by this: the server has to know the certificate first",
                         client_name_of((unsigned int)found));
    if (plan->authentication == CLIENT_NONE && plan->grant == GRANT_CLIENT_CREDENTIALS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "choose another (RFC 6749 section 4.4)",
                         "client_credentials needs a client authentication other than none");
    if (!supports(server, plan->authentication))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "choose one that the server lists",
                         "%s does not list %s in token_endpoint_auth_methods_supported", server->issuer,
                         client_name_of((unsigned int)found));
    return STATUS_OK;
}

enum status registration_plan(struct span authentication, struct span grant, const struct server_metadata *server,
                              struct registration *out, struct error *err)
{
    struct registration plan = {.grant = GRANT_AUTHORIZATION_CODE};
    int found = grant.data != NULL ? find_name(grant, grant_name_of, GRANTS) : (int)GRANT_AUTHORIZATION_CODE;
    if (found < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "use authorization_code, device_code, client_credentials, token-exchange or jwt-bearer",
                         "there is no grant \"%.*s\"", (int)grant.len, (const char *)grant.data);
    plan.grant = (enum grant)found;
    if (server->grant_types.count > 0 && !has(&server->grant_types, config_grant_type(plan.grant)))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "choose one that the server lists",
                         "%s does not list %s in grant_types_supported", server->issuer, config_grant_type(plan.grant));
    bool login = plan.grant == GRANT_AUTHORIZATION_CODE || plan.grant == GRANT_DEVICE_CODE;
    plan.refresh_tokens = login && (server->grant_types.count == 0 || has(&server->grant_types, "refresh_token"));
    enum status status = authentication.data != NULL ? check_authentication(authentication, server, &plan, err)
                                                     : choose_authentication(server, &plan, err);
    if (status == STATUS_OK)
        *out = plan;
    return status;
}

static void put_grants(const struct registration *plan, struct buffer *json)
{
    struct buffer types;
    bool code = plan->grant == GRANT_AUTHORIZATION_CODE;
    buffer_init(&types, PIECE_MAX);
    buffer_put_text(&types, "[");
    json_text_quoted(&types, span_text(config_grant_type(plan->grant)));
    if (plan->refresh_tokens)
        buffer_put_text(&types, ",\"refresh_token\"");
    buffer_put_text(&types, "]");
    json_text_value(json, "grant_types", buffer_span(&types));
    buffer_free(&types);
    json_text_value(json, "response_types", span_text(code ? "[\"code\"]" : "[]"));
    json_text_value(json, "redirect_uris", span_text(code ? "[\"" REDIRECT_URI "\"]" : "[]"));
    if (code)
        json_text_string(json, "application_type", span_text("native"));
}

static void put_key(const struct jwk *key, const char *jkt, struct buffer *json)
{
    struct buffer keys;
    char jwk[JWK_JSON_SIZE];
    jwk_json(key, jwk);
    buffer_init(&keys, PIECE_MAX);
    buffer_put_text(&keys, "{\"keys\":[");
    buffer_put(&keys, jwk, strlen(jwk) - 1); /* without the brace: more follows */
    buffer_put_text(&keys, ",\"use\":\"sig\",\"alg\":\"ES256\",\"kid\":");
    json_text_quoted(&keys, span_text(jkt));
    buffer_put_text(&keys, "}]}");
    json_text_value(json, "jwks", buffer_span(&keys));
    buffer_free(&keys);
}

void registration_put(const struct registration *plan, const struct jwk *key, const char *jkt, struct buffer *json)
{
    json_text_open(json);
    if (plan->client_name != NULL)
        json_text_string(json, "client_name", span_text(plan->client_name));
    put_grants(plan, json);
    json_text_string(json, "token_endpoint_auth_method", span_text(config_client_authentication_name(plan->authentication)));
    if (plan->authentication == PRIVATE_KEY_JWT) {
        json_text_string(json, "token_endpoint_auth_signing_alg", span_text("ES256"));
        put_key(key, jkt, json);
    }
    if (plan->scope != NULL)
        json_text_string(json, "scope", span_text(plan->scope));
    json_text_value(json, "dpop_bound_access_tokens", span_text("true"));
    json_text_close(json);
}

/* --- the answer --- */

static enum status refused(const struct fetch_answer *a, struct error *err)
{
    struct span code = answer_text(a, "error");
    unsigned int status = a->http_status;
    if (status >= 500 || status == 429)
        (void)error_set(err, STATUS_SERVER_UNAVAILABLE, "try again later", "the registration endpoint answers with status %u", status);
    else if (status == 401 || status == 403)
        (void)error_set(err, STATUS_SERVER_REFUSED, "ask the server's operator for an initial access token",
                        "the server does not let everybody register (status %u)", status);
    else if (code.data != NULL)
        (void)error_set(err, STATUS_SERVER_REFUSED, "see what the server says", "the server refuses the registration: %.*s", (int)code.len,
                        (const char *)code.data);
    else
        (void)error_set(err, STATUS_SERVER_MISBEHAVED, "register the client by hand",
                        "the registration endpoint answers with status %u, which is neither 201 nor an OAuth error", status);
    err->http_status = a->http_status;
    err->retry_after = a->retry_after;
    error_put_text(err->oauth_error, sizeof(err->oauth_error), code);
    error_put_text(err->oauth_description, sizeof(err->oauth_description), answer_text(a, "error_description"));
    return err->status;
}

static int rank(enum client_authentication a)
{
    return a == CLIENT_NONE ? 0 : is_secret(a) ? 1 : 2;
}

static enum status read_authentication(const struct registration *plan, const struct fetch_answer *a, struct registered *out,
                                       struct error *err)
{
    struct span name = answer_text(a, "token_endpoint_auth_method");
    int found = name.data != NULL ? find_name(name, client_name_of, CLIENTS) : (int)plan->authentication;
    if (found < 0 || is_tls((enum client_authentication)found))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "remove the client there, and register by hand",
                         "the server has registered client \"%.*s\" with the authentication \"%.*s\", which was not asked for",
                         (int)out->client_id.len, (const char *)out->client_id.data, (int)name.len, (const char *)name.data);
    out->authentication = (enum client_authentication)found;
    if (plan->authentication_asked && rank(out->authentication) < rank(plan->authentication))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "remove the client there; ask for another client authentication",
                         "the server has registered client \"%.*s\" with %s, which is weaker than %s", (int)out->client_id.len,
                         (const char *)out->client_id.data, config_client_authentication_name(out->authentication),
                         config_client_authentication_name(plan->authentication));
    if (out->authentication == CLIENT_NONE && plan->grant == GRANT_CLIENT_CREDENTIALS)
        return error_set(err, STATUS_SERVER_MISBEHAVED, "remove the client there; ask for another client authentication",
                         "the server has registered client \"%.*s\" without client authentication, which client_credentials needs",
                         (int)out->client_id.len, (const char *)out->client_id.data);
    if (!is_secret(out->authentication))
        return STATUS_OK;
    out->client_secret = answer_text(a, "client_secret");
    if (out->client_secret.len == 0 || !text_valid(out->client_secret))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "remove the client there, and register by hand",
                         "the server gives client \"%.*s\" no usable client_secret", (int)out->client_id.len,
                         (const char *)out->client_id.data);
    return STATUS_OK;
}

static bool lists_grant(const struct fetch_answer *a, const char *type)
{
    struct json_member m;
    struct span item;
    size_t cursor = 0;
    if (!answer_member(a, "grant_types", &m) || m.kind != JSON_KIND_TEXTS)
        return true; /* it does not say */
    while (list_next(&m.texts, &cursor, &item))
        if (span_is(item, type))
            return true;
    return false;
}

enum status registration_read(const struct registration *plan, const struct fetch_answer *a, struct registered *out,
                              struct error *err)
{
    struct registered found = {.authentication = plan->authentication};
    struct json_member expires;
    if (a->http_status != 201 && a->http_status != 200)
        return refused(a, err);
    if (a->json_error.data != NULL)
        return error_set(err, STATUS_SERVER_MISBEHAVED, "register the client by hand", "the registration endpoint: %.*s",
                         (int)a->json_error.len, (const char *)a->json_error.data);
    found.client_id = answer_text(a, "client_id");
    struct span id = found.client_id;
    if (id.len == 0 || id.len > LIMIT_TEXT || !text_valid(id) || id.data[0] == ' ' || id.data[id.len - 1] == ' ')
        return error_set(err, STATUS_SERVER_MISBEHAVED, "register the client by hand",
                         "the registration endpoint gives no usable client_id");
    enum status status = read_authentication(plan, a, &found, err);
    if (status != STATUS_OK)
        return status;
    if (!lists_grant(a, config_grant_type(plan->grant)))
        return error_set(err, STATUS_SERVER_MISBEHAVED, "remove the client there; ask for a grant that the server allows",
                         "the server has registered client \"%.*s\" without the grant %s", (int)id.len, (const char *)id.data,
                         config_grant_type(plan->grant));
    found.registration_uri = answer_text(a, "registration_client_uri");
    found.registration_token = answer_text(a, "registration_access_token");
    found.secret_expires = answer_member(a, "client_secret_expires_at", &expires) && expires.kind == JSON_KIND_INTEGER &&
                           expires.integer != 0 && found.client_secret.data != NULL;
    *out = found;
    return STATUS_OK;
}

/* The next word, and what is behind it. */
static struct span next_word(struct span *rest)
{
    while (rest->len > 0 && rest->data[0] == ' ')
        *rest = span_of(rest->data + 1, rest->len - 1);
    size_t len = 0;
    while (len < rest->len && rest->data[len] != ' ')
        len++;
    struct span word = span_of(rest->data, len);
    *rest = span_of(rest->data + len, rest->len - len);
    return word;
}

static bool has_word(struct span words, struct span wanted)
{
    for (struct span word = next_word(&words); word.len > 0; word = next_word(&words))
        if (span_equal(word, wanted))
            return true;
    return false;
}

void registration_put_scope(const struct registration *plan, const struct fetch_answer *a, struct buffer *out)
{
    struct span allowed = answer_text(a, "scope"), rest = span_text(plan->scope);
    bool first = true;
    if (rest.data == NULL)
        return;
    for (struct span word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        if (allowed.data != NULL && !has_word(allowed, word))
            continue;
        buffer_put_text(out, first ? "" : " ");
        buffer_put(out, word.data, word.len);
        first = false;
    }
}
