/* See session_names.h. */
#include "session_names.h"

#include <string.h>
#include <strings.h>

static const char *const form_names[] = {
    "acr_values", "actor_token_type", "audience", "authorization_details", "client_assertion_type", "client_id",
    "code_challenge", "code_challenge_method", "display", "dpop_jkt", "grant_type", "interval", "max_age", "prompt",
    "redirect_uri", "requested_token_type", "resource", "response_mode", "response_type", "scope", "subject_token_type",
    "token_type_hint", "ui_locales", NULL,
};
static const char *const header_names[] = {
    "Accept", "Cache-Control", "Content-Length", "Content-Type", "Date", "DPoP-Nonce", "Host", "Retry-After",
    "Transfer-Encoding", "User-Agent", NULL,
};
/* Besides these the names that end with "_endpoint", "_supported" or "_required": of servers' metadata. */
static const char *const member_names[] = {
    "active", "application_type", "aud", "authorization_details", "authorization_servers", "client_id",
    "client_id_issued_at", "client_name", "client_secret_expires_at", "cnf.jkt", "cnf.x5t#S256",
    "dpop_bound_access_tokens", "error", "error_description", "error_uri", "exp", "expires_in", "grant_types", "iat",
    "id_token_signed_response_alg", "interval", "iss", "issued_token_type", "issuer", "jwks_uri", "nbf",
    "redirect_uris", "refresh_expires_in", "require_pushed_authorization_requests", "resource", "response_types", "scope",
    "service_documentation", "sub", "tls_client_auth_subject_dn", "tls_client_certificate_bound_access_tokens",
    "token_endpoint_auth_method", "token_endpoint_auth_signing_alg", "token_type", "verification_uri", NULL,
};
static const char *const secret_member_names[] = {
    "access_token", "client_secret", "cnf", "device_code", "id_token", "mtls_endpoint_aliases", "refresh_token",
    "registration_access_token", "registration_client_uri", "request_uri", "user_code", "verification_uri_complete", NULL,
};
static const char *const member_ends[] = {"_endpoint", "_supported", "_required", NULL};
static const char *const jwt_names[] = {
    "alg", "ath", "aud", "crv", "exp", "htm", "htu", "iat", "iss", "jti", "jwk", "kid", "kty", "nbf", "nonce", "sub", "typ",
    "x", "y", NULL,
};
static const char *const challenge_names[] = {"algs", "error", "error_description", "realm", "scope", NULL};

static bool equal(const char *listed, struct span name, bool any_case)
{
    return strlen(listed) == name.len && (any_case ? strncasecmp(listed, (const char *)name.data, name.len) == 0
                                                   : memcmp(listed, name.data, name.len) == 0);
}

bool session_names_has(enum session_list list, struct span name)
{
    static const char *const *const lists[] = {
        [SESSION_FORM_NAMES] = form_names, [SESSION_HEADER_NAMES] = header_names,
        [SESSION_MEMBER_NAMES] = member_names, [SESSION_WHOLE_MEMBER_NAMES] = member_names,
        [SESSION_SECRET_MEMBER_NAMES] = secret_member_names,
        [SESSION_JWT_NAMES] = jwt_names, [SESSION_CHALLENGE_NAMES] = challenge_names,
    };
    bool any_case = list == SESSION_HEADER_NAMES || list == SESSION_CHALLENGE_NAMES;

    for (const char *const *n = lists[list]; *n != NULL; n++)
        if (equal(*n, name, any_case))
            return true;
    for (const char *const *end = member_ends; list == SESSION_MEMBER_NAMES && *end != NULL; end++)
        if (name.len > strlen(*end) && equal(*end, span_of(name.data + name.len - strlen(*end), strlen(*end)), false))
            return true;
    return false;
}
