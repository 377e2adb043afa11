/* See url.h. */
#include "url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LABEL_MAX 63
#define PORT_HTTP 80
#define PORT_HTTPS 443

/* The character sets of RFC 3986 that the parts of a URL are made of. */
enum {
    IN_USERINFO = 1, /* unreserved / sub-delims / ":" */
    IN_PATH = 2,     /* pchar / "/" */
    IN_QUERY = 4,    /* pchar / "/" / "?", for the fragment too */
    IN_HOST = 8,     /* letters, digits, "-", "_", "." */
    IN_ALL = IN_USERINFO | IN_PATH | IN_QUERY,
};

static const uint8_t sets[256] = {
    ['a' ... 'z'] = IN_ALL | IN_HOST,
    ['A' ... 'Z'] = IN_ALL | IN_HOST,
    ['0' ... '9'] = IN_ALL | IN_HOST,
    ['-'] = IN_ALL | IN_HOST,
    ['_'] = IN_ALL | IN_HOST,
    ['.'] = IN_ALL | IN_HOST,
    ['~'] = IN_ALL,
    ['!'] = IN_ALL,
    ['$'] = IN_ALL,
    ['&'] = IN_ALL,
    ['\''] = IN_ALL,
    ['('] = IN_ALL,
    [')'] = IN_ALL,
    ['*'] = IN_ALL,
    ['+'] = IN_ALL,
    [','] = IN_ALL,
    [';'] = IN_ALL,
    ['='] = IN_ALL,
    [':'] = IN_ALL,
    ['@'] = IN_PATH | IN_QUERY,
    ['/'] = IN_PATH | IN_QUERY,
    ['?'] = IN_QUERY,
};

/* A reading position in the whole text, and where the part that is being read ends. */
struct reader {
    const uint8_t *s;
    size_t at;
    size_t end;
};

enum status url_refuse(struct error *e, size_t at, const char *why)
{
    return error_set(e, STATUS_INVALID_ARGUMENT, "give an absolute http or https URL as RFC 3986 writes it",
                     "the URL is refused at position %zu: %s", at + 1, why);
}

size_t url_offset(const struct url *url, const uint8_t *in)
{
    return (size_t)(in - url->text.data);
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Skips characters of the set and whole percent escapes; stops at the first other one or at the end. */
static void skip_escaped(struct reader *r, uint8_t set)
{
    while (r->at < r->end) {
        if ((sets[r->s[r->at]] & set) != 0)
            r->at++;
        else if (r->s[r->at] == '%' && r->end - r->at > 2 && is_hex(r->s[r->at + 1]) && is_hex(r->s[r->at + 2]))
            r->at += 3;
        else
            return;
    }
}

static enum status read_scheme(struct reader *r, struct url *url, struct error *e)
{
    static const struct {
        const char *text;
        size_t len;
        bool https;
        uint16_t port;
    } schemes[] = {{"https://", 8, true, PORT_HTTPS}, {"http://", 7, false, PORT_HTTP}};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (r->end < schemes[i].len || strncasecmp((const char *)r->s, schemes[i].text, schemes[i].len) != 0)
            continue;
        url->https = schemes[i].https;
        url->port = schemes[i].port;
        r->at = schemes[i].len;
        return STATUS_OK;
    }
    return url_refuse(e, 0, "it does not begin with https:// or http://");
}

static enum status skip_userinfo(struct reader *r, struct error *e)
{
    if (memchr(r->s + r->at, '@', r->end - r->at) == NULL)
        return STATUS_OK;
    skip_escaped(r, IN_USERINFO);
    if (r->s[r->at] != '@')
        return url_refuse(e, r->at, "the userinfo has a character that must be percent-encoded");
    r->at++;
    if (memchr(r->s + r->at, '@', r->end - r->at) != NULL)
        return url_refuse(e, r->at, "the authority has a second @");
    return STATUS_OK;
}

/* WHATWG's "ends in a number": many parsers take such a host for an IPv4 address, octal, hexadecimal or short. */
static bool last_label_is_number(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *label = dot != NULL ? dot + 1 : host;
    if (strspn(label, "0123456789") == strlen(label))
        return true;
    return label[0] == '0' && label[1] == 'x' && strspn(label + 2, "0123456789abcdef") == strlen(label + 2);
}

