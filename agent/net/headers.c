/* See headers.h. */
#include "headers.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

void headers_init(struct headers *h)
{
    *h = (struct headers){.block = HEADERS_BEFORE};
    buffer_init(&h->text, 2 * HEADERS_BYTES_MAX);
    buffer_init(&h->block_text, HEADERS_BYTES_MAX);
}

void headers_free(struct headers *h)
{
    buffer_free(&h->text);
    buffer_free(&h->block_text);
    headers_init(h);
}

static struct span trim(struct span s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.data[s.len - 1]) != NULL)
        s.len--;
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = span_of(s.data + 1, s.len - 1);
    return s;
}

static bool begins_with(struct span s, const char *text)
{
    size_t n = strlen(text);
    return s.len >= n && memcmp(s.data, text, n) == 0;
}

/* "HTTP/1.1 100 Continue": the block that it opens will be followed by another one. */
static bool is_informational(struct span status_line)
{
    const uint8_t *space = memchr(status_line.data, ' ', status_line.len);
    return space != NULL && space + 1 < status_line.data + status_line.len && space[1] == '1';
}

static void begin_block(struct headers *h, struct span status_line)
{
    buffer_clear(&h->text);
    buffer_clear(&h->block_text);
    buffer_put(&h->block_text, status_line.data, status_line.len);
    h->date = h->retry_after = h->content_type = (struct headers_value){0};
    h->nonce_count = h->challenge_count = 0;
    h->open = NULL;
    h->block = is_informational(status_line) ? HEADERS_INFORMATIONAL : HEADERS_INSIDE;
}

static bool is_named(struct span name, const char *wanted)
{
    return name.len == strlen(wanted) && strncasecmp((const char *)name.data, wanted, name.len) == 0;
}

/* Where a header's value goes; NULL: nobody wants it. Of headers that may stand once the first one counts. */
static struct headers_value *place_for(struct headers *h, struct span name)
{
    const struct {
        const char *name;
        struct headers_value *value;
    } single[] = {{"date", &h->date}, {"retry-after", &h->retry_after}, {"content-type", &h->content_type}};

    if (is_named(name, "dpop-nonce"))
        return h->nonce_count < HEADERS_LINES_MAX ? &h->nonces[h->nonce_count++] : NULL;
    if (is_named(name, "www-authenticate"))
        return h->challenge_count < HEADERS_LINES_MAX ? &h->challenges[h->challenge_count++] : NULL;
    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
        if (is_named(name, single[i].name))
            return single[i].value->present ? NULL : single[i].value;
    return NULL;
}

static void append(struct headers *h, struct headers_value *value, struct span text)
{
    buffer_put(&h->text, text.data, text.len);
    value->len += text.len;
}

static void add_header(struct headers *h, struct span line)
{
    if (line.data[0] == ' ' || line.data[0] == '\t') {
        if (h->open != NULL) {
            append(h, h->open, span_text(" "));
            append(h, h->open, trim(line));
        }
        return;
    }
    const uint8_t *colon = memchr(line.data, ':', line.len);
    h->open = NULL;
    if (colon == NULL)
        return;
    size_t name_len = (size_t)(colon - line.data);
    h->open = place_for(h, span_of(line.data, name_len));
    if (h->open != NULL) {
        *h->open = (struct headers_value){.present = true, .at = h->text.len};
        append(h, h->open, trim(span_of(colon + 1, line.len - name_len - 1)));
    }
}

int headers_add(struct headers *h, struct span line)
{
    h->lines++;
    h->bytes += line.len;
    if (h->lines > HEADERS_LINES_MAX || h->bytes > HEADERS_BYTES_MAX)
        return -1;
    if (line.len == 0)
        return 0;
    bool may_begin = h->block == HEADERS_BEFORE;
    if (may_begin && begins_with(line, "HTTP/")) {
        begin_block(h, line);
        return 0;
    }
    if (h->block != HEADERS_INSIDE && h->block != HEADERS_INFORMATIONAL)
        return 0; /* a trailer */
    if (trim(line).len == 0)
        h->block = h->block == HEADERS_INFORMATIONAL ? HEADERS_BEFORE : HEADERS_AFTER;
    else if (h->block == HEADERS_INSIDE)
        add_header(h, line);
    buffer_put(&h->block_text, line.data, line.len);
    return h->text.failed || h->block_text.failed ? -1 : 0;
}

struct span headers_span(const struct headers *h, const struct headers_value *value)
{
    if (!value->present)
        return span_of(NULL, 0);
    return span_of(buffer_span(&h->text).data + value->at,
                   value->len < LIMIT_HEADER_VALUE ? value->len : LIMIT_HEADER_VALUE);
}

void headers_mask(struct headers *h, const struct masking *masking)
{
    for (size_t i = 0; i < h->challenge_count; i++) {
        struct headers_value *c = &h->challenges[i];
        /* Whole: a secret may stand where headers_span cuts it. */
        struct span value = span_of(buffer_span(&h->text).data + c->at, c->len);
        size_t at = h->text.len;
        if (!masking_finds(masking, value))
            continue;
        masking_put(masking, &h->text, value);
        c->at = at;
        c->len = h->text.len - at;
    }
    if (h->text.failed)
        h->challenge_count = 0;
}

uint32_t headers_retry_after(const struct headers *h, time_t now)
{
    struct span value = headers_span(h, &h->retry_after);
    uint32_t seconds = 0;
    char text[64];

    if (value.data == NULL || value.len == 0 || span_copy(value, text, sizeof(text)) != 0)
        return 0;
    if (strspn(text, "0123456789") == strlen(text)) {
        for (const char *c = text; *c != '\0' && seconds <= HEADERS_RETRY_AFTER_MAX; c++)
            seconds = 10 * seconds + (uint32_t)(*c - '0');
        return seconds < HEADERS_RETRY_AFTER_MAX ? seconds : HEADERS_RETRY_AFTER_MAX;
    }
    time_t when = curl_getdate(text, NULL);
    if (when == -1 || when <= now)
        return 0;
    return when - now < HEADERS_RETRY_AFTER_MAX ? (uint32_t)(when - now) : HEADERS_RETRY_AFTER_MAX;
}
