/* See profile_check.h: each function is one rule or a few that belong together. */
#include "profile_check.h"

#include "fapi2_check.h"
#include "mistake.h"
#include "value_check.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CODE (1U << GRANT_AUTHORIZATION_CODE)
#define DEVICE (1U << GRANT_DEVICE_CODE)
#define EXCHANGE (1U << GRANT_TOKEN_EXCHANGE)
#define BEARER (1U << GRANT_JWT_BEARER)
#define GRANTS 5

#define NEXT_GRANT "drop it, or choose the grant that is meant"

static enum status check_required(const struct config *c, const struct profile_config *p, struct error *err)
{
    const char *missing = p->key == NULL            ? "key"
                          : p->client_id == NULL    ? "client-id"
                          : p->origins.count == 0   ? "origins"
                                                    : NULL;
    if (missing == NULL)
        return STATUS_OK;
    return mistake_in_profile(c, p, NULL, err, "add it: dpop-agent.conf(5) has an example", "lacks the option \"%s\"", missing);
}

static enum status check_named_key(const struct config *c, const struct profile_config *p, const char *option, const char *name,
                                   struct error *err)
{
    if (name == NULL || config_key(c, span_text(name)) != NULL)
        return STATUS_OK;
    return mistake_in_profile(c, p, option, err, "name a key of this file, or add its section", "there is no [key %.63s]", name);
}

static enum status check_keys(const struct config *c, const struct profile_config *p, struct error *err)
{
    enum status status = check_named_key(c, p, "key", p->key, err);
    if (status == STATUS_OK)
        status = check_named_key(c, p, "client-key", p->client_key, err);
    return status == STATUS_OK ? check_named_key(c, p, "assertion-key", p->assertion_key, err) : status;
}

/* "authorization_code or device_code" */
static void name_grants(unsigned int grants, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned int g = 0; g < GRANTS; g++)
        if (grants & (1U << g) && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? " or " : "", config_grant_name((enum grant)g));
}

static enum status check_grant(const struct config *c, const struct profile_config *p, struct error *err)
{
    static const struct {
        const char *option;
        unsigned int grants;
    } belongs[] = {{"redirect-uri", CODE},
                   {"login-timeout", CODE},
                   {"authorization-form", CODE},
                   {"authorization-endpoint", CODE},
                   {"pushed-authorization-requests", CODE},
                   {"pushed-authorization-request-endpoint", CODE},
                   {"device-form", CODE | DEVICE}, /* dpop login --device works with either */
                   {"device-authorization-endpoint", CODE | DEVICE},
                   {"subject-token-profile", EXCHANGE},
                   {"subject-token-file", EXCHANGE},
                   {"subject-token-type", EXCHANGE},
                   {"actor-token-file", EXCHANGE},
                   {"actor-token-type", EXCHANGE},
                   {"requested-token-type", EXCHANGE},
                   {"assertion-file", BEARER},
                   {"assertion-key", BEARER},
                   {"assertion-issuer", BEARER},
                   {"assertion-subject", BEARER},
                   {"assertion-audience", BEARER}};
    char grants[96];
    for (size_t i = 0; i < sizeof(belongs) / sizeof(belongs[0]); i++) {
        if ((belongs[i].grants & (1U << p->grant)) || mistake_find(c, "profile", p->name, belongs[i].option) == NULL)
            continue;
        name_grants(belongs[i].grants, grants, sizeof(grants));
        return mistake_in_profile(c, p, belongs[i].option, err, NEXT_GRANT, "belongs to the grant %s; this profile's is %s",
                                  grants, config_grant_name(p->grant));
    }
    if (p->dpop == DPOP_REFRESH_ONLY && !config_needs_login(p))
        return mistake_in_profile(c, p, "dpop", err, "use required, or optional if Bearer tokens are to be accepted",
                                  "refresh-only belongs to a grant with refresh tokens: authorization_code or device_code");
    return STATUS_OK;
}

