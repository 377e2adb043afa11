/*
 * A server's answer as the front gets it: the top-level members of a JSON object, each an encoded json_member
 * (internal.h), and what tokens in it tell of themselves.
 *
 * The object is read strictly: no member twice on any level, no NUL, valid UTF-8, integers of 64 bits, at most 2048
 * levels, nothing behind it, at most JSON_ANSWER_MEMBERS_MAX members with names of at most LIMIT_TEXT bytes. Anything
 * else is an `error`, which says what came and never quotes it: it may hold a token.
 *
 * The strings in the objects `cnf` and `mtls_endpoint_aliases` follow as members of their own, behind the others:
 * "cnf.jkt", "mtls_endpoint_aliases.token_endpoint". A top-level member that has such a name is dropped, so that it cannot be
 * taken for one of them.
 *
 * A server may repeat what it was sent. So before the answer is handed on, json_answer_mask takes the request's secrets out of it:
 * applications get to see an error's description, and an introspection's claims.
 */
#ifndef NET_JSON_ANSWER_H
#define NET_JSON_ANSWER_H

#include "internal.h"
#include "jwt.h"
#include "masking.h"

#define JSON_ANSWER_MEMBERS_MAX 256
#define JSON_ANSWER_NESTED_MAX 32 /* strings in one of the two objects */
#define JSON_ANSWER_ALL_MAX (JSON_ANSWER_MEMBERS_MAX + 2 * JSON_ANSWER_NESTED_MAX)

struct json_answer {
    struct json_t *object; /* NULL: it is none */
    struct buffer encoded; /* where `members` point */
    struct span members[JSON_ANSWER_ALL_MAX];
    size_t count;
    char error[256]; /* empty: it is an object */
    bool is_jwt;
    struct jwt jwt;        /* of the access token; of an introspection's answer only the thumbprint */
    bool has_id_token;      /* and `id_token` has its claims, an id_token_message */
    bool id_token_unreadable;
    struct buffer id_token;
};

/* `content_type` may be absent; it is only told in the error. Free `out` in any case. */
void json_answer_read(struct span body, struct span content_type, struct json_answer *out);
/* Strings on every level; members whose names hold a secret are dropped. In an answer that is no error (status 2xx and no member
 * `error`) the strings that are there for the value's sake stay as they are: tokens, codes, client secrets. */
void json_answer_mask(struct json_answer *a, const struct masking *masking, unsigned int http_status);
void json_answer_free(struct json_answer *a);
bool json_answer_is_nested(struct span name); /* "cnf.jkt": a string in one of the two objects */

#endif
