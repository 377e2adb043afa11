/* See profile_test.h. */
#include "profile_test.h"

#include "answer.h"
#include "as_request.h"
#include "skew.h"
#include "url.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CLOCK_GOOD 5     /* seconds that need no word */
#define CLOCK_BEARABLE 60 /* most servers take proofs that are so old; beyond it the agent has to follow their clocks */

static const char *const names[TEST_COUNT] = {
    [TEST_CONFIGURATION] = "configuration",
    [TEST_KEY] = "key",
    [TEST_CLIENT_KEY] = "client key",
    [TEST_SERVER] = "server",
    [TEST_TLS] = "tls",
    [TEST_RESOURCE] = "resource metadata",
    [TEST_DISCOVERY] = "discovery",
    [TEST_DPOP] = "dpop",
    [TEST_METHOD] = "client authentication method",
    [TEST_GRANT] = "grant",
    [TEST_PAR] = "PAR",
    [TEST_PKCE] = "PKCE",
    [TEST_ISS] = "iss",
    [TEST_CLOCK] = "clock",
    [TEST_CLIENT] = "client authentication",
    [TEST_TOKEN] = "token",
};

void profile_test_set(struct profile_test *t, enum profile_check check, enum check_result result, const char *next,
                      const char *format, ...)
{
    struct check *c = &t->checks[check];
    char text[LIMIT_TEXT];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    c->wanted = true;
    c->result = result;
    error_put_text(c->detail, sizeof(c->detail), span_text(text));
    error_put_text(c->next, sizeof(c->next), span_text(next != NULL ? next : ""));
}

static void fail(struct profile_test *t, enum profile_check check, const struct error *err)
{
    profile_test_set(t, check, CHECK_FAILED, err->next, "%s%s%s%s", err->message, err->oauth_description[0] != '\0' ? " (" : "",
                     err->oauth_description, err->oauth_description[0] != '\0' ? ")" : "");
}

bool profile_test_failed(const struct profile_test *t, enum profile_check check)
{
    return t->checks[check].result == CHECK_FAILED;
}

static bool is_tried(const struct profile_test *t, enum profile_check check)
{
    return t->checks[check].result != CHECK_NOT_TRIED;
}

void profile_test_init(struct profile_test *t, const struct profile_config *p)
{
    bool code = p->grant == GRANT_AUTHORIZATION_CODE;
    *t = (struct profile_test){.profile = p};
    for (unsigned int i = 0; i < TEST_COUNT; i++) {
        bool own = i != TEST_CLIENT_KEY || (p->client_key != NULL && strcmp(p->client_key, p->key) != 0);
        bool looked_up = i != TEST_RESOURCE || (p->issuer == NULL && p->token_endpoint == NULL);
        t->checks[i].wanted = own && looked_up && ((i != TEST_PAR && i != TEST_PKCE && i != TEST_ISS) || code);
        t->checks[i].result = CHECK_NOT_TRIED;
    }
    profile_test_set(t, TEST_CONFIGURATION, CHECK_PASSED, NULL, "grant %s, client \"%s\" with %s, dpop %s", config_grant_name(p->grant),
                     p->client_id, config_client_authentication_name(p->client_authentication), config_dpop_name(p->dpop));
}

void profile_test_key(struct profile_test *t, enum profile_check check, const struct error *err, const char *jkt)
{
    if (err != NULL)
        fail(t, check, err);
    else
        profile_test_set(t, check, CHECK_PASSED, NULL, "it signs; thumbprint %s", jkt);
}

/* --- what the metadata say --- */

static bool has(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i], text) == 0)
            return true;
    return false;
}

static void check_dpop(struct profile_test *t, const struct server_metadata *s)
{
    if (has(&s->dpop_signing_alg_values, "ES256"))
        profile_test_set(t, TEST_DPOP, CHECK_PASSED, NULL, "the server lists ES256");
    else if (s->dpop_signing_alg_values.count == 0)
        profile_test_set(t, TEST_DPOP, CHECK_WARNING, "ask the server's operator whether it speaks DPoP (RFC 9449)",
                         "the server lists no DPoP algorithms (dpop_signing_alg_values_supported)");
    else
        profile_test_set(t, TEST_DPOP, t->profile->dpop == DPOP_OPTIONAL ? CHECK_WARNING : CHECK_FAILED,
                         "this authorization server cannot be used with a P-256 key",
                         "the server does not list ES256 in dpop_signing_alg_values_supported");
}

