/* See config_option.h. */
#include "config_option.h"

#include "internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
const char *const config_option_client_authentications[] = {
    "none", "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth",
        "self_signed_tls_client_auth", NULL};
const char *const config_option_grants[] = {"client_credentials", "authorization_code", "device_code",
                                            "token-exchange", "jwt-bearer",
                                            NULL};
const char *const config_option_dpop_policies[] = {"required", "refresh-only", "optional", NULL};
static const char *const par_policies[] = {"auto", "yes", "no", NULL};

/* Most bytes of a value: what the messages of the wire can carry (proto/messages.h), and the system's limits. */
#define MAX_URL LIMIT_URL
#define MAX_ID LIMIT_TEXT
#define MAX_PATH 4095
#define MAX_CREDENTIAL 255 /* a file name */
#define MAX_WORDS 32768

#define A(member) offsetof(struct agent_config, member)
#define K(member) offsetof(struct key_config, member)
#define P(member) offsetof(struct profile_config, member)
#define ALL (ROLE_FRONT | ROLE_KEY | ROLE_NET | ROLE_STORE | ROLE_INIT | ROLE_NET_TLS)
#define NETS (ROLE_NET | ROLE_NET_TLS)

static const struct config_option options[] = {
    {"agent", "state-folder", KIND_PATH, A(state_folder), ROLE_STORE | ROLE_INIT, 0, MAX_PATH, NULL},
    {"agent", "log-level", KIND_CHOICE, A(log_level), ALL, 0, 0, log_levels},
    {"agent", "allow-users", KIND_WORDS, A(allow_users), ROLE_FRONT, 0, MAX_WORDS, NULL},
    {"agent", CONFIG_OPTION_PIN_KEY, KIND_PIN_KEY, A(pin_key), ROLE_KEY | ROLE_NET_TLS, 0, 0, NULL},
    {"agent", "max-clock-skew", KIND_NUMBER, A(max_clock_skew), ROLE_FRONT, 0, 86400, NULL},

    {"key", "uri", KIND_TEXT, K(uri), ROLE_FRONT | ROLE_KEY | ROLE_NET_TLS, 0, MAX_URL, NULL},
    {"key", "pin-file", KIND_PATH, K(pin_file), ROLE_KEY | ROLE_NET_TLS, 0, MAX_PATH, NULL},
    {"key", "pin-credential", KIND_TEXT, K(pin_credential), ROLE_KEY | ROLE_NET_TLS, 0, MAX_CREDENTIAL, NULL},
    {"key", "environment", KIND_LINES, K(environment), ROLE_KEY | ROLE_NET_TLS, 0, MAX_URL, NULL},
    {"key", "workers", KIND_NUMBER, K(workers), ROLE_FRONT, 1, 64, NULL},
    {"key", "sign-timeout", KIND_NUMBER, K(sign_timeout), ROLE_FRONT, 1, 300, NULL},
    {"key", "thumbprint", KIND_TEXT, K(thumbprint), ROLE_FRONT | ROLE_KEY, 0, MAX_URL, NULL},
    {"key", "allow-imported", KIND_YES_NO, K(allow_imported), ROLE_KEY | ROLE_NET_TLS, 0, 0, NULL},
    {"key", "origins", KIND_WORDS, K(origins), ROLE_FRONT, 0, MAX_WORDS, NULL},

    {"profile", "key", KIND_TEXT, P(key), ROLE_FRONT | ROLE_STORE, 0, MAX_URL, NULL},
    {"profile", "issuer", KIND_TEXT, P(issuer), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "token-endpoint", KIND_TEXT, P(token_endpoint), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "authorization-endpoint", KIND_TEXT, P(authorization_endpoint), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "pushed-authorization-request-endpoint", KIND_TEXT, P(pushed_authorization_request_endpoint),
     ROLE_FRONT, 0, MAX_URL,
     NULL},
    {"profile", "device-authorization-endpoint", KIND_TEXT, P(device_authorization_endpoint), ROLE_FRONT, 0, MAX_URL,
     NULL},
    {"profile", "revocation-endpoint", KIND_TEXT, P(revocation_endpoint), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "introspection-endpoint", KIND_TEXT, P(introspection_endpoint), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "client-id", KIND_TEXT, P(client_id), ROLE_FRONT | NETS, 0, MAX_ID, NULL},
    {"profile", "client-authentication", KIND_CHOICE, P(client_authentication), ROLE_FRONT | NETS, 0, 0,
     config_option_client_authentications},
    {"profile", "client-secret-file", KIND_PATH, P(client_secret_file), ROLE_NET, 0, MAX_PATH, NULL},
    {"profile", "client-secret-credential", KIND_TEXT, P(client_secret_credential), ROLE_NET, 0, MAX_CREDENTIAL, NULL},
    {"profile", "client-key", KIND_TEXT, P(client_key), ROLE_FRONT | ROLE_NET_TLS, 0, MAX_URL, NULL},
    {"profile", "client-certificate-file", KIND_PATH, P(client_certificate_file), ROLE_NET_TLS, 0, MAX_PATH, NULL},
    {"profile", "grant", KIND_CHOICE, P(grant), ROLE_FRONT, 0, 0, config_option_grants},
    {"profile", "dpop", KIND_CHOICE, P(dpop), ROLE_FRONT, 0, 0, config_option_dpop_policies},
    {"profile", "fapi2", KIND_YES_NO, P(fapi2), ROLE_FRONT, 0, 0, NULL},
    {"profile", "persist", KIND_YES_NO, P(persist), ROLE_FRONT | ROLE_STORE, 0, 0, NULL},
    {"profile", "pushed-authorization-requests", KIND_CHOICE, P(par), ROLE_FRONT, 0, 0, par_policies},
    {"profile", "redirect-uri", KIND_TEXT, P(redirect_uri), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "login-timeout", KIND_NUMBER, P(login_timeout), ROLE_FRONT, 1, 3600, NULL},
    {"profile", "scope", KIND_TEXT, P(scope), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "resource", KIND_LINES, P(resources), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "audience", KIND_LINES, P(audiences), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "authorization-details", KIND_TEXT, P(authorization_details), ROLE_FRONT, 0, MAX_WORDS, NULL},
    {"profile", "form", KIND_LINES, P(form), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "authorization-form", KIND_LINES, P(authorization_form), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "device-form", KIND_LINES, P(device_form), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "revocation-form", KIND_LINES, P(revocation_form), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "introspection-form", KIND_LINES, P(introspection_form), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "subject-token-profile", KIND_TEXT, P(subject_token_profile), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "subject-token-file", KIND_PATH, P(subject_token_file), ROLE_FRONT | NETS, 0, MAX_PATH, NULL},
    {"profile", "subject-token-type", KIND_TEXT, P(subject_token_type), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "actor-token-file", KIND_PATH, P(actor_token_file), ROLE_FRONT | NETS, 0, MAX_PATH, NULL},
    {"profile", "actor-token-type", KIND_TEXT, P(actor_token_type), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "requested-token-type", KIND_TEXT, P(requested_token_type), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "assertion-file", KIND_PATH, P(assertion_file), ROLE_FRONT | NETS, 0, MAX_PATH, NULL},
    {"profile", "assertion-key", KIND_TEXT, P(assertion_key), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "assertion-issuer", KIND_TEXT, P(assertion_issuer), ROLE_FRONT, 0, MAX_ID, NULL},
    {"profile", "assertion-subject", KIND_TEXT, P(assertion_subject), ROLE_FRONT, 0, MAX_ID, NULL},
    {"profile", "assertion-audience", KIND_TEXT, P(assertion_audience), ROLE_FRONT, 0, MAX_URL, NULL},
    {"profile", "trace-file", KIND_PATH, P(trace_file), ROLE_FRONT | ROLE_STORE, 0, MAX_PATH, NULL},
    {"profile", "origins", KIND_WORDS, P(origins), ROLE_FRONT, 0, MAX_WORDS, NULL},
    {"profile", "ca-file", KIND_PATH, P(ca_file), ROLE_FRONT | NETS, 0, MAX_PATH, NULL},
    {"profile", "allow-http-loopback", KIND_YES_NO, P(allow_http_loopback), ROLE_FRONT | NETS, 0, 0, NULL},
    {"profile", "timeout", KIND_NUMBER, P(timeout), ROLE_FRONT, 1, 600, NULL},
};

