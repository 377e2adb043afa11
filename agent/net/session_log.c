/* See session_log.h. */
#include "session_log.h"

#include "form_fields.h"
#include "http_token.h"
#include "session_jwt.h"
#include "session_names.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TAIL_SIZE 8192 /* kept for the last lines: how it ended, and what may have been cut */
#define NAME_SHOWN_MAX 64

/* The same walk is done twice: first every value that is not to be shown is noted, then the lines are written. */
struct log {
    const struct session_request *request;
    const struct session_answer *answer;
    struct masking masking;
    bool collecting;
    bool theirs; /* what is being walked through came from the server */
    struct buffer *out;
    size_t limit;
    struct buffer line; /* being written */
    bool cut;
};

static void put(struct log *l, const char *text)
{
    buffer_put_text(&l->line, text);
}

static void end_line(struct log *l)
{
    struct span line = buffer_span(&l->line);
    l->cut = !l->collecting && (l->cut || l->line.failed || l->out->len + line.len + 1 > l->limit);
    if (!l->collecting && !l->cut) {
        buffer_put(l->out, line.data, line.len);
        buffer_put_text(l->out, "\n");
    }
    buffer_clear(&l->line);
}

static void put_shown(struct log *l, struct span text)
{
    if (!l->collecting)
        masking_put(&l->masking, &l->line, text);
}

static void put_masked(struct log *l, struct span text)
{
    if (l->collecting)
        masking_add(&l->masking, text);
    else
        masking_put_length(&l->line, text);
}

static bool begins_with(struct span s, const char *text)
{
    return s.len >= strlen(text) && strncasecmp((const char *)s.data, text, strlen(text)) == 0;
}

static bool is_named(struct span name, const char *wanted)
{
    return name.len == strlen(wanted) && begins_with(name, wanted);
}

static void put_query(struct log *l, struct span query)
{
    struct buffer name, value;
    struct span rest = query;
    if (!l->collecting) {
        masking_put_length(&l->line, query);
        return;
    }
    if (l->theirs) /* their words are not our secrets */
        return;
    masking_add(&l->masking, query);
    buffer_init(&name, query.len);
    buffer_init(&value, query.len);
    while (form_fields_next(&rest, &name, &value))
        masking_add(&l->masking, buffer_span(&value));
    buffer_free(&name);
    buffer_free(&value);
}

/* Of a URL neither userinfo nor query nor fragment is shown. */
static void put_value(struct log *l, struct span text)
{
    size_t end = 0;
    if (!begins_with(text, "http://") && !begins_with(text, "https://")) {
        put_shown(l, text);
        return;
    }
    while (end < text.len && text.data[end] != '?' && text.data[end] != '#')
        end++;
    if (memchr(text.data, '@', end) != NULL) {
        put_masked(l, text);
        return;
    }
    put_shown(l, span_of(text.data, end));
    if (end < text.len) {
        put_shown(l, span_of(text.data + end, 1));
        put_query(l, span_of(text.data + end + 1, text.len - end - 1));
    }
}

/* Our own words are shown whatever stands in the secrets; what a server calls its members is not ours. */
static void put_name(struct log *l, enum session_list list, struct span name)
{
    if (!l->theirs && session_names_has(list, name))
        buffer_put(&l->line, name.data, name.len);
    else if (name.len <= NAME_SHOWN_MAX)
        put_shown(l, name);
    else
        put_masked(l, name);
}

/* Is a JWT that stands in this place one that the agent made? An assertion (RFC 7523) is if it looks just like ours. */
static bool is_ours(struct span place, const json_t *header)
{
    const char *typ = json_string_value(json_object_get(header, "typ"));
    return !is_named(place, "assertion") || (typ != NULL && strcmp(typ, "authorization-grant+jwt") == 0);
}

static void put_jwt_part(struct log *l, const char *mark, const char *what, json_t *object)
{
    struct buffer text;
    buffer_init(&text, LIMIT_NESTED);
    session_jwt_put(object, &text);
    put(l, mark);
    put(l, what);
    put_shown(l, buffer_span(&text));
    end_line(l);
    buffer_free(&text);
}

