/*
 * A dynamic client registration (RFC 7591): what is asked for, and what is made of the answer. Pure. What the server
 * returns counts, but not where it is weaker than what was asked for by name.
 */
#ifndef FRONT_REGISTRATION_H
#define FRONT_REGISTRATION_H

#include "config.h"
#include "internal.h"
#include "jwk.h"
#include "metadata.h"

struct registration {
    enum client_authentication authentication;
    bool authentication_asked; /* else the server may choose a weaker one */
    enum grant grant;
    bool refresh_tokens;
    const char *client_name, *scope; /* NULL: none */
};

struct registered {
    struct span client_id, client_secret; /* absent: no secret, or none that the authentication uses */
    enum client_authentication authentication;
    struct span registration_uri, registration_token; /* RFC 7592; absent: none */
    bool secret_expires;
};

/* Absent names: authorization_code, and the strongest authentication that the server lists. */
enum status registration_plan(struct span authentication, struct span grant, const struct server_metadata *server,
                              struct registration *out, struct error *err) MUST_CHECK;
void registration_put(const struct registration *plan, const struct jwk *key, const char *jkt, struct buffer *json);
/* Of an answer with any status. *out points into it. */
enum status registration_read(const struct registration *plan, const struct fetch_answer *a, struct registered *out,
                              struct error *err) MUST_CHECK;
/* The words of the scope that was asked for which the server allows; all of them where it does not say. */
void registration_put_scope(const struct registration *plan, const struct fetch_answer *a, struct buffer *out);

#endif