static bool has_secret_authentication(const struct profile_config *p)
{
    return p->client_authentication == CLIENT_SECRET_BASIC || p->client_authentication == CLIENT_SECRET_POST;
}

/* The first resource's metadata name the authorization server (RFC 9728): whoever answers there chooses it. */
static enum status check_found_server(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (p->resources.count == 0)
        return mistake_in_profile(c, p, NULL, err,
                                  "name the issuer, or a resource whose metadata name it (RFC 9728), or token-endpoint",
                                  "lacks the option \"issuer\"");
    if (has_secret_authentication(p))
        return mistake_in_profile(c, p, "client-authentication", err, "add issuer",
                                  "a client secret is shown only to a server that the configuration names");
    return value_check_url(c, mistake_find(c, "profile", p->name, "resource"), span_text(p->resources.items[0]), err);
}

/* With token-endpoint and without issuer nothing is looked up: what else is needed has to be named too. */
static enum status check_named_server(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (p->client_authentication == PRIVATE_KEY_JWT)
        return mistake_in_profile(c, p, NULL, err, "add the issuer beside token-endpoint",
                                  "lacks the option \"issuer\", to which private_key_jwt addresses its assertions");
    if (p->grant == GRANT_AUTHORIZATION_CODE && p->authorization_endpoint == NULL)
        return mistake_in_profile(c, p, "grant", err, "add issuer, or authorization-endpoint",
                                  "authorization_code needs the authorization endpoint, and without issuer nothing is looked up");
    if (p->grant == GRANT_DEVICE_CODE && p->device_authorization_endpoint == NULL)
        return mistake_in_profile(c, p, "grant", err, "add issuer, or device-authorization-endpoint",
                                  "device_code needs the device authorization endpoint, and without issuer nothing is looked up");
    if (p->assertion_subject != NULL && p->assertion_audience == NULL)
        return mistake_in_profile(c, p, "assertion-subject", err, "add assertion-audience, or issuer",
                                  "an assertion needs an audience, which is the issuer if none is named");
    return STATUS_OK;
}

static enum status check_server(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (p->issuer != NULL)
        return STATUS_OK;
    return p->token_endpoint != NULL ? check_named_server(c, p, err) : check_found_server(c, p, err);
}

static enum status check_secret(const struct config *c, const struct profile_config *p, struct error *err)
{
    const char *authentication = config_client_authentication_name(p->client_authentication);
    bool file = p->client_secret_file != NULL, credential = p->client_secret_credential != NULL;
    if (has_secret_authentication(p) && file == credential)
        return mistake_in_profile(c, p, NULL, err,
                                  file ? "keep one of them" : "put the secret into a file of mode 0600 and name it",
                                  "wants one of client-secret-file and client-secret-credential for %s", authentication);
    if (!has_secret_authentication(p) && (file || credential))
        return mistake_in_profile(c, p, file ? "client-secret-file" : "client-secret-credential", err,
                                  "drop it, or choose client_secret_basic or client_secret_post",
                                  "has a client secret, which %s does not use", authentication);
    return STATUS_OK;
}

/* What is sent under a client certificate is sent over TLS (RFC 8705 section 2). */
static enum status check_tls_urls(const struct config *c, const struct profile_config *p, struct error *err)
{
    for (size_t i = 0; i < c->entry_count; i++) {
        const struct config_entry *e = &c->entries[i];
        size_t option = strlen(e->option);
        bool server = strcmp(e->option, "issuer") == 0 || (option > 9 && strcmp(e->option + option - 9, "-endpoint") == 0);
        bool here = strcmp(e->section, "profile") == 0 && strcmp(e->name, p->name) == 0;
        if (here && server && strncasecmp(e->value, "http:", 5) == 0)
            return mistake_at(c, e, err, "use https", "%s needs https",
                              config_client_authentication_name(p->client_authentication));
    }
    return STATUS_OK;
}