static int add_string(struct strings *s, struct span text)
{
    char **items = realloc(s->items, (s->count + 1) * sizeof(*items));
    if (items == NULL)
        return -1;
    s->items = items;
    items[s->count] = span_dup(text);
    return items[s->count] != NULL ? (s->count++, 0) : -1;
}

static int add_words(struct strings *s, struct span text)
{
    while (text.len > 0) {
        size_t n = 0;
        while (n < text.len && text.data[n] != ' ' && text.data[n] != '\t')
            n++;
        if (n > 0 && add_string(s, span_of(text.data, n)) != 0)
            return -1;
        n += n < text.len;
        text = span_of(text.data + n, text.len - n);
    }
    return 0;
}

const struct config_option *config_option_find(const char *section, const char *name)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (strcmp(options[i].section, section) == 0 && strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

static const char *set_number(const struct config_option *o, struct span value, unsigned int *out, char *wrong,
                              size_t wrong_size)
{
    unsigned long number = 0;
    for (size_t i = 0; i < value.len; i++)
        number = value.data[i] >= '0' && value.data[i] <= '9' && number <= o->max
                     ? 10 * number + (unsigned long)(value.data[i] - '0')
                     : (unsigned long)o->max + 1;
    if (number < o->min || number > o->max) {
        (void)snprintf(wrong, wrong_size, "must be a whole number from %u to %u", o->min, o->max);
        return wrong;
    }
    *out = (unsigned int)number;
    return NULL;
}

static const char *set_choice(const struct config_option *o, struct span value, unsigned int *out, char *wrong,
                              size_t wrong_size)
{
    for (unsigned int i = 0; o->choices[i] != NULL; i++)
        if (span_is(value, o->choices[i])) {
            *out = i;
            return NULL;
        }
    (void)snprintf(wrong, wrong_size, "must be one of:");
    for (unsigned int i = 0; o->choices[i] != NULL; i++) {
        size_t used = strlen(wrong);
        (void)snprintf(wrong + used, wrong_size - used, " %s", o->choices[i]);
    }
    return wrong;
}

static const char *set_pin_key(struct span value, uint8_t **out)
{
    size_t len = 0;
    uint8_t *key = sodium_malloc(PIN_KEY_SIZE);
    if (key == NULL)
        return "does not fit into memory";
    if (*out != NULL || value.len != 2 * (size_t)PIN_KEY_SIZE ||
        sodium_hex2bin(key, PIN_KEY_SIZE, (const char *)value.data, value.len, NULL, &len, NULL) != 0 ||
            len != PIN_KEY_SIZE) {
        sodium_free(key);
        return "must be 64 hex digits, once";
    }
    *out = key;
    return NULL;
}

const char *config_option_set(const struct config_option *o, struct span value, void *section_struct, char *wrong,
                              size_t wrong_size)
{
    static const char no_memory[] = "does not fit into memory";
    void *member = (char *)section_struct + o->offset;
    bool text = o->kind == KIND_TEXT || o->kind == KIND_PATH || o->kind == KIND_WORDS || o->kind == KIND_LINES;
    if (text && value.len > o->max) {
        (void)snprintf(wrong, wrong_size, "is longer than %u bytes", o->max);
        return wrong;
    }
    switch (o->kind) {
    case KIND_PATH:
        if (value.data[0] != '/')
            return "must be an absolute path";
        /* fallthrough */
    case KIND_TEXT:
        return (*(char **)member = span_dup(value)) != NULL ? NULL : no_memory;
    case KIND_NUMBER:
        return set_number(o, value, member, wrong, wrong_size);
    case KIND_YES_NO:
        *(bool *)member = span_is(value, "yes");
        return span_is(value, "yes") || span_is(value, "no") ? NULL : "must be yes or no";
    case KIND_WORDS:
        return add_words(member, value) == 0 ? NULL : no_memory;
    case KIND_LINES:
        return add_string(member, value) == 0 ? NULL : no_memory;
    case KIND_CHOICE:
        return set_choice(o, value, member, wrong, wrong_size);
    case KIND_PIN_KEY:
        return set_pin_key(value, member);
    }
    return "has no kind";
}
