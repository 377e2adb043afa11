/*
 * See challenge.h. The grammar, with the list rule's empty elements (RFC 9110 sections 5.6.1 and 11.2):
 *
 *   value      = [ element ] *( "," [ element ] )
 *   element    = scheme [ 1*SP ( token68 / parameter ) ] / parameter
 *   parameter  = token BWS "=" BWS ( token / quoted-string )
 *
 * A comma separates challenges and parameters alike. An element is a parameter when a "=" follows its first token.
 */
#include "challenge.h"

#include "error.h"
#include "http_token.h"

#include <string.h>
#include <strings.h>

enum scheme { SCHEME_NONE, SCHEME_DPOP, SCHEME_BEARER, SCHEME_OTHER };

/* The challenge that is being read, with those of its parameters that matter. */
struct challenge {
    enum scheme scheme;
    bool has_error;
    bool has_description;
    bool has_scope;
    char error[128];
    char description[512];
    char scope[256];
};

static bool next_is(struct span s, char c)
{
    return s.len > 0 && s.data[0] == (uint8_t)c;
}

static void skip(struct span *s, size_t len)
{
    s->data += len;
    s->len -= len;
}

static size_t skip_blanks(struct span *s)
{
    size_t len = 0;
    while (len < s->len && (s->data[len] == ' ' || s->data[len] == '\t'))
        len++;
    skip(s, len);
    return len;
}

static void skip_separators(struct span *s)
{
    while (skip_blanks(s) > 0 || next_is(*s, ','))
        if (next_is(*s, ','))
            skip(s, 1);
}

static bool at_end_of_element(struct span s)
{
    (void)skip_blanks(&s);
    return s.len == 0 || next_is(s, ',');
}

static struct span take_token(struct span *s)
{
    size_t len = 0;
    while (len < s->len && http_token_char(s->data[len]))
        len++;
    struct span token = span_of(s->data, len);
    skip(s, len);
    return token;
}

static bool next_is_parameter(struct span s)
{
    if (take_token(&s).len == 0)
        return false;
    (void)skip_blanks(&s);
    return next_is(s, '=');
}

/* True, and moved past it, when all up to the end of the element is one token68. */
static bool skip_token68(struct span *s)
{
    struct span rest = *s;
    while (rest.len > 0 && ((http_token_char(rest.data[0]) && strchr("!#$%&'*^`|", rest.data[0]) == NULL) ||
                            rest.data[0] == '/'))
        skip(&rest, 1);
    if (rest.data == s->data)
        return false;
    while (next_is(rest, '='))
        skip(&rest, 1);
    if (!at_end_of_element(rest))
        return false;
    *s = rest;
    return true;
}

/* Takes a quoted-string whose content, unescaped and cut, goes to `out`; -1 when it is malformed. */
static int take_quoted(struct span *s, char *out, size_t size)
{
    size_t len = 0;
    for (skip(s, 1); s->len > 0; skip(s, 1)) {
        if (next_is(*s, '"')) {
            skip(s, 1);
            out[len] = '\0';
            return 0;
        }
        if (next_is(*s, '\\'))
            skip(s, 1);
        if (s->len == 0 || (s->data[0] < 0x20 && s->data[0] != '\t') || s->data[0] == 0x7f)
            return -1;
        if (len < size - 1)
            out[len++] = (char)s->data[0];
    }
    return -1;
}

static int take_value(struct span *s, char *out, size_t size)
{
    if (next_is(*s, '"'))
        return take_quoted(s, out, size);
    struct span token = take_token(s);
    if (token.len == 0)
        return -1;
    token.len = token.len < size ? token.len : size - 1;
    return span_copy(token, out, size);
}

static bool is_name(struct span s, const char *name)
{
    return s.len == strlen(name) && strncasecmp((const char *)s.data, name, s.len) == 0;
}

/* Keeps a parameter; -1 when the challenge has it already: of two values nobody knows which one counts. */
static int keep(const char *value, char *out, size_t size, bool *has)
{
    if (*has)
        return -1;
    *has = true;
    error_put_text(out, size, span_text(value));
    return 0;
}

static int take_parameter(struct span *s, struct challenge *c)
{
    char value[sizeof(c->description)];
    struct span name = take_token(s);
    (void)skip_blanks(s);
    if (name.len == 0 || !next_is(*s, '='))
        return -1;
    skip(s, 1);
    (void)skip_blanks(s);
    if (take_value(s, value, sizeof(value)) != 0 || !at_end_of_element(*s))
        return -1;
    if (is_name(name, "error"))
        return keep(value, c->error, sizeof(c->error), &c->has_error);
    if (is_name(name, "error_description"))
        return keep(value, c->description, sizeof(c->description), &c->has_description);
    if (is_name(name, "scope"))
        return keep(value, c->scope, sizeof(c->scope), &c->has_scope);
    return 0;
}

static enum scheme scheme_of(struct span name)
{
    if (is_name(name, "DPoP"))
        return SCHEME_DPOP;
    return is_name(name, "Bearer") ? SCHEME_BEARER : SCHEME_OTHER;
}

static void fold(const struct challenge *c, struct challenge_result *r)
{
    if (c->scheme == SCHEME_NONE || c->scheme == SCHEME_OTHER)
        return;
    bool dpop = c->scheme == SCHEME_DPOP;
    r->has_dpop |= dpop;
    r->has_bearer |= !dpop;
    r->use_dpop_nonce |= dpop && strcmp(c->error, "use_dpop_nonce") == 0;
    r->invalid_dpop_proof |= strcmp(c->error, "invalid_dpop_proof") == 0;
    r->invalid_token |= strcmp(c->error, "invalid_token") == 0;
    if (strcmp(c->error, "insufficient_scope") == 0) {
        r->insufficient_scope = true;
        memcpy(r->scope, c->scope, sizeof(r->scope));
    }
    if (c->has_error && (dpop || r->error[0] == '\0')) {
        memcpy(r->error, c->error, sizeof(r->error));
        memcpy(r->description, c->description, sizeof(r->description));
    }
}

/* Reads a whole value into the result, which is worthless when it returns -1. */
static int read_value(struct span s, struct challenge_result *r)
{
    struct challenge c = {.scheme = SCHEME_NONE};
    for (;;) {
        skip_separators(&s);
        if (s.len == 0)
            break;
        if (!next_is_parameter(s)) {
            fold(&c, r);
            struct span name = take_token(&s);
            if (name.len == 0)
                return -1;
            c = (struct challenge){.scheme = scheme_of(name)};
            if (at_end_of_element(s))
                continue;
            if (skip_blanks(&s) == 0)
                return -1;
            if (skip_token68(&s))
                continue;
        }
        if (c.scheme == SCHEME_NONE || take_parameter(&s, &c) != 0)
            return -1;
    }
    fold(&c, r);
    return 0;
}

static enum challenge_verdict verdict(const struct challenge_result *r)
{
    if (r->use_dpop_nonce)
        return CHALLENGE_NONCE;
    if (r->invalid_dpop_proof)
        return CHALLENGE_INVALID_PROOF;
    if (r->invalid_token)
        return CHALLENGE_INVALID_TOKEN;
    if (r->insufficient_scope)
        return CHALLENGE_INSUFFICIENT_SCOPE;
    return r->has_dpop || r->has_bearer ? CHALLENGE_OTHER : CHALLENGE_NOTHING;
}

enum challenge_verdict challenge_read(struct span value, struct challenge_result *result)
{
    struct challenge_result with_value = *result;
    if (value.data != NULL && value.len <= CHALLENGE_MAX && read_value(value, &with_value) == 0)
        *result = with_value;
    return verdict(result);
}