static void check_method(struct profile_test *t, const struct server_metadata *s)
{
    enum client_authentication ours = t->profile->client_authentication;
    const char *name = config_client_authentication_name(ours);
    const struct strings *algorithms = &s->token_endpoint_auth_signing_alg_values;
    bool by_default = s->token_endpoint_auth_methods.count == 0 && ours == CLIENT_SECRET_BASIC; /* RFC 8414 section 2 */
    if (ours == PRIVATE_KEY_JWT && algorithms->count > 0 && !has(algorithms, "ES256"))
        profile_test_set(t, TEST_METHOD, CHECK_FAILED, "use another client authentication",
                         "the server does not list ES256 in token_endpoint_auth_signing_alg_values_supported");
    else if (by_default || has(&s->token_endpoint_auth_methods, name))
        profile_test_set(t, TEST_METHOD, CHECK_PASSED, NULL, "the server has %s", name);
    else if (s->token_endpoint_auth_methods.count == 0 || (ours == CLIENT_NONE && !t->profile->fapi2))
        profile_test_set(t, TEST_METHOD, CHECK_WARNING, NULL, "the server does not say whether it has %s", name);
    else
        profile_test_set(t, TEST_METHOD, CHECK_FAILED, "choose one that the server lists",
                         "the server does not list %s in token_endpoint_auth_methods_supported", name);
}

static void check_grant(struct profile_test *t, const struct server_metadata *s)
{
    const char *type = config_grant_type(t->profile->grant);
    if (has(&s->grant_types, type))
        profile_test_set(t, TEST_GRANT, CHECK_PASSED, NULL, "the server has %s", type);
    else if (s->grant_types.count == 0)
        profile_test_set(t, TEST_GRANT, CHECK_WARNING, NULL, "the server does not say which grants it has");
    else
        profile_test_set(t, TEST_GRANT, CHECK_FAILED, "choose a grant that the server has",
                         "the server does not list %s in grant_types_supported", type);
}

static void check_code(struct profile_test *t, const struct server_metadata *s)
{
    const struct profile_config *p = t->profile;
    bool must_push = p->fapi2 || p->par == PAR_YES;
    if (s->pushed_authorization_request_endpoint == NULL)
        profile_test_set(t, TEST_PAR, must_push ? CHECK_FAILED : CHECK_NOT_TRIED,
                         must_push ? "this server does not offer it: see fapi2 and pushed-authorization-requests in the profile" : NULL,
                         "the server has no pushed_authorization_request_endpoint%s",
                         p->fapi2 ? ", which fapi2 wants" : must_push ? ", which the profile wants" : "");
    else if (p->par == PAR_NO && s->require_pushed_authorization_requests)
        profile_test_set(t, TEST_PAR, CHECK_FAILED, "drop pushed-authorization-requests = no",
                         "the server takes pushed authorization requests only");
    else
        profile_test_set(t, TEST_PAR, CHECK_PASSED, NULL, "the server takes pushed authorization requests");
    if (has(&s->code_challenge_methods, "S256"))
        profile_test_set(t, TEST_PKCE, CHECK_PASSED, NULL, "the server lists S256");
    else
        profile_test_set(t, TEST_PKCE, p->fapi2 || s->code_challenge_methods.count > 0 ? CHECK_FAILED : CHECK_WARNING,
                         "ask the server's operator whether it checks the code verifier (RFC 7636)",
                         "the server does not list S256 in code_challenge_methods_supported");
    if (s->authorization_response_iss_parameter_supported)
        profile_test_set(t, TEST_ISS, CHECK_PASSED, NULL, "the server names itself in the redirect (RFC 9207)");
    else
        profile_test_set(t, TEST_ISS, p->fapi2 ? CHECK_FAILED : CHECK_WARNING, p->fapi2 ? "fapi2 wants it" : NULL,
                         "the server does not name itself in the redirect (RFC 9207)");
}

/* --- what a failure means --- */

/* Words of net/failure.c: an error has a status for programs, and the reason in words. */
static bool says(const struct error *err, const char *words)
{
    return strstr(err->message, words) != NULL;
}

static bool is_tls_trouble(const struct error *err)
{
    return says(err, "certificate") || says(err, "agree on TLS") || says(err, "agreeing on TLS");
}

static bool is_server_trouble(const struct error *err)
{
    return err->status == STATUS_SERVER_UNREACHABLE || err->status == STATUS_SERVER_UNAVAILABLE || err->status == STATUS_TIMEOUT;
}

/* False: the failure is none of the way to the server. */
static bool way_failed(struct profile_test *t, const struct error *err)
{
    if ((err->status == STATUS_SERVER_UNREACHABLE || err->status == STATUS_CONFIGURATION) && is_tls_trouble(err)) {
        profile_test_set(t, TEST_SERVER, CHECK_PASSED, NULL, "it is there");
        fail(t, TEST_TLS, err);
        return true;
    }
    if (is_server_trouble(err))
        fail(t, TEST_SERVER, err);
    return is_server_trouble(err);
}