static enum status check_certificate(const struct config *c, const struct profile_config *p, struct error *err)
{
    const char *authentication = config_client_authentication_name(p->client_authentication);
    if (!config_has_tls_client(p) && p->client_certificate_file != NULL)
        return mistake_in_profile(c, p, "client-certificate-file", err, "drop it, or choose one of the two",
                                  "only tls_client_auth and self_signed_tls_client_auth use it, not %s", authentication);
    if (!config_has_tls_client(p))
        return STATUS_OK;
    if (p->client_certificate_file == NULL)
        return mistake_in_profile(c, p, NULL, err, "dpop key cert and dpop key csr make one",
                                  "lacks the option \"client-certificate-file\", which %s needs", authentication);
    return check_tls_urls(c, p, err);
}

static enum status check_client(const struct config *c, const struct profile_config *p, struct error *err)
{
    enum status status = check_secret(c, p, err);
    if (status != STATUS_OK)
        return status;
    if (p->client_authentication == CLIENT_NONE && p->grant == GRANT_CLIENT_CREDENTIALS)
        return mistake_in_profile(c, p, "client-authentication", err, "choose another (RFC 6749 section 4.4)",
                                  "client_credentials needs a client authentication other than none");
    if (p->client_key != NULL && p->client_authentication != PRIVATE_KEY_JWT && !config_has_tls_client(p))
        return mistake_in_profile(c, p, "client-key", err, "drop it, or choose one of these",
                                  "only private_key_jwt, tls_client_auth and self_signed_tls_client_auth use it, not %s",
                                  config_client_authentication_name(p->client_authentication));
    return check_certificate(c, p, err);
}

/* Follows the profiles that a profile's subject tokens come from. */
static enum status check_subject_profile(const struct config *c, const struct profile_config *p, struct error *err)
{
    const struct profile_config *at = p;
    for (size_t steps = 0; steps <= c->profile_count && at->subject_token_profile != NULL; steps++) {
        const struct profile_config *from = config_profile(c, span_text(at->subject_token_profile));
        if (from == NULL)
            return mistake_in_profile(c, at, "subject-token-profile", err, "name a profile of this file, or add its section",
                                      "there is no [profile %.63s]", at->subject_token_profile);
        if (from == p)
            return mistake_in_profile(c, p, "subject-token-profile", err, "name another profile",
                                      "this profile would need a token of its own to get one");
        at = from;
    }
    return STATUS_OK;
}

static enum status check_exchange(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (p->subject_token_profile != NULL && p->subject_token_file != NULL)
        return mistake_in_profile(c, p, "subject-token-file", err, "keep one of them",
                                  "there is a subject-token-profile too, and there is one subject token");
    return check_subject_profile(c, p, err);
}

static enum status check_assertion(const struct config *c, const struct profile_config *p, struct error *err)
{
    const char *option = p->assertion_key != NULL        ? "assertion-key"
                         : p->assertion_issuer != NULL   ? "assertion-issuer"
                         : p->assertion_audience != NULL ? "assertion-audience"
                                                         : NULL;
    if (p->assertion_file != NULL && (option != NULL || p->assertion_subject != NULL))
        return mistake_in_profile(c, p, "assertion-file", err, "keep the file, or the options for one that the agent signs",
                                  "the assertion in a file is sent as it is: %s has no use",
                                  option != NULL ? option : "assertion-subject");
    if (option != NULL && p->assertion_subject == NULL)
        return mistake_in_profile(c, p, option, err, "add assertion-subject",
                                  "the agent signs an assertion only for the subject that assertion-subject names");
    return STATUS_OK;
}

enum status profile_check(const struct config *c, const struct profile_config *p, struct error *err)
{
    static enum status (*const rules[])(const struct config *, const struct profile_config *, struct error *) = {
        check_required, check_keys,     check_grant,     check_server,
        check_client,   check_exchange, check_assertion, fapi2_check};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && status == STATUS_OK; i++)
        status = rules[i](c, p, err);
    return status;
}
