/*
 * A server's answer as the front gets it: the top-level members of a JSON object, each an encoded json_member
 * (internal.h), and what an access token in it tells of itself.
 *
 * The object is read strictly: no member twice on any level, no NUL, valid UTF-8, integers of 64 bits, at most 2048
 * levels, nothing behind it, at most JSON_ANSWER_MEMBERS_MAX members with names of at most LIMIT_TEXT bytes. Anything
 * else is an `error`, which says what came and never quotes it: it may hold a token.
 */
#ifndef NET_JSON_ANSWER_H
#define NET_JSON_ANSWER_H

#include "internal.h"
#include "jwt.h"

#define JSON_ANSWER_MEMBERS_MAX 256

struct json_answer {
    struct buffer encoded; /* where `members` point */
    struct span members[JSON_ANSWER_MEMBERS_MAX];
    size_t count;
    char error[256]; /* empty: it is an object */
    bool is_jwt;
    struct jwt jwt;
};

/* `content_type` may be absent; it is only told in the error. Free `out` in any case. */
void json_answer_read(struct span body, struct span content_type, struct json_answer *out);
void json_answer_free(struct json_answer *a);

#endif
