/* See json_text.h. */
#include "json_text.h"

#include <inttypes.h>
#include <stdio.h>

static bool must_escape(uint8_t c)
{
    return c < 0x20 || c == 0x7f || c == '"' || c == '\\';
}

static void put_escape(struct buffer *out, uint8_t c)
{
    char escape[sizeof("\\u0000")];
    if (c < 0x20 || c == 0x7f)
        (void)snprintf(escape, sizeof(escape), "\\u%04x", c);
    else
        (void)snprintf(escape, sizeof(escape), "\\%c", c);
    buffer_put_text(out, escape);
}

void json_text_quoted(struct buffer *out, struct span text)
{
    buffer_put(out, "\"", 1);
    for (size_t at = 0; at < text.len;) {
        size_t plain = at;
        while (plain < text.len && !must_escape(text.data[plain]))
            plain++;
        buffer_put(out, text.data + at, plain - at);
        if (plain < text.len)
            put_escape(out, text.data[plain++]);
        at = plain;
    }
    buffer_put(out, "\"", 1);
}

static void put_name(struct buffer *out, const char *name)
{
    struct span so_far = buffer_span(out);
    if (so_far.len > 0 && so_far.data[so_far.len - 1] != '{')
        buffer_put(out, ",", 1);
    json_text_quoted(out, span_text(name));
    buffer_put(out, ":", 1);
}

void json_text_open(struct buffer *out)
{
    buffer_put(out, "{", 1);
}

void json_text_string(struct buffer *out, const char *name, struct span value)
{
    put_name(out, name);
    json_text_quoted(out, value);
}

void json_text_number(struct buffer *out, const char *name, int64_t value)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%" PRId64, value);
    put_name(out, name);
    buffer_put_text(out, digits);
}

void json_text_value(struct buffer *out, const char *name, struct span json)
{
    put_name(out, name);
    buffer_put(out, json.data, json.len);
}

void json_text_close(struct buffer *out)
{
    buffer_put(out, "}", 1);
}