static void way_passed(struct profile_test *t, const char *url)
{
    if (!is_tried(t, TEST_SERVER))
        profile_test_set(t, TEST_SERVER, CHECK_PASSED, NULL, "it answers");
    if (is_tried(t, TEST_TLS) || url == NULL)
        return;
    if (strncasecmp(url, "https:", 6) == 0)
        profile_test_set(t, TEST_TLS, CHECK_PASSED, NULL, "the server's certificate is good");
    else
        profile_test_set(t, TEST_TLS, CHECK_NOT_TRIED, NULL, "plain http, as allow-http-loopback lets it");
}

static void no_metadata(struct profile_test *t, const struct error *err)
{
    bool resource = t->checks[TEST_RESOURCE].wanted;
    if (way_failed(t, err))
        return;
    way_passed(t, t->profile->issuer);
    if (resource && says(err, "resource metadata")) {
        fail(t, TEST_RESOURCE, err);
        return;
    }
    if (resource)
        profile_test_set(t, TEST_RESOURCE, CHECK_PASSED, NULL, "they name the authorization server");
    fail(t, TEST_DISCOVERY, err);
}

void profile_test_metadata(struct profile_test *t, const struct error *err, const struct server_metadata *server, int64_t now)
{
    if (err != NULL) {
        no_metadata(t, err);
        return;
    }
    if (!server->discovered) {
        profile_test_set(t, TEST_DISCOVERY, CHECK_PASSED, NULL, "nothing is looked up: the profile names the endpoints");
        return;
    }
    way_passed(t, server->issuer);
    if (t->checks[TEST_RESOURCE].wanted)
        profile_test_set(t, TEST_RESOURCE, CHECK_PASSED, NULL, "they name the authorization server %s", server->issuer);
    profile_test_set(t, TEST_DISCOVERY, CHECK_PASSED, NULL, "%s", server->issuer);
    if (server->token_endpoint == NULL)
        profile_test_set(t, TEST_DISCOVERY, CHECK_FAILED, "name it with token-endpoint", "the metadata of %s have no token_endpoint",
                         server->issuer);
    check_dpop(t, server);
    check_method(t, server);
    check_grant(t, server);
    if (t->profile->grant == GRANT_AUTHORIZATION_CODE)
        check_code(t, server);
    if (t->profile->grant == GRANT_AUTHORIZATION_CODE && server->authorization_endpoint == NULL)
        profile_test_set(t, TEST_GRANT, CHECK_FAILED, "name it with authorization-endpoint", "the server has no authorization_endpoint");
    if (t->profile->grant == GRANT_DEVICE_CODE && server->device_authorization_endpoint == NULL)
        profile_test_set(t, TEST_GRANT, CHECK_FAILED, "name it with device-authorization-endpoint",
                         "the server has no device_authorization_endpoint");
    profile_test_clock(t, span_text(server->date), now);
}

void profile_test_clock(struct profile_test *t, struct span date, int64_t now)
{
    int64_t theirs;
    if (date.data == NULL || skew_parse_date(date, &theirs) != 0) {
        profile_test_set(t, TEST_CLOCK, CHECK_NOT_TRIED, NULL, "the server's answer has no Date");
        return;
    }
    int64_t off = theirs - now;
    long long seconds = (long long)(off < 0 ? -off : off);
    enum check_result result = seconds <= CLOCK_GOOD ? CHECK_PASSED : seconds <= CLOCK_BEARABLE ? CHECK_WARNING : CHECK_FAILED;
    if (seconds == 0)
        profile_test_set(t, TEST_CLOCK, result, NULL, "the server's clock agrees with this machine's");
    else
        profile_test_set(t, TEST_CLOCK, result, result == CHECK_PASSED ? NULL : "set this machine's clock, or have the server's set",
                         "the server's clock is %lld s %s this machine's", seconds, off > 0 ? "ahead of" : "behind");
}

static bool is_key_trouble(enum status status)
{
    return status == STATUS_KEY_ABSENT || status == STATUS_KEY_LOCKED || status == STATUS_KEY_WRONG || status == STATUS_KEY_UNFIT ||
           status == STATUS_KEY_FAILED;
}

static bool code_is(const struct error *err, const char *code)
{
    return strcmp(err->oauth_error, code) == 0;
}

static void client_passed(struct profile_test *t)
{
    profile_test_set(t, TEST_CLIENT, CHECK_PASSED, NULL, "the server knows client \"%s\" and takes its %s", t->profile->client_id,
                     t->profile->client_authentication == CLIENT_NONE
                         ? "id"
                         : config_client_authentication_name(t->profile->client_authentication));
}

