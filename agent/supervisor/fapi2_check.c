/* See fapi2_check.h. */
#include "fapi2_check.h"

#include "mistake.h"

#include <string.h>
#include <strings.h>

#define NEXT "correct it, or set fapi2 = no"

static enum status check_client(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (p->client_authentication != PRIVATE_KEY_JWT && !config_has_tls_client(p))
        return mistake_in_profile(c, p, "client-authentication", err, "choose one of these, or set fapi2 = no",
                                  "fapi2 wants private_key_jwt, tls_client_auth or self_signed_tls_client_auth, not %s",
                                  config_client_authentication_name(p->client_authentication));
    if (p->dpop != DPOP_REQUIRED)
        return mistake_in_profile(c, p, "dpop", err, NEXT, "fapi2 wants sender-constrained tokens: dpop = required");
    if (p->par == PAR_NO)
        return mistake_in_profile(c, p, "pushed-authorization-requests", err, NEXT, "fapi2 wants pushed authorization requests");
    if (p->grant == GRANT_DEVICE_CODE)
        return mistake_in_profile(c, p, "grant", err, "use authorization_code, or set fapi2 = no",
                                  "fapi2 gets a user's consent with authorization_code, pushed requests and PKCE only");
    return STATUS_OK;
}

/* The issuer comes from the configuration, and everything else of the server from its metadata. */
static enum status check_server(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (p->issuer == NULL)
        return mistake_in_profile(c, p, NULL, err, "add the issuer, or set fapi2 = no",
                                  "lacks the option \"issuer\": fapi2 wants one that the configuration names");
    for (size_t i = 0; i < c->entry_count; i++) {
        const struct config_entry *e = &c->entries[i];
        size_t option = strlen(e->option);
        if (strcmp(e->section, "profile") != 0 || strcmp(e->name, p->name) != 0)
            continue;
        if (option > 9 && strcmp(e->option + option - 9, "-endpoint") == 0)
            return mistake_at(c, e, err, "drop it: the issuer's metadata name it", "fapi2 takes endpoints from metadata only");
    }
    return STATUS_OK;
}

/* Loopback redirects, which RFC 8252 has in http, are the one exception of the profile. */
static enum status check_https(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (p->allow_http_loopback)
        return mistake_in_profile(c, p, "allow-http-loopback", err, NEXT, "fapi2 wants https everywhere");
    for (size_t i = 0; i < p->resources.count; i++)
        if (strncasecmp(p->resources.items[i], "http:", 5) == 0)
            return mistake_in_profile(c, p, "resource", err, NEXT, "fapi2 wants https everywhere");
    return STATUS_OK;
}

enum status fapi2_check(const struct config *c, const struct profile_config *p, struct error *err)
{
    if (!p->fapi2)
        return STATUS_OK;
    enum status status = check_client(c, p, err);
    if (status == STATUS_OK)
        status = check_server(c, p, err);
    return status == STATUS_OK ? check_https(c, p, err) : status;
}
