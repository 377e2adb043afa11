/*
 * The configuration: an INI file read once by the supervisor, handed to each process as a slice.
 *
 * One table (config_option.c) lists every option: its section, how it is read, and which roles may see it. A slice is
 * INI text again, made of the options that the role may see, so that one parser serves all. What the table does not
 * list is an error with file and line, and so are duplicates; what a whole file must mean is checked besides
 * (supervisor/config_check.h).
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include "error.h"
#include "log.h"

#include <sys/types.h>

#define CONFIG_MAX_FILE (4 * 1024 * 1024)

/* A bit for each role, for the table's "who may see this option". */
enum role {
    ROLE_SUPERVISOR = 1,
    ROLE_FRONT = 2,
    ROLE_KEY = 4,
    ROLE_NET = 8,
    ROLE_STORE = 16,
    ROLE_INIT = 32,
    ROLE_NET_TLS = 64, /* the net process of one profile whose TLS client key is in a token */
};

enum client_authentication {
    CLIENT_NONE,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    PRIVATE_KEY_JWT,
    TLS_CLIENT_AUTH,
    SELF_SIGNED_TLS_CLIENT_AUTH,
};
enum grant { GRANT_CLIENT_CREDENTIALS, GRANT_AUTHORIZATION_CODE, GRANT_DEVICE_CODE, GRANT_TOKEN_EXCHANGE,
             GRANT_JWT_BEARER };
enum dpop_policy { DPOP_REQUIRED, DPOP_REFRESH_ONLY, DPOP_OPTIONAL };
enum par_policy { PAR_AUTO, PAR_YES, PAR_NO }; /* auto: where the server advertises it */

struct strings {
    char **items;
    size_t count;
};

struct agent_config {
    char *state_folder;
    enum log_level log_level;
    struct strings allow_users; /* names and numbers, as written */
    uint8_t *pin_key; /* PIN_KEY_SIZE bytes of sodium_malloc, in slices of key and net-tls processes; NULL: none */
    unsigned int max_clock_skew; /* seconds that a server's clock may be learned to differ; 0: never learned */
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
    char *issuer;         /* NULL: token_endpoint is there, or the first resource's metadata name it (RFC 9728) */
    char *token_endpoint; /* NULL: discovery; so are the next five */
    char *authorization_endpoint;
    char *pushed_authorization_request_endpoint;
    char *device_authorization_endpoint;
    char *revocation_endpoint;
    char *introspection_endpoint;
    char *client_id;
    enum client_authentication client_authentication;
    char *client_secret_file, *client_secret_credential;
    char *client_key; /* private_key_jwt and TLS client authentication; never NULL then */
    char *client_certificate_file; /* TLS client authentication: PEM */
    enum grant grant;
    enum dpop_policy dpop;
    enum par_policy par;
    bool fapi2;
    bool persist;               /* the refresh token may be written, sealed */
    char *redirect_uri;         /* of a login; NULL: http://127.0.0.1/callback. Port 0 or none: an ephemeral one */
    unsigned int login_timeout; /* seconds for the user */
    char *scope; /* NULL: none */
    struct strings resources;
    struct strings audiences;
    char *authorization_details; /* JSON (RFC 9396) */
    struct strings form;         /* token requests: name=value, not encoded; and so for the other endpoints: */
    struct strings authorization_form, device_form, revocation_form, introspection_form;
    char *subject_token_profile, *subject_token_file, *subject_token_type; /* token-exchange */
    char *actor_token_file, *actor_token_type, *requested_token_type;
    char *assertion_file;                                                  /* jwt-bearer: a JWT as it is, or one that we
                                                                              sign: */
    char *assertion_key, *assertion_issuer, *assertion_subject, *assertion_audience;
    char *trace_file; /* NULL: none */
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
enum status config_parse(struct span text, const char *path, enum role role, struct config **out,
                         struct error *err) MUST_CHECK;
/* refuses one that others may write */
enum status config_read_file(const char *path, struct config **out, struct error *err) MUST_CHECK;
/* The slice for a role as INI text; `name`: the key that a key process serves, or the profile that a ROLE_NET_TLS
   process serves (which gets that profile's section and the one of its client-key); else NULL. */
void config_put_slice(const struct config *c, enum role role, const char *name, struct buffer *out);
void config_free(struct config *c);

const char *config_client_authentication_name(enum client_authentication a); /* "client_secret_basic" */
const char *config_grant_name(enum grant g); /* as in the configuration: "token-exchange" */
const char *config_grant_type(enum grant g); /* as on the wire: "urn:ietf:params:oauth:grant-type:token-exchange" */
const char *config_dpop_name(enum dpop_policy p);
bool config_lists(const struct strings *s, const char *text); /* is it one of them? */
bool config_needs_login(const struct profile_config *p); /* its tokens come from a user's login and refresh tokens */
bool config_has_tls_client(const struct profile_config *p);
const struct key_config *config_key(const struct config *c, struct span name);         /* NULL: there is none */
const struct profile_config *config_profile(const struct config *c, struct span name);

#endif
