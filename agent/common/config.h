/*
 * The configuration: an INI file read once by the supervisor, handed to each process as a slice.
 *
 * One table (config.c) lists every option: its section, how it is read, and which roles may see it. A slice is INI text
 * again, made of the options that the role may see, so that one parser serves all. What the table does not list is an
 * error with file and line; so are duplicates, missing options and references to keys that do not exist.
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include "error.h"
#include "log.h"

#include <sys/types.h>

#define CONFIG_MAX_FILE (4 * 1024 * 1024)

/* A bit for each role, for the table's "who may see this option". */
enum role { ROLE_SUPERVISOR = 1, ROLE_FRONT = 2, ROLE_KEY = 4, ROLE_NET = 8, ROLE_STORE = 16, ROLE_INIT = 32 };

enum client_authentication { CLIENT_NONE, CLIENT_SECRET_BASIC, CLIENT_SECRET_POST, PRIVATE_KEY_JWT };
enum grant { GRANT_CLIENT_CREDENTIALS };

struct strings {
    char **items;
    size_t count;
};

struct agent_config {
    char *state_folder;
    enum log_level log_level;
    struct strings allow_users; /* names and numbers, as written */
};

struct key_config {
    char *name;
    unsigned int line; /* of its section, for errors */
    char *uri;         /* RFC 7512 */
    char *pin_file, *pin_credential;
    struct strings environment; /* NAME=value, for the module */
    unsigned int workers;
    unsigned int sign_timeout; /* seconds */
    char *thumbprint;          /* NULL: not pinned */
    bool allow_imported;
    struct strings origins; /* as written; the front normalises them */
};

struct profile_config {
    char *name;
    unsigned int line;
    char *key;
    char *issuer;         /* NULL only with token_endpoint */
    char *token_endpoint; /* NULL: discovery */
    char *client_id;
    enum client_authentication client_authentication;
    char *client_secret_file, *client_secret_credential;
    char *client_key; /* private_key_jwt; never NULL then */
    enum grant grant;
    char *scope; /* NULL: none */
    struct strings resources;
    struct strings form; /* name=value, not encoded */
    struct strings origins;
    char *ca_file; /* NULL: the system's */
    bool allow_http_loopback;
    unsigned int timeout; /* seconds for one exchange with the server */
};

/* One line "option = value", for slices and for checks that want to name the line. */
struct config_entry {
    const char *section; /* "agent", "key", "profile" */
    char *name;          /* of the key or profile; "" in [agent] */
    const char *option;
    char *value;
    unsigned int line;
    unsigned int roles;
};

struct config {
    char *path; /* for errors */
    struct config_entry *entries;
    size_t entry_count;
    struct agent_config agent;
    struct key_config *keys;
    size_t key_count;
    struct profile_config *profiles;
    size_t profile_count;
};

/* Parses INI text; `path` names it in errors. `role`: the whole file for the supervisor, a slice for the others. */
enum status config_parse(struct span text, const char *path, enum role role, struct config **out, struct error *err) MUST_CHECK;
enum status config_read_file(const char *path, struct config **out, struct error *err) MUST_CHECK; /* refuses one that others may write */
/* The slice for a role as INI text; `name`: the key that a key process serves, else NULL. */
void config_put_slice(const struct config *c, enum role role, const char *name, struct buffer *out);
void config_free(struct config *c);

const char *config_client_authentication_name(enum client_authentication a); /* "client_secret_basic" */
const char *config_grant_name(enum grant g);
const struct key_config *config_key(const struct config *c, struct span name);         /* NULL: there is none */
const struct profile_config *config_profile(const struct config *c, struct span name);

#endif