static bool is_dotted_quad(const char *host)
{
    for (int part = 0; part < 4; part++) {
        unsigned int value = 0;
        size_t digits = strspn(host, "0123456789");
        if (digits == 0 || digits > 3 || (digits > 1 && host[0] == '0'))
            return false;
        for (size_t i = 0; i < digits; i++)
            value = value * 10 + (unsigned int)(host[i] - '0');
        host += digits;
        if (value > 255 || *host != (part < 3 ? '.' : '\0'))
            return false;
        host += part < 3;
    }
    return true;
}

/* Refuses labels that are empty, too long, or have a hyphen at an end. `start` is the host's place in the URL. */
static enum status check_labels(const char *host, size_t start, struct error *e)
{
    const char *label = host;
    for (;;) {
        size_t len = strcspn(label, "."), at = start + (size_t)(label - host);
        if (len == 0)
            return url_refuse(e, at, "the host has an empty label or ends in a dot");
        if (len > LABEL_MAX)
            return url_refuse(e, at, "the host has a label of more than 63 characters");
        if (label[0] == '-' || label[len - 1] == '-')
            return url_refuse(e, at, "the host has a label with a hyphen at its end");
        if (label[len] == '\0')
            return STATUS_OK;
        label += len + 1;
    }
}

static enum status read_name(struct reader *r, struct url *url, struct error *e)
{
    size_t start = r->at;
    for (; r->at < r->end && r->s[r->at] != ':'; r->at++) {
        uint8_t c = r->s[r->at];
        if ((sets[c] & IN_HOST) == 0)
            return url_refuse(e, r->at, "the host has a character other than letters, digits, - _ and .");
        if (r->at - start >= sizeof(url->host) - 1)
            return url_refuse(e, r->at, "the host is longer than 253 characters");
        url->host[r->at - start] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    if (r->at == start)
        return url_refuse(e, start, "the host is empty");
    url->host_text = span_of(r->s + start, r->at - start);
    enum status status = check_labels(url->host, start, e);
    if (status != STATUS_OK)
        return status;
    if (!last_label_is_number(url->host))
        return STATUS_OK;
    if (!is_dotted_quad(url->host))
        return url_refuse(e, start, "the host ends in a number but is not an IPv4 address of four decimal numbers");
    url->host_kind = URL_HOST_IPV4;
    return STATUS_OK;
}

static enum status read_ipv6(struct reader *r, struct url *url, struct error *e)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t start = ++r->at;
    while (r->at < r->end && (is_hex(r->s[r->at]) || r->s[r->at] == ':'))
        r->at++;
    if (r->at == r->end || r->s[r->at] != ']')
        return url_refuse(e, r->at, "the IPv6 address has no ] or other characters than hexadecimal digits and :");
    url->host_text = span_of(r->s + start, r->at - start);
    if (span_copy(url->host_text, text, sizeof(text)) != 0 || inet_pton(AF_INET6, text, &address) != 1)
        return url_refuse(e, start, "the IPv6 address is malformed");
    /* RFC 5952, except that libc writes addresses which embed an IPv4 address with dots; others use hexadecimal. */
    if (inet_ntop(AF_INET6, &address, url->host, sizeof(url->host)) == NULL || strchr(url->host, '.') != NULL)
        return url_refuse(e, start, "the IPv6 address embeds an IPv4 address, which servers write in different ways");
    url->host_kind = URL_HOST_IPV6;
    r->at++;
    return STATUS_OK;
}

/* What follows the host: nothing, or a colon and no or one decimal number. */
static enum status read_port(struct reader *r, struct url *url, struct error *e)
{
    if (r->at == r->end)
        return STATUS_OK;
    if (r->s[r->at] != ':')
        return url_refuse(e, r->at, "the host is followed by something that is not a port");
    size_t start = ++r->at;
    unsigned int port = 0;
    for (; r->at < r->end; r->at++) {
        if (!is_digit(r->s[r->at]))
            return url_refuse(e, r->at, "the port is not a number");
        port = port * 10 + (unsigned int)(r->s[r->at] - '0');
        if (port == 0 || port > UINT16_MAX)
            return url_refuse(e, start, "the port is not 1 to 65535 without leading zeros");
    }
    if (port != 0)
        url->port = (uint16_t)port;
    return STATUS_OK;
}

