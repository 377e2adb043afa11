/* See trace.h. */
#include "trace.h"

#include "base64.h"
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LONGEST_LINE 131072
#define MASKED "<masked>"

void trace_init(struct trace *t)
{
    buffer_init(&t->out, LONGEST_LINE);
    buffer_init(&t->in, LONGEST_LINE);
}

void trace_free(struct trace *t)
{
    buffer_free(&t->out);
    buffer_free(&t->in);
}

static bool named(struct span line, const char *name)
{
    size_t len = strlen(name);
    return line.len > len && line.data[len] == ':' && strncasecmp((const char *)line.data, name, len) == 0;
}

/* Splits at the first `c`; false: there is none. */
static bool split(struct span *rest, char c, struct span *before)
{
    const uint8_t *at = memchr(rest->data, c, rest->len);
    if (at == NULL)
        return false;
    size_t len = (size_t)(at - rest->data);
    *before = span_of(rest->data, len);
    *rest = span_of(at + 1, rest->len - len - 1);
    return true;
}

/* Header and claims of a proof, decoded; never its signature. */
static void put_proof(struct buffer *shown, struct span proof)
{
    struct span part;
    for (int i = 0; i < 2; i++) {
        struct buffer decoded;
        if (!split(&proof, '.', &part))
            break;
        buffer_init(&decoded, LONGEST_LINE);
        if (base64_take_url(&decoded, part) == 0)
            buffer_put(shown, decoded.data, decoded.len);
        buffer_put_text(shown, " ");
        buffer_free(&decoded);
    }
    buffer_put_text(shown, "<signature masked>");
}

/* Control characters would let a server write to the terminal. */
static void make_printable(struct buffer *shown)
{
    buffer_put(shown, "", 1);
    if (shown->failed)
        return;
    for (size_t i = 0; i + 1 < shown->len; i++)
        if (shown->data[i] == '\0')
            shown->data[i] = '?';
    text_clean((char *)shown->data);
    shown->len--;
}

void trace_line(struct buffer *shown, struct span line, bool sent)
{
    struct span name = span_of(NULL, 0), scheme = name, rest = line;
    buffer_put_text(shown, sent ? "> " : "< ");
    if (sent && (named(line, "Authorization") || named(line, "Proxy-Authorization")) && split(&rest, ':', &name)) {
        while (rest.len > 0 && rest.data[0] == ' ')
            rest = span_of(rest.data + 1, rest.len - 1);
        buffer_put(shown, name.data, name.len);
        buffer_put_text(shown, ": ");
        if (split(&rest, ' ', &scheme)) {
            buffer_put(shown, scheme.data, scheme.len);
            buffer_put_text(shown, " ");
        }
        buffer_put_text(shown, MASKED);
    } else if (sent && named(line, "DPoP") && split(&rest, ':', &name)) {
        while (rest.len > 0 && rest.data[0] == ' ')
            rest = span_of(rest.data + 1, rest.len - 1);
        buffer_put_text(shown, "DPoP: ");
        put_proof(shown, rest);
    } else if (named(line, "Cookie") || named(line, "Set-Cookie")) {
        (void)split(&rest, ':', &name);
        buffer_put(shown, name.data, name.len);
        buffer_put_text(shown, ": " MASKED);
    } else {
        buffer_put(shown, line.data, line.len);
    }
    make_printable(shown);
}

static void show(struct buffer *line, bool sent)
{
    struct buffer shown;
    struct span s = buffer_span(line);
    if (s.len > 0 && s.data[s.len - 1] == '\r')
        s.len--;
    buffer_init(&shown, 2 * LONGEST_LINE);
    trace_line(&shown, s, sent);
    if (!shown.failed)
        (void)fprintf(stderr, "%.*s\n", (int)shown.len, (const char *)shown.data);
    buffer_free(&shown);
}

static int on_debug(CURL *easy, curl_infotype type, char *data, size_t len, void *user)
{
    struct trace *t = user;
    (void)easy;
    if (type != CURLINFO_HEADER_OUT && type != CURLINFO_HEADER_IN)
        return 0;
    struct buffer *line = type == CURLINFO_HEADER_OUT ? &t->out : &t->in;
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\n') {
            buffer_put(line, &data[i], 1);
            continue;
        }
        if (!line->failed)
            show(line, type == CURLINFO_HEADER_OUT);
        buffer_clear(line);
    }
    return 0;
}

CURLcode trace_apply(struct trace *t, CURL *easy)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_debug);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_DEBUGDATA, t);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
    return code;
}
