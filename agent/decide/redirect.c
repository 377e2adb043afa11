/* See redirect.h. */
#include "redirect.h"

#include "text.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define PARAMETERS 6
#define SHOWN_MAX 100 /* bytes of a value that an error shows */
#define RULE "RFC 6749 section 4.1.2"
#define TRY_AGAIN "start the login again; if it fails again, tell the authorization server's operator"

/* One parameter that we read: for people means that it is cleaned, not refused. */
struct parameter {
    const char *name;
    size_t offset; /* of the char * in struct redirect */
    size_t max;
    bool for_people;
};

static const struct parameter parameters[PARAMETERS] = {
    {"code", offsetof(struct redirect, code), REDIRECT_CODE_MAX, false},
    {"state", offsetof(struct redirect, state), REDIRECT_QUERY_MAX, false},
    {"iss", offsetof(struct redirect, iss), REDIRECT_QUERY_MAX, false},
    {"error", offsetof(struct redirect, error), REDIRECT_QUERY_MAX, false},
    {"error_description", offsetof(struct redirect, error_description), REDIRECT_QUERY_MAX, true},
    {"error_uri", offsetof(struct redirect, error_uri), REDIRECT_QUERY_MAX, true},
};

static char **member(struct redirect *redirect, const struct parameter *p)
{
    return (char **)(void *)((char *)redirect + p->offset);
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* application/x-www-form-urlencoded, into an array of in.len + 1. -1: a `%` without two hex digits, or a NUL. */
static int decode(struct span in, char *out, size_t *out_len)
{
    size_t len = 0;
    for (size_t i = 0; i < in.len; i++) {
        int c = in.data[i] == '+' ? ' ' : in.data[i];
        if (c == '%') {
            int high = i + 2 < in.len ? hex_digit(in.data[i + 1]) : -1;
            int low = i + 2 < in.len ? hex_digit(in.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = high << 4 | low;
            i += 2;
        }
        if (c == '\0')
            return -1;
        out[len++] = (char)c;
    }
    out[len] = '\0';
    *out_len = len;
    return 0;
}

/* Cuts what stands before the separator off the front of `text`, and the separator. */
static struct span cut(struct span *text, char separator)
{
    const uint8_t *at = text->len > 0 ? memchr(text->data, separator, text->len) : NULL;
    size_t len = at != NULL ? (size_t)(at - text->data) : text->len;
    struct span front = span_of(text->data, len);
    *text = at != NULL ? span_of(at + 1, text->len - len - 1) : span_of(text->data + len, 0);
    return front;
}

/* A name that cannot be decoded is none that we know. */
static const struct parameter *parameter_of(struct span encoded_name, char *scratch)
{
    size_t len;
    if (decode(encoded_name, scratch, &len) != 0)
        return NULL;
    for (size_t i = 0; i < PARAMETERS; i++)
        if (strcmp(scratch, parameters[i].name) == 0)
            return &parameters[i];
    return NULL;
}

static enum status unreadable(struct error *e, const char *name, const char *what)
{
    return error_set(e, STATUS_SERVER_MISBEHAVED, TRY_AGAIN, "the redirect's parameter \"%s\" %s (" RULE ")", name,
                     what);
}

/* One value of ours; `scratch` has room for it, decoded. */
static enum status take_value(struct redirect *redirect, const struct parameter *p, struct span encoded, char *scratch,
                              struct error *e)
{
    size_t len;
    if (decode(encoded, scratch, &len) != 0)
        return unreadable(e, p->name, "is not form-encoded text");
    if (p->for_people)
        text_clean(scratch);
    if (!text_valid(span_of(scratch, len)))
        return unreadable(e, p->name, "is not UTF-8, or has control characters");
    if (len > p->max)
        return unreadable(e, p->name, "is longer than 8 KiB");
    *member(redirect, p) = span_dup(span_of(scratch, len));
    return *member(redirect, p) != NULL ? STATUS_OK : error_set(e, STATUS_NO_MEMORY, NULL, "no memory for a redirect");
}

static enum status take_all(struct span query, struct redirect *redirect, char *scratch, struct error *e)
{
    enum status status = STATUS_OK;
    while (query.len > 0 && status == STATUS_OK) {
        struct span value = cut(&query, '&');
        const struct parameter *p = parameter_of(cut(&value, '='), scratch);
        if (p != NULL && *member(redirect, p) != NULL)
            status = unreadable(e, p->name, "comes twice");
        else if (p != NULL)
            status = take_value(redirect, p, value, scratch, e);
    }
    return status;
}

static void free_text(char **text)
{
    if (*text != NULL)
        wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static void forget_empty(struct redirect *redirect)
{
    for (size_t i = 0; i < PARAMETERS; i++) {
        char **text = member(redirect, &parameters[i]);
        if (*text != NULL && **text == '\0')
            free_text(text);
    }
}

enum status redirect_read(struct span query, struct redirect *out, struct error *e)
{
    struct redirect redirect = {0};
    if (query.len > REDIRECT_QUERY_MAX)
        return error_set(e, STATUS_SERVER_MISBEHAVED, TRY_AGAIN, "the redirect's query is longer than %d bytes",
                         REDIRECT_QUERY_MAX);
    char *scratch = malloc(query.len + 1);
    if (scratch == NULL)
        return error_set(e, STATUS_NO_MEMORY, NULL, "no memory for a redirect");
    enum status status = take_all(query, &redirect, scratch, e);
    wipe(scratch, query.len + 1);
    free(scratch);
    if (status != STATUS_OK) {
        redirect_free(&redirect);
        return status;
    }
    forget_empty(&redirect);
    *out = redirect;
    return STATUS_OK;
}

void redirect_free(struct redirect *redirect)
{
    for (size_t i = 0; redirect != NULL && i < PARAMETERS; i++)
        free_text(member(redirect, &parameters[i]));
}

/* Takes as long for any two texts of one length. */
static bool same_text(const char *a, const char *b)
{
    size_t len = strlen(a);
    return strlen(b) == len && CRYPTO_memcmp(a, b, len) == 0;
}

static enum status check_state(const struct redirect *r, const struct redirect_expected *expected, struct error *e)
{
    if (expected->state == NULL || expected->state[0] == '\0')
        return error_set(e, STATUS_INTERNAL, NULL, "profile \"%s\": the login has no state", expected->where);
    if (r->state == NULL)
        return error_set(e, STATUS_SERVER_MISBEHAVED, TRY_AGAIN, "profile \"%s\": the redirect has no state (" RULE ")",
                         expected->where);
    if (!same_text(r->state, expected->state))
        return error_set(e, STATUS_SERVER_MISBEHAVED, TRY_AGAIN,
                         "profile \"%s\": the redirect answers another login than this one: its state is not ours "
                         "(RFC 6749 section 10.12)",
                         expected->where);
    return STATUS_OK;
}

static enum status check_issuer(const struct redirect *r, const struct redirect_expected *expected, struct error *e)
{
    if (r->iss == NULL && expected->iss_required)
        return error_set(e, STATUS_SERVER_MISBEHAVED, TRY_AGAIN,
                         "profile \"%s\": the redirect has no iss, although this server's must have one "
                         "(RFC 9207 section 2.4)",
                         expected->where);
    if (r->iss != NULL && expected->issuer != NULL && strcmp(r->iss, expected->issuer) != 0)
        return error_set(e, STATUS_SERVER_MISBEHAVED,
                         "compare issuer in the profile with the server's; if they agree, somebody mixes servers up",
                         "profile \"%s\": the redirect is from another issuer, \"%.*s\" (RFC 9207 section 2.4)",
                         expected->where, SHOWN_MAX, r->iss);
    return STATUS_OK;
}

static const char *next_step(const char *oauth_error)
{
    static const struct {
        const char *error, *next;
    } steps[] = {
        {"access_denied",
         "log in again and allow the access; if you did, ask the server's operator for the permission"},
        {"invalid_request",
         "check redirect-uri and authorization-form in the profile, and what the server has registered"},
        {"unauthorized_client", "allow the authorization code grant for the client at the authorization server"},
        {"unsupported_response_type", "allow response_type code for the client at the authorization server"},
        {"invalid_scope", "check scope in the profile"},
        {"invalid_target", "check resource in the profile"},
        {"server_error", "try again later"},
        {"temporarily_unavailable", "try again later"},
        {"login_required", "log in at the server in the browser, then start the login again"},
        {"interaction_required", "take prompt=none out of authorization-form, and start the login again"},
        {"consent_required", "take prompt=none out of authorization-form, and start the login again"},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (strcmp(oauth_error, steps[i].error) == 0)
            return steps[i].next;
    return "see what the server says";
}

static enum status refused(const struct redirect *r, const struct redirect_expected *expected, struct error *e)
{
    enum status status =
        error_set(e, STATUS_SERVER_REFUSED, next_step(r->error),
                  "profile \"%s\": the authorization server refuses: %.*s", expected->where, SHOWN_MAX, r->error);
    error_put_text(e->oauth_error, sizeof(e->oauth_error), span_text(r->error));
    error_put_text(e->oauth_description, sizeof(e->oauth_description), span_text(r->error_description));
    error_put_text(e->oauth_uri, sizeof(e->oauth_uri), span_text(r->error_uri));
    return status;
}

enum status redirect_check(const struct redirect *redirect, const struct redirect_expected *expected, struct error *e)
{
    enum status status = check_state(redirect, expected, e);
    if (status == STATUS_OK)
        status = check_issuer(redirect, expected, e);
    if (status != STATUS_OK)
        return status;
    if (redirect->error != NULL)
        return refused(redirect, expected, e);
    if (redirect->code == NULL)
        return error_set(e, STATUS_SERVER_MISBEHAVED, TRY_AGAIN,
                         "profile \"%s\": the redirect has neither a code nor an error (" RULE ")", expected->where);
    return STATUS_OK;
}