static enum status read_authority(struct reader *r, struct url *url, struct error *e)
{
    struct reader part = *r;
    while (r->at < r->end && r->s[r->at] != '/' && r->s[r->at] != '?' && r->s[r->at] != '#')
        r->at++;
    part.end = r->at;
    enum status status = skip_userinfo(&part, e);
    if (status != STATUS_OK)
        return status;
    bool bracket = part.at < part.end && part.s[part.at] == '[';
    status = bracket ? read_ipv6(&part, url, e) : read_name(&part, url, e);
    return status == STATUS_OK ? read_port(&part, url, e) : status;
}

static enum status read_rest(struct reader *r, struct url *url, struct error *e)
{
    size_t start = r->at;
    skip_escaped(r, IN_PATH);
    url->path = span_of(r->s + start, r->at - start);
    if (r->at < r->end && r->s[r->at] != '?' && r->s[r->at] != '#')
        return url_refuse(e, r->at, "the path has a character that must be percent-encoded");
    if (r->at < r->end && r->s[r->at] == '?') {
        start = ++r->at;
        skip_escaped(r, IN_QUERY);
        url->query = span_of(r->s + start, r->at - start);
        if (r->at < r->end && r->s[r->at] != '#')
            return url_refuse(e, r->at, "the query has a character that must be percent-encoded");
    }
    if (r->at < r->end) {
        r->at++;
        skip_escaped(r, IN_QUERY);
    }
    if (r->at < r->end)
        return url_refuse(e, r->at, "the fragment has a character that must be percent-encoded");
    return STATUS_OK;
}

enum status url_parse(struct span text, struct url *url, struct error *e)
{
    struct url result = {.text = text};
    struct reader r = {.s = text.data, .end = text.len};
    if (text.len > URL_MAX)
        return url_refuse(e, URL_MAX, "it is longer than 8192 bytes");
    enum status status = read_scheme(&r, &result, e);
    if (status == STATUS_OK)
        status = read_authority(&r, &result, e);
    if (status == STATUS_OK)
        status = read_rest(&r, &result, e);
    if (status == STATUS_OK)
        *url = result;
    return status;
}

size_t url_write_origin(const struct url *url, char out[URL_ORIGIN_SIZE])
{
    bool ipv6 = url->host_kind == URL_HOST_IPV6;
    char *end = stpcpy(out, url->https ? "https://" : "http://");
    end = stpcpy(end, ipv6 ? "[" : "");
    end = stpcpy(end, url->host);
    end = stpcpy(end, ipv6 ? "]" : "");
    if (url->port != (url->https ? PORT_HTTPS : PORT_HTTP))
        end += snprintf(end, sizeof(":65535"), ":%u", url->port);
    return (size_t)(end - out);
}

enum status url_origin(struct span text, char *out, size_t size, struct error *e)
{
    struct url url;
    char origin[URL_ORIGIN_SIZE];
    enum status status = url_parse(text, &url, e);
    if (status != STATUS_OK)
        return status;
    size_t len = url_write_origin(&url, origin);
    if (len >= size)
        return error_set(e, STATUS_INTERNAL, NULL, "no room for an origin of %zu characters", len);
    memcpy(out, origin, len + 1);
    return STATUS_OK;
}

bool url_is_loopback(struct span text)
{
    struct url url;
    struct error ignored;
    if (url_parse(text, &url, &ignored) != STATUS_OK)
        return false;
    switch (url.host_kind) {
    case URL_HOST_IPV4:
        return strncmp(url.host, "127.", 4) == 0;
    case URL_HOST_IPV6:
        return strcmp(url.host, "::1") == 0;
    case URL_HOST_NAME:
        return strcmp(url.host, "localhost") == 0;
    }
    return false;
}