/* Behind "> NAME: ": the claims, if it is our JWT, each part in a line of its own. */
static void put_our_jwt(struct log *l, const char *mark, struct span place, struct span token)
{
    json_t *header = NULL, *claims = NULL;
    bool ours = jwt_decode(token, &header, &claims) && is_ours(place, header);
    if (l->collecting || !ours) {
        put_masked(l, token);
    } else {
        put(l, "a JWT, signature masked");
        end_line(l);
        put_jwt_part(l, mark, "  header: ", header);
        put_jwt_part(l, mark, "  claims: ", claims);
    }
    json_decref(header);
    json_decref(claims);
}

static struct span trim(struct span s)
{
    while (s.len > 0 && (s.data[s.len - 1] <= ' '))
        s.len--;
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = span_of(s.data + 1, s.len - 1);
    return s;
}

/* What comes next in a WWW-Authenticate value: a token, or whatever one byte it is. */
static struct span take_word(struct span *rest)
{
    size_t n = 0;
    while (n < rest->len && http_token_char(rest->data[n]))
        n++;
    n += n == 0 && rest->len > 0;
    struct span word = span_of(rest->data, n);
    *rest = span_of(rest->data + n, rest->len - n);
    return word;
}

/* The value behind `=`, a token or a quoted string with its quotes. */
static struct span take_challenge_value(struct span *rest)
{
    size_t n = 1;
    if (rest->len == 0 || rest->data[0] != '"')
        return take_word(rest);
    while (n < rest->len && rest->data[n] != '"')
        n += rest->data[n] == '\\' ? 2 : 1;
    n = n < rest->len ? n + 1 : rest->len;
    struct span value = span_of(rest->data, n);
    *rest = span_of(rest->data + n, rest->len - n);
    return value;
}

static void put_either(struct log *l, bool shown, struct span text)
{
    if (shown)
        put_shown(l, text);
    else
        put_masked(l, text);
}

/* Schemes and the listed parameters. What is neither a scheme's name nor a parameter (a token68) is masked. */
static void put_challenge(struct log *l, struct span value)
{
    struct span rest = value;
    while (rest.len > 0 && !l->masking.blind) {
        struct span word = take_word(&rest);
        bool separator = strchr(" \t,=", word.data[0]) != NULL && word.data[0] != '\0';
        if (rest.len > 1 && rest.data[0] == '=' && rest.data[1] != '=' && !separator) {
            rest = span_of(rest.data + 1, rest.len - 1);
            struct span text = take_challenge_value(&rest);
            bool shown = session_names_has(SESSION_CHALLENGE_NAMES, word);
            put_either(l, shown, word);
            put(l, "=");
            put_either(l, shown, text);
        } else {
            put_either(l, separator || is_named(word, "DPoP") || is_named(word, "Bearer") || is_named(word, "Basic"), word);
        }
    }
}

static void put_header(struct log *l, const char *mark, struct span line)
{
    const uint8_t *colon = line.len > 0 ? memchr(line.data, ':', line.len) : NULL;
    bool folded = line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t');
    struct span name = span_of(line.data, colon != NULL && !folded ? (size_t)(colon - line.data) : 0);
    struct span value = name.len > 0 ? trim(span_of(colon + 1, line.len - name.len - 1)) : trim(line);

    if (value.len == 0)
        return;
    put(l, mark);
    put_name(l, SESSION_HEADER_NAMES, name);
    put(l, ": ");
    if (is_named(name, "DPoP")) {
        put_our_jwt(l, mark, name, value);
    } else if (is_named(name, "Authorization")) {
        const uint8_t *space = memchr(value.data, ' ', value.len);
        size_t scheme = space != NULL ? (size_t)(space + 1 - value.data) : 0;
        put_shown(l, span_of(value.data, scheme));
        put_masked(l, span_of(value.data + scheme, value.len - scheme));
    } else if (is_named(name, "WWW-Authenticate")) {
        put_challenge(l, value);
    } else if (session_names_has(SESSION_HEADER_NAMES, name)) {
        put_value(l, value);
    } else if (!l->collecting || is_named(name, "Set-Cookie")) { /* "no-cache" of a Pragma header is no secret */
        put_masked(l, value);
    }
    end_line(l);
}

