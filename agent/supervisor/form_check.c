/* See form_check.h. */
#include "form_check.h"

#include "mistake.h"

#include <string.h>

/* Client authentication, in every request that has one. */
#define OF_CLIENT "client_id", "client_secret", "client_assertion", "client_assertion_type"
/* What the token is asked for. */
#define OF_TARGET "scope", "resource", "audience", "authorization_details"

static const char *const token_fields[] = {
    OF_CLIENT, OF_TARGET, "grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "subject_token",
    "subject_token_type", "actor_token", "actor_token_type", "requested_token_type", "assertion", "device_code", NULL};
static const char *const authorization_fields[] = {
    OF_CLIENT, OF_TARGET, "response_type", "response_mode", "redirect_uri", "state", "nonce", "code_challenge",
    "code_challenge_method", "dpop_jkt", "request", "request_uri", NULL};
static const char *const device_fields[] = {OF_CLIENT, OF_TARGET, "dpop_jkt", NULL};
static const char *const of_one_token_fields[] = {OF_CLIENT, "token", "token_type_hint", NULL};

/* NULL: the option is no form. */
static const char *const *fields_of(const char *option)
{
    static const struct {
        const char *option;
        const char *const *fields;
    } forms[] = {{"form", token_fields},
                 {"authorization-form", authorization_fields},
                 {"device-form", device_fields},
                 {"revocation-form", of_one_token_fields},
                 {"introspection-form", of_one_token_fields}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (strcmp(forms[i].option, option) == 0)
            return forms[i].fields;
    return NULL;
}

enum status form_check(const struct config *c, const struct config_entry *e, struct error *err)
{
    const char *const *fields = fields_of(e->option);
    size_t name = strcspn(e->value, "=");
    if (fields == NULL)
        return STATUS_OK;
    if (name == 0 || e->value[name] == '\0')
        return mistake_at(c, e, err, "write the field's name, =, and its value", "wants name=value");
    for (; *fields != NULL; fields++)
        if (strlen(*fields) == name && strncmp(e->value, *fields, name) == 0)
            return mistake_at(c, e, err, "use the option that is there for it", "the field %s is the agent's to set", *fields);
    return STATUS_OK;
}
