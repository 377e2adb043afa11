/* See show.h. */
#include "show.h"

#include "base64.h"

#include <stdio.h>
#include <string.h>

static const struct {
    uint32_t bit;
    const char *name;
} attributes[] = {
    {KEY_PRIVATE, "private"},
    {KEY_SENSITIVE, "sensitive"},
    {KEY_ALWAYS_SENSITIVE, "always-sensitive"},
    {KEY_EXTRACTABLE, "extractable"},
    {KEY_NEVER_EXTRACTABLE, "never-extractable"},
    {KEY_LOCAL, "local"},
    {KEY_SIGN, "sign"},
    {KEY_ALWAYS_AUTHENTICATE, "always-authenticate"},
};
#define ATTRIBUTE_COUNT (sizeof(attributes) / sizeof(attributes[0]))

bool show_has_jwk(const struct key_info *key)
{
    return key->x.len == 32 && key->y.len == 32 && key->jkt.len > 0;
}

static void put_coordinate(struct json *j, const char *name, struct span bytes)
{
    struct buffer text;
    buffer_init(&text, 64);
    base64_put_url(&text, bytes);
    json_span(j, name, buffer_span(&text));
    buffer_free(&text);
}

void show_jwk_json(struct json *j, const char *name, const struct key_info *key)
{
    if (!show_has_jwk(key)) {
        json_text(j, name, NULL);
        return;
    }
    json_open(j, name, '{');
    json_text(j, "kty", "EC");
    json_text(j, "crv", "P-256");
    put_coordinate(j, "x", key->x);
    put_coordinate(j, "y", key->y);
    json_span(j, "kid", key->jkt);
    json_text(j, "alg", "ES256");
    json_text(j, "use", "sig");
    json_close(j, '}');
}

void show_attributes(const struct key_info *key, char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
        if (key->attributes & attributes[i].bit) {
            size_t len = strlen(out);
            (void)snprintf(out + len, size - len, "%s%s", len > 0 ? ", " : "", attributes[i].name);
        }
}

void show_pace(const struct key_info *key, const char *indent)
{
    if (key->sign_time > 0)
        (void)printf("%space: %u.%u ms for a signature\n", indent, key->sign_time / 1000, key->sign_time / 100 % 10);
    if (key->waiting > 0)
        (void)printf("%swaiting: %u request%s\n", indent, key->waiting, key->waiting == 1 ? "" : "s");
    if (key->stalled >= 1000)
        (void)printf("%sstalled: the token has been at a request for %u.%u s\n", indent, key->stalled / 1000,
                     key->stalled / 100 % 10);
    if (key->recoveries > 0)
        (void)printf("%srecovered: %u time%s\n", indent, key->recoveries, key->recoveries == 1 ? "" : "s");
    if (key->warning.len > 0)
        (void)printf("%swarning: %.*s\n", indent, SHOW(key->warning));
}

void show_key_json(struct json *j, const struct key_info *key)
{
    json_open(j, NULL, '{');
    json_span(j, "name", key->name);
    json_span(j, "state", key->state);
    json_span(j, "reason", key->reason);
    json_span(j, "next", key->next);
    json_span(j, "uri", key->uri);
    json_span(j, "token", key->token);
    json_span(j, "model", key->model);
    json_span(j, "thumbprint", key->jkt);
    show_jwk_json(j, "jwk", key);
    json_open(j, "attributes", '[');
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
        if (key->attributes & attributes[i].bit)
            json_text(j, NULL, attributes[i].name);
    json_close(j, ']');
    json_bool(j, "imported", key->imported);
    json_number(j, "workers", key->workers);
    json_number(j, "waiting", key->waiting);
    json_number(j, "signatures", key->signatures);
    json_number(j, "sign_time_us", key->sign_time);
    json_number(j, "stalled_ms", key->stalled);
    json_number(j, "recoveries", key->recoveries);
    json_span(j, "warning", key->warning);
    json_close(j, '}');
}

static void put_list(struct json *j, const char *name, const struct list *list)
{
    struct span item;
    size_t cursor = 0;
    json_open(j, name, '[');
    while (list_next(list, &cursor, &item))
        json_span(j, NULL, item);
    json_close(j, ']');
}

void show_profile_json(struct json *j, const struct profile_info *profile)
{
    json_open(j, NULL, '{');
    json_span(j, "name", profile->name);
    json_span(j, "key", profile->key);
    json_span(j, "issuer", profile->issuer);
    json_span(j, "token_endpoint", profile->token_endpoint);
    json_span(j, "client_id", profile->client_id);
    json_span(j, "client_authentication", profile->client_authentication);
    json_span(j, "grant", profile->grant);
    json_span(j, "scope", profile->scope);
    put_list(j, "resources", &profile->resources);
    put_list(j, "origins", &profile->origins);
    json_span(j, "state", profile->state);
    json_span(j, "reason", profile->reason);
    json_number(j, "expires_in", profile->expires_in);
    json_span(j, "login", profile->login);
    json_span(j, "login_reason", profile->login_reason);
    json_span(j, "subject", profile->subject);
    json_bool(j, "persisted", profile->persisted);
    json_span(j, "dpop", profile->dpop);
    json_close(j, '}');
}