static void put_form(struct log *l)
{
    struct span rest = l->request->body;
    struct buffer name, value;
    buffer_init(&name, rest.len);
    buffer_init(&value, rest.len);
    while (form_fields_next(&rest, &name, &value)) {
        struct span n = buffer_span(&name), v = buffer_span(&value);
        put(l, "> ");
        put_name(l, SESSION_FORM_NAMES, n);
        put(l, "=");
        if (is_named(n, "client_assertion") || is_named(n, "assertion"))
            put_our_jwt(l, "> ", n, v);
        else if (session_names_has(SESSION_FORM_NAMES, n))
            put_value(l, v);
        else
            put_masked(l, v);
        end_line(l);
    }
    buffer_free(&name);
    buffer_free(&value);
}

static void collect_strings(struct log *l, const json_t *value)
{
    const char *name;
    json_t *item;
    size_t i;
    if (json_is_string(value))
        masking_add(&l->masking, span_of(json_string_value(value), json_string_length(value)));
    json_object_foreach((json_t *)value, name, item)
        collect_strings(l, item);
    json_array_foreach(value, i, item)
        collect_strings(l, item);
}

static void put_other(struct log *l, const struct json_member *m)
{
    if (!l->collecting) {
        masking_put_length(&l->line, m->text);
        return;
    }
    json_t *value = json_loadb((const char *)m->text.data, m->text.len, JSON_DECODE_ANY, NULL);
    if (!is_named(m->name, "cnf") && !is_named(m->name, "mtls_endpoint_aliases")) /* they follow as members */
        collect_strings(l, value);
    json_decref(value);
}

static void put_texts(struct log *l, const struct json_member *m, bool shown)
{
    struct span text;
    size_t cursor = 0;
    while (list_next(&m->texts, &cursor, &text)) {
        if (shown)
            put_value(l, text);
        else
            put_masked(l, text);
        put(l, " ");
    }
}

static void put_member(struct log *l, const char *mark, const struct json_member *m)
{
    bool shown = session_names_has(SESSION_MEMBER_NAMES, m->name);
    char number[32];

    put(l, mark);
    put_name(l, SESSION_MEMBER_NAMES, m->name);
    put(l, ": ");
    (void)snprintf(number, sizeof(number), "%lld", (long long)m->integer);
    switch ((enum json_kind)m->kind) {
    case JSON_KIND_TEXT:
        if (shown)
            put_value(l, m->text);
        else
            put_masked(l, m->text);
        break;
    case JSON_KIND_TEXTS:
        put_texts(l, m, shown);
        break;
    case JSON_KIND_OTHER:
        put_other(l, m);
        break;
    case JSON_KIND_INTEGER:
        put(l, shown ? number : "(masked)");
        break;
    case JSON_KIND_TRUE:
    case JSON_KIND_FALSE:
    case JSON_KIND_NULL:
        put(l, !shown ? "(masked)" : m->kind == JSON_KIND_TRUE ? "true" : m->kind == JSON_KIND_FALSE ? "false" : "null");
        break;
    }
    end_line(l);
}

static void put_members(struct log *l, const char *mark, const struct json_answer *json)
{
    struct json_member m;
    struct error err;
    for (size_t i = 0; i < json->count; i++)
        if (message_take(json->members[i], &message_json_member, &m, sizeof(m), &err) == STATUS_OK)
            put_member(l, mark, &m);
}

static void put_request_json(struct log *l)
{
    struct json_answer body;
    json_answer_read(l->request->body, span_of(NULL, 0), &body);
    put_members(l, "> ", &body);
    json_answer_free(&body);
}

static void put_answer_header(struct log *l)
{
    struct span rest = l->answer->header;
    bool first = true;
    while (rest.len > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t n = end != NULL ? (size_t)(end + 1 - rest.data) : rest.len;
        struct span line = span_of(rest.data, n);
        rest = span_of(rest.data + n, rest.len - n);
        if (!first) {
            put_header(l, "< ", line);
            continue;
        }
        first = false;
        put(l, "< ");
        put_shown(l, trim(line));
        end_line(l);
    }
}

