/*
 * Dynamic registration (RFC 7591) through the agent, as `dpop register` and a `dpop login` that starts from an API's URL
 * do it: the options that both take, the operation, and the wait until the agent has read its new configuration.
 */
#ifndef CMD_REGISTRATION_H
#define CMD_REGISTRATION_H

#include "command.h"
#include "json.h"
#include "messages.h"

struct registration {
    const char *name, *key, *issuer, *resource, *client_authentication, *grant, *scope, *client_name, *ca_file;
    const char *token_file; /* initial access token; "-": standard input */
    struct option_values origins;
    bool allow_http_loopback;
};

enum {
    REGISTRATION_NAME = 0x100,
    REGISTRATION_KEY,
    REGISTRATION_ISSUER,
    REGISTRATION_RESOURCE,
    REGISTRATION_AUTHENTICATION,
    REGISTRATION_GRANT,
    REGISTRATION_SCOPE,
    REGISTRATION_CLIENT_NAME,
    REGISTRATION_CA_FILE,
    REGISTRATION_TOKEN_FILE,
    REGISTRATION_ORIGIN,
    REGISTRATION_HTTP_LOOPBACK,
};

/* Rows of both verbs' tables; `base` is the struct's offset in the verb's options. */
#define REGISTRATION_LONG_OPTIONS                                                    \
    {"name", required_argument, NULL, REGISTRATION_NAME},                            \
    {"key", required_argument, NULL, REGISTRATION_KEY},                              \
    {"client-authentication", required_argument, NULL, REGISTRATION_AUTHENTICATION}, \
    {"scope", required_argument, NULL, REGISTRATION_SCOPE},                          \
    {"client-name", required_argument, NULL, REGISTRATION_CLIENT_NAME},              \
    {"ca-file", required_argument, NULL, REGISTRATION_CA_FILE},                      \
    {"initial-access-token-file", required_argument, NULL, REGISTRATION_TOKEN_FILE}, \
    {"origin", required_argument, NULL, REGISTRATION_ORIGIN},                        \
    {"allow-http-loopback", no_argument, NULL, REGISTRATION_HTTP_LOOPBACK}
#define REGISTRATION_TEXT_OPTIONS(base)                                                            \
    {REGISTRATION_NAME, (base) + offsetof(struct registration, name)},                             \
    {REGISTRATION_KEY, (base) + offsetof(struct registration, key)},                               \
    {REGISTRATION_ISSUER, (base) + offsetof(struct registration, issuer)},                         \
    {REGISTRATION_RESOURCE, (base) + offsetof(struct registration, resource)},                     \
    {REGISTRATION_AUTHENTICATION, (base) + offsetof(struct registration, client_authentication)},  \
    {REGISTRATION_GRANT, (base) + offsetof(struct registration, grant)},                           \
    {REGISTRATION_SCOPE, (base) + offsetof(struct registration, scope)},                           \
    {REGISTRATION_CLIENT_NAME, (base) + offsetof(struct registration, client_name)},               \
    {REGISTRATION_CA_FILE, (base) + offsetof(struct registration, ca_file)},                       \
    {REGISTRATION_TOKEN_FILE, (base) + offsetof(struct registration, token_file)}
#define REGISTRATION_HELP                                                                              \
    "  --key NAME                 the profile's key (default the only one)\n"                          \
    "  --client-authentication M  default private_key_jwt, else what the server supports\n"            \
    "  --scope SCOPE              of the profile\n"                                                    \
    "  --origin ORIGIN            where its tokens may go (default the resource's); may be repeated\n" \
    "  --client-name TEXT         what the server shows to users\n"                                    \
    "  --initial-access-token-file FILE  if the server demands one; - is standard input\n"             \
    "  --ca-file FILE             trust the certificates in this PEM file\n"                           \
    "  --allow-http-loopback      plain http to this machine itself is allowed\n"

/* The options that are no texts: NULL, or what is wrong with it. */
const char *registration_option(struct registration *r, int c, const char *value);

/* Registers, shows the answer with `show`, and waits until the agent serves the new profile. A status. */
int registration_run(struct command *cmd, const struct registration *r,
                     int (*show)(const struct command *cmd, const struct register_answer *answer),
                     struct dpop_error *err);
void registration_put_json(struct json *j, const struct register_answer *answer); /* members of an object */
void registration_print(FILE *file, const struct register_answer *answer);

#endif