/* The server answered, with an OAuth error or something worse. */
static void refused(struct profile_test *t, const struct error *err)
{
    if (code_is(err, "invalid_client")) {
        fail(t, TEST_CLIENT, err);
    } else if (code_is(err, "unauthorized_client") || code_is(err, "unsupported_grant_type")) {
        client_passed(t);
        fail(t, TEST_GRANT, err);
    } else if (code_is(err, "invalid_dpop_proof") || code_is(err, "use_dpop_nonce") || says(err, "DPoP nonce")) {
        fail(t, TEST_DPOP, err);
    } else if (err->status == STATUS_SERVER_REFUSED) {
        client_passed(t);
        fail(t, TEST_TOKEN, err);
    } else {
        fail(t, TEST_TOKEN, err);
    }
}

void profile_test_request_failed(struct profile_test *t, const struct error *err)
{
    if (err->status == STATUS_SECRET_UNREADABLE) {
        fail(t, TEST_CONFIGURATION, err);
    } else if (is_key_trouble(err->status)) {
        fail(t, t->checks[TEST_CLIENT_KEY].wanted && profile_test_failed(t, TEST_CLIENT_KEY) ? TEST_CLIENT_KEY : TEST_KEY, err);
    } else if (strcmp(err->stage, "discovery") == 0) {
        fail(t, TEST_DISCOVERY, err);
    } else if (err->status == STATUS_TOKEN_NOT_DPOP || err->status == STATUS_TOKEN_OTHER_KEY) {
        way_passed(t, t->profile->token_endpoint);
        client_passed(t);
        fail(t, TEST_TOKEN, err);
    } else if (!way_failed(t, err)) {
        way_passed(t, t->profile->token_endpoint);
        refused(t, err);
    }
}

void profile_test_granted(struct profile_test *t, bool is_dpop, const char *jkt, uint32_t lifetime)
{
    way_passed(t, t->profile->token_endpoint);
    client_passed(t);
    if (!is_dpop) {
        profile_test_set(t, TEST_TOKEN, CHECK_WARNING, "switch DPoP on for this client at the authorization server",
                         "a Bearer token, which the profile's dpop option allows, for %u s", lifetime);
        return;
    }
    if (!is_tried(t, TEST_DPOP) || t->checks[TEST_DPOP].result == CHECK_WARNING)
        profile_test_set(t, TEST_DPOP, CHECK_PASSED, NULL, "the server gives DPoP tokens");
    profile_test_set(t, TEST_TOKEN, CHECK_PASSED, NULL, "a DPoP token for %u s, for the key %s", lifetime, jkt);
}

void profile_test_probe(struct profile_test *t, const struct fetch_answer *a)
{
    struct error err;
    way_passed(t, t->profile->token_endpoint);
    if (a->http_status == 200) {
        profile_test_set(t, TEST_CLIENT, CHECK_WARNING, "tell the authorization server's operator",
                         "the server takes a refresh token that it never issued");
        return;
    }
    (void)as_request_refused(t->profile, "the token endpoint", "token request", a, &err);
    if (code_is(&err, "invalid_grant")) {
        client_passed(t);
    } else if (code_is(&err, "unauthorized_client") || code_is(&err, "unsupported_grant_type")) {
        client_passed(t);
        if (config_needs_login(t->profile) && !profile_test_failed(t, TEST_GRANT))
            profile_test_set(t, TEST_GRANT, CHECK_WARNING, "allow the grant refresh_token for the client at the authorization server",
                             "the client may not use refresh tokens: a user has to log in whenever a token ends");
    } else {
        profile_test_request_failed(t, &err);
    }
}

void profile_test_client_known(struct profile_test *t, const struct fetch_answer *a)
{
    struct span code = answer_text(a, "error");
    bool oauth_error = code.data != NULL && a->http_status >= 400 && a->http_status < 500;
    if (oauth_error && span_is(code, "invalid_client"))
        profile_test_set(t, TEST_CLIENT, CHECK_FAILED, "check client-id, or register the client (dpop register)",
                         "the server does not know client \"%s\" (invalid_client)", t->profile->client_id);
    else if (oauth_error || (a->http_status >= 200 && a->http_status < 400))
        profile_test_set(t, TEST_CLIENT, CHECK_FAILED,
                         "check client-authentication and the client's secret, key or certificate, here and at the server",
                         "the server knows client \"%s\", but refuses its %s (invalid_client)", t->profile->client_id,
                         config_client_authentication_name(t->profile->client_authentication));
}

void profile_test_put(const struct profile_test *t, struct list_builder *out)
{
    for (unsigned int i = 0; i < TEST_COUNT; i++) {
        const struct check *c = &t->checks[i];
        struct check_info info = {.name = span_text(names[i]),
                                  .result = (uint16_t)c->result,
                                  .detail = span_text(c->detail[0] != '\0' ? c->detail : NULL),
                                  .next = span_text(c->next[0] != '\0' ? c->next : NULL)};
        if (c->wanted)
            list_builder_add(out, &message_check_info, &info);
    }
}
