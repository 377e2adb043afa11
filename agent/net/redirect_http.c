/* See redirect_http.h. */
#include "redirect_http.h"

#include "http_token.h"
#include "url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PAGE_MAX 16384

static enum status refuse_uri(struct error *err, const char *why)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "a redirect URI for this machine looks like http://127.0.0.1/callback",
                     "cannot listen for the redirect URI: %s", why);
}

/* ":0" says what no port says; url.c refuses it. */
static size_t zero_port_length(struct span behind_host)
{
    size_t n = 1;
    if (behind_host.len < 2 || behind_host.data[0] != ':')
        return 0;
    while (n < behind_host.len && behind_host.data[n] == '0')
        n++;
    return n > 1 && (n == behind_host.len || strchr("/?#", behind_host.data[n]) != NULL) ? n : 0;
}

static size_t host_end(struct span text)
{
    size_t n = strlen("http://");
    bool bracket = n < text.len && text.data[n] == '[';
    while (n < text.len && strchr(bracket ? "]/?#" : ":/?#", text.data[n]) == NULL)
        n++;
    return bracket && n < text.len ? n + 1 : n;
}

enum status redirect_http_read_uri(struct span text, struct redirect_http_uri *out, struct error *err)
{
    char whole[URL_SIZE];
    struct url url;

    if (text.len <= strlen("http://") || strncasecmp((const char *)text.data, "http://", strlen("http://")) != 0 ||
        memchr(text.data, '\0', text.len) != NULL)
        return refuse_uri(err, "it does not begin with http://");
    if (memchr(text.data, '@', text.len) != NULL || memchr(text.data, '#', text.len) != NULL)
        return refuse_uri(err, "it has a user or a fragment");
    size_t end = host_end(text);
    struct span behind = span_of(text.data + end, text.len - end);
    size_t zero = zero_port_length(behind);
    int n = snprintf(whole, sizeof(whole), "%.*s%.*s", (int)end, (const char *)text.data, (int)(behind.len - zero),
                     (const char *)behind.data + zero);
    if (n < 0 || (size_t)n >= sizeof(whole))
        return refuse_uri(err, "it is too long");
    if (url_parse(span_text(whole), &url, err) != STATUS_OK)
        return err->status;
    if (!url_is_loopback(span_text(whole)))
        return refuse_uri(err, "its host is no loopback address");

    size_t port_len = zero > 0 ? zero : 0;
    while (zero == 0 && port_len < behind.len && strchr("/?", behind.data[port_len]) == NULL)
        port_len++;
    struct span rest = span_of(behind.data + port_len, behind.len - port_len);
    size_t path_len = 0;
    while (path_len < rest.len && rest.data[path_len] != '?')
        path_len++;
    *out = (struct redirect_http_uri){
        .path = path_len > 0 ? span_of(rest.data, path_len) : span_text("/"),
        .port = zero == 0 && port_len > 1 ? url.port : 0,
        .ipv6 = url.host_kind == URL_HOST_IPV6,
        .name = url.host_kind == URL_HOST_NAME,
        .before = span_of(text.data, end),
        .behind = rest,
    };
    size_t bracket = out->ipv6 ? 1 : 0, begin = strlen("http://") + bracket;
    out->host = span_of(text.data + begin, end - bracket - begin);
    return STATUS_OK;
}

/* The next line without its CR LF; false: there is none. */
static bool take_line(struct span *rest, struct span *line)
{
    const uint8_t *end = rest->len > 0 ? memmem(rest->data, rest->len, "\r\n", 2) : NULL;
    if (end == NULL)
        return false;
    *line = span_of(rest->data, (size_t)(end - rest->data));
    *rest = span_of(end + 2, rest->len - line->len - 2);
    return true;
}

static bool take_word(struct span *line, struct span *word)
{
    const uint8_t *space = line->len > 0 ? memchr(line->data, ' ', line->len) : NULL;
    if (space == NULL)
        return false;
    *word = span_of(line->data, (size_t)(space - line->data));
    *line = span_of(space + 1, line->len - word->len - 1);
    return true;
}

static bool is_graphic(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] >= 0x7f)
            return false;
    return s.len > 0;
}

static bool is_our_host(struct span value, uint16_t port)
{
    static const char *const hosts[] = {"127.0.0.1", "[::1]", "localhost"};
    char text[64], wanted[64];
    unsigned int other[3];
    int end = 0;

    if (span_copy(value, text, sizeof(text)) != 0 || memchr(value.data, '\0', value.len) != NULL)
        return false;
    char *colon = strrchr(text, ':');
    (void)snprintf(wanted, sizeof(wanted), ":%u", port);
    if (colon != NULL && strcmp(colon, wanted) == 0)
        *colon = '\0';
    else if (port != 80)
        return false;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        if (strcasecmp(text, hosts[i]) == 0)
            return true;
    /* the rest of 127.0.0.0/8 */
    return sscanf(text, "127.%3u.%3u.%3u%n", &other[0], &other[1], &other[2], &end) == 3 && text[end] == '\0';
}