static void put_answer_body(struct log *l)
{
    const struct json_answer *json = l->answer->json;
    if (json == NULL)
        return;
    if (json->error[0] != '\0') {
        put(l, "< ");
        put_shown(l, span_text(json->error));
        end_line(l);
    }
    put_members(l, "< ", json);
}

static void walk_request(struct log *l)
{
    const struct session_request *r = l->request;
    char length[48];

    if (l->collecting)
        masking_add(&l->masking, r->client_secret);
    put(l, "> Host: ");
    put_shown(l, r->host);
    end_line(l);
    for (size_t i = 0; i < r->line_count; i++)
        put_header(l, "> ", r->lines[i]);
    if (r->body_kind != SESSION_NO_BODY) {
        (void)snprintf(length, sizeof(length), "Content-Length: %zu", r->body.len);
        put_header(l, "> ", span_text(length));
    }
    if (r->body_kind == SESSION_FORM)
        put_form(l);
    else if (r->body_kind == SESSION_JSON)
        put_request_json(l);
}

static void walk_answer(struct log *l)
{
    l->theirs = true;
    put_answer_header(l);
    put_answer_body(l);
    l->theirs = false;
}

static void put_first_lines(struct log *l, const struct session_connection *c)
{
    char port[48];
    put(l, l->request->method);
    put(l, " ");
    put_value(l, span_text(l->request->url));
    end_line(l);
    if (c->remote[0] == '\0' || l->collecting)
        return;
    put(l, "connected to ");
    put(l, c->remote);
    (void)snprintf(port, sizeof(port), " port %u", c->port);
    put(l, port);
    if (c->tls[0] != '\0') {
        put(l, "; ");
        put(l, c->tls);
        put(l, ", certificate of ");
        put_shown(l, span_text(c->peer));
    }
    end_line(l);
}

static void put_last_lines(struct log *l, const struct session_connection *c)
{
    const struct session_answer *a = l->answer;
    char text[256];

    if (a->failure != NULL) {
        put(l, a->sent ? "failed, after it was sent in whole or in part: " : "failed, before anything was sent: ");
        put_shown(l, span_text(a->failure->message));
        end_line(l);
    }
    (void)snprintf(text, sizeof(text), "%s in %llu ms (name %llu, connection %llu, TLS %llu, first byte %llu)",
                   a->failure != NULL ? "ended" : "answered", (unsigned long long)c->total, (unsigned long long)c->name,
                   (unsigned long long)c->connection, (unsigned long long)c->tls_done, (unsigned long long)c->first_byte);
    put(l, text);
    end_line(l);
}

void session_log_collect(const struct session_request *request, struct masking *out)
{
    struct session_connection none = {.port = 0};
    struct log l = {.request = request, .collecting = true};

    masking_init(&l.masking);
    buffer_init(&l.line, 2 * LIMIT_TRACE);
    put_first_lines(&l, &none);
    walk_request(&l);
    buffer_free(&l.line);
    *out = l.masking;
}

void session_log_put(const struct session_request *request, const struct session_connection *connection,
                     const struct session_answer *answer, struct buffer *out)
{
    struct log l = {.request = request, .answer = answer, .out = out, .limit = out->len + LIMIT_TRACE - TAIL_SIZE};

    masking_init(&l.masking);
    buffer_init(&l.line, 2 * LIMIT_TRACE);
    for (int pass = 0; pass < 2; pass++) {
        l.collecting = pass == 0;
        put_first_lines(&l, connection);
        walk_request(&l);
        walk_answer(&l);
    }
    bool cut = l.cut;
    l.cut = false;
    l.limit += TAIL_SIZE;
    if (cut) {
        put(&l, "(the rest is too long)");
        end_line(&l);
    }
    put_last_lines(&l, connection);
    buffer_free(&l.line);
    masking_free(&l.masking);
}
