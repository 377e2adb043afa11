/* See htu.h. */
#include "htu.h"

#include <string.h>
#include <strings.h>

/* What is written so far. Fits always: nothing grows but an IPv6 host (by one) and an empty path, and see URL_SIZE. */
struct text {
    char data[URL_SIZE];
    size_t len;
};

static void put(struct text *t, const void *data, size_t len)
{
    if (len == 0 || len >= sizeof(t->data) - t->len)
        return;
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

static uint8_t hex_value(uint8_t c)
{
    if (c <= '9')
        return (uint8_t)(c - '0');
    return (uint8_t)((c | 0x20) - 'a' + 10);
}

static bool is_unreserved(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c) != NULL);
}

/* RFC 3986 sections 6.2.2.1 and 6.2.2.2. url_parse has made sure that two hexadecimal digits follow every `%`. */
static void put_normalised(struct text *t, struct span segment)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < segment.len; i++) {
        uint8_t c = segment.data[i];
        if (c != '%') {
            put(t, &c, 1);
            continue;
        }
        c = (uint8_t)(hex_value(segment.data[i + 1]) << 4 | hex_value(segment.data[i + 2]));
        if (is_unreserved(c))
            put(t, &c, 1);
        else
            put(t, (const char[]){'%', digits[c >> 4], digits[c & 15]}, 3);
        i += 2;
    }
}

/* 1 for ".", 2 for "..", percent-encoded or not; 0 for every other segment. */
static int dots(struct span segment)
{
    int count = 0;
    for (size_t i = 0; i < segment.len; i++, count++) {
        if (segment.data[i] == '.')
            continue;
        if (segment.data[i] != '%' || segment.data[i + 1] != '2' || (segment.data[i + 2] | 0x20) != 'e')
            return 0;
        i += 2;
    }
    return count <= 2 ? count : 0;
}

/* Takes the next segment, without its slashes, from a path that begins with a slash. */
static struct span take_segment(struct span *path)
{
    size_t len = 1;
    while (len < path->len && path->data[len] != '/')
        len++;
    struct span segment = span_of(path->data + 1, len - 1);
    path->data += len;
    path->len -= len;
    return segment;
}

/* Writes the path without its dot segments (RFC 3986 section 5.2.4); every other segment stays, empty ones too. */
static void put_path(struct text *t, struct span path, bool normalise)
{
    size_t start = t->len;
    if (path.len == 0)
        put(t, "/", 1);
    while (path.len > 0) {
        struct span segment = take_segment(&path);
        int n = dots(segment);
        if (n == 2)
            while (t->len > start && t->data[--t->len] != '/')
                continue;
        if (n > 0) {
            if (path.len == 0)
                put(t, "/", 1);
            continue;
        }
        put(t, "/", 1);
        if (normalise)
            put_normalised(t, segment);
        else
            put(t, segment.data, segment.len);
    }
}

/* What clients send in different ways, so that no claim equals all of it. */
static enum status refuse_ambiguous(const struct url *url, struct error *e)
{
    struct span path = url->path;
    if (url->host_text.len != strlen(url->host) ||
        strncasecmp((const char *)url->host_text.data, url->host, url->host_text.len) != 0)
        return url_refuse(e, url_offset(url, url->host_text.data),
                          "the IPv6 address is not in its shortest form (RFC 5952); clients differ in what they send");
    while (path.len > 0) {
        struct span segment = take_segment(&path);
        if (dots(segment) > 0 && memchr(segment.data, '%', segment.len) != NULL)
            return url_refuse(e, url_offset(url, segment.data),
                              "the path has a dot segment in percent-encoding; clients differ in what they send");
    }
    return STATUS_OK;
}

static void put_origin(struct text *t, const struct url *url)
{
    char origin[URL_ORIGIN_SIZE];
    put(t, origin, url_write_origin(url, origin));
}

static enum status no_room(struct error *e, size_t len)
{
    return error_set(e, STATUS_INTERNAL, NULL, "no room for a URL of %zu characters", len);
}

enum status htu_claim(struct span text, char *out, size_t size, struct error *e)
{
    struct url url;
    struct text claim;
    enum status status = url_parse(text, &url, e);
    if (status == STATUS_OK)
        status = refuse_ambiguous(&url, e);
    if (status != STATUS_OK)
        return status;
    claim.len = 0;
    put_origin(&claim, &url);
    put_path(&claim, url.path, false);
    if (claim.len >= size)
        return no_room(e, claim.len);
    memcpy(out, claim.data, claim.len);
    out[claim.len] = '\0';
    return STATUS_OK;
}

enum status htu_sent(struct span text, char *out_url, size_t url_size, char *out_htu, size_t htu_size, struct error *e)
{
    struct url url;
    struct text sent;
    enum status status = url_parse(text, &url, e);
    if (status != STATUS_OK)
        return status;
    sent.len = 0;
    put_origin(&sent, &url);
    put_path(&sent, url.path, true);
    size_t claim_len = sent.len;
    if (url.query.data != NULL) {
        put(&sent, "?", 1);
        put(&sent, url.query.data, url.query.len);
    }
    if (sent.len >= url_size || claim_len >= htu_size)
        return no_room(e, sent.len);
    memcpy(out_url, sent.data, sent.len);
    out_url[sent.len] = '\0';
    memcpy(out_htu, sent.data, claim_len);
    out_htu[claim_len] = '\0';
    return STATUS_OK;
}