/* One Host header, and only lines that are headers. */
static bool headers_are_good(struct span rest, uint16_t port)
{
    struct span line;
    unsigned int hosts = 0;
    while (take_line(&rest, &line) && line.len > 0) {
        const uint8_t *colon = memchr(line.data, ':', line.len);
        size_t name = colon != NULL ? (size_t)(colon - line.data) : 0;
        if (!http_token_valid(span_of(line.data, name)))
            return false;
        if (name != strlen("Host") || strncasecmp((const char *)line.data, "Host", name) != 0)
            continue;
        struct span value = span_of(colon + 1, line.len - name - 1);
        while (value.len > 0 && (value.data[0] == ' ' || value.data[0] == '\t'))
            value = span_of(value.data + 1, value.len - 1);
        while (value.len > 0 && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
            value.len--;
        if (++hosts > 1 || !is_our_host(value, port))
            return false;
    }
    return hosts == 1;
}

enum redirect_http_verdict redirect_http_read(struct span in, struct span path, uint16_t port, struct span *query)
{
    struct span rest = in, line, method, target;
    const uint8_t *end = in.len > 0 ? memmem(in.data, in.len, "\r\n\r\n", 4) : NULL;

    if (end == NULL)
        return in.len < REDIRECT_HTTP_HEADER_MAX ? REDIRECT_HTTP_INCOMPLETE : REDIRECT_HTTP_HEADER_TOO_LARGE;
    if ((size_t)(end - in.data) + 4 > REDIRECT_HTTP_HEADER_MAX)
        return REDIRECT_HTTP_HEADER_TOO_LARGE;
    if (!take_line(&rest, &line) || !take_word(&line, &method) || !take_word(&line, &target) ||
        !(span_is(line, "HTTP/1.1") || span_is(line, "HTTP/1.0")) || !http_token_valid(method) || !is_graphic(target) ||
        target.data[0] != '/' || !headers_are_good(rest, port))
        return REDIRECT_HTTP_MALFORMED;
    const uint8_t *mark = memchr(target.data, '?', target.len);
    size_t path_len = mark != NULL ? (size_t)(mark - target.data) : target.len;
    if (!span_equal(span_of(target.data, path_len), path))
        return REDIRECT_HTTP_OTHER_PATH;
    if (!span_is(method, "GET"))
        return REDIRECT_HTTP_OTHER_METHOD;
    struct span found = mark != NULL ? span_of(mark + 1, target.len - path_len - 1) : span_of(target.data + path_len, 0);
    if (found.len > REDIRECT_HTTP_QUERY_MAX)
        return REDIRECT_HTTP_QUERY_TOO_LONG;
    *query = found;
    return REDIRECT_HTTP_CAME;
}

static void put_escaped(struct buffer *out, struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        switch (text.data[i]) {
        case '&':
            buffer_put_text(out, "&amp;");
            break;
        case '<':
            buffer_put_text(out, "&lt;");
            break;
        case '>':
            buffer_put_text(out, "&gt;");
            break;
        case '"':
            buffer_put_text(out, "&quot;");
            break;
        case '\'':
            buffer_put_text(out, "&#39;");
            break;
        default:
            buffer_put(out, text.data + i, 1);
        }
}

static void put_answer(struct buffer *out, const char *status, const char *title, struct span text)
{
    struct buffer page;
    char head[768];

    buffer_init(&page, PAGE_MAX);
    buffer_put_text(&page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    put_escaped(&page, span_text(title));
    buffer_put_text(&page, "</title></head>\n<body><h1>");
    put_escaped(&page, span_text(title));
    buffer_put_text(&page, "</h1>\n<p>");
    put_escaped(&page, text);
    buffer_put_text(&page, "</p></body></html>\n");
    (void)snprintf(head, sizeof(head),
                   "HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n"
                   "Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
                   "Referrer-Policy: no-referrer\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                   "Cross-Origin-Opener-Policy: same-origin\r\nConnection: close\r\n%s\r\n",
                   status, page.len, strncmp(status, "405", 3) == 0 ? "Allow: GET\r\n" : "");
    buffer_put_text(out, head);
    buffer_put(out, buffer_span(&page).data, page.len);
    out->failed |= page.failed;
    buffer_free(&page);
}

void redirect_http_put_refusal(struct buffer *out, enum redirect_http_verdict verdict)
{
    static const struct {
        enum redirect_http_verdict verdict;
        const char *status;
    } refusals[] = {
        {REDIRECT_HTTP_OTHER_PATH, "404 Not Found"},
        {REDIRECT_HTTP_OTHER_METHOD, "405 Method Not Allowed"},
        {REDIRECT_HTTP_QUERY_TOO_LONG, "414 URI Too Long"},
        {REDIRECT_HTTP_HEADER_TOO_LARGE, "431 Request Header Fields Too Large"},
    };
    const char *status = "400 Bad Request";
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        if (refusals[i].verdict == verdict)
            status = refusals[i].status;
    put_answer(out, status, status, span_text("This is dpop-agent, waiting for a login to come back."));
}

void redirect_http_put_page(struct buffer *out, const char *title, struct span text)
{
    put_answer(out, "200 OK", title, text);
}
