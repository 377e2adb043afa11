/* See json.h. */
#include "json.h"

#include "text.h"

#include <inttypes.h>
#include <string.h>

#define LARGEST (64U << 20)

void json_init(struct json *j)
{
    *j = (struct json){.comma = false};
    buffer_init(&j->out, LARGEST);
}

void json_free(struct json *j)
{
    buffer_free(&j->out);
}

static void put_escaped(struct json *j, uint8_t c)
{
    char text[8];
    switch (c) {
    case '"':
    case '\\':
        buffer_put(&j->out, (const uint8_t[]){'\\', c}, 2);
        break;
    case '\n':
        buffer_put_text(&j->out, "\\n");
        break;
    default:
        (void)snprintf(text, sizeof(text), "\\u%04x", c);
        buffer_put_text(&j->out, text);
    }
}

/* Length of the valid UTF-8 sequence at the front (1 for ASCII), or 0. */
static size_t sequence(struct span s)
{
    if (s.data[0] < 0x80)
        return 1;
    for (size_t n = 2; n <= 4 && n <= s.len; n++)
        if (text_valid(span_of(s.data, n)))
            return n;
    return 0;
}

bool json_can_hold(struct span text)
{
    while (text.len > 0) {
        size_t n = sequence(text);
        if (n == 0)
            return false;
        text = span_of(text.data + n, text.len - n);
    }
    return true;
}

static void put_string(struct json *j, struct span s)
{
    buffer_put_text(&j->out, "\"");
    while (s.len > 0) {
        size_t n = sequence(s);
        if (n == 0)
            buffer_put_text(&j->out, "\xef\xbf\xbd");
        else if (n == 1 && (s.data[0] < 0x20 || s.data[0] == 0x7f || s.data[0] == '"' || s.data[0] == '\\'))
            put_escaped(j, s.data[0]);
        else
            buffer_put(&j->out, s.data, n);
        n += n == 0;
        s.data += n;
        s.len -= n;
    }
    buffer_put_text(&j->out, "\"");
}

static void put_key(struct json *j, const char *key)
{
    if (j->comma)
        buffer_put_text(&j->out, ",");
    j->comma = true;
    if (key != NULL) {
        put_string(j, span_text(key));
        buffer_put_text(&j->out, ":");
    }
}

void json_open(struct json *j, const char *key, char bracket)
{
    put_key(j, key);
    buffer_put(&j->out, &bracket, 1);
    j->comma = false;
}

void json_close(struct json *j, char bracket)
{
    buffer_put(&j->out, &bracket, 1);
    j->comma = true;
}

void json_span(struct json *j, const char *key, struct span text)
{
    put_key(j, key);
    if (text.data == NULL)
        buffer_put_text(&j->out, "null");
    else
        put_string(j, text);
}

void json_text(struct json *j, const char *key, const char *text)
{
    json_span(j, key, span_text(text));
}

void json_number(struct json *j, const char *key, uint64_t number)
{
    char text[24];
    put_key(j, key);
    (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    buffer_put_text(&j->out, text);
}

void json_bool(struct json *j, const char *key, bool value)
{
    put_key(j, key);
    buffer_put_text(&j->out, value ? "true" : "false");
}

void json_raw(struct json *j, const char *key, struct span json)
{
    put_key(j, key);
    if (json.data == NULL)
        buffer_put_text(&j->out, "null");
    else
        buffer_put(&j->out, json.data, json.len);
}

int json_print(struct json *j, FILE *file)
{
    buffer_put_text(&j->out, "\n");
    struct span all = buffer_span(&j->out);
    if (j->out.failed || fwrite(all.data, 1, all.len, file) != all.len || fflush(file) != 0)
        return -1;
    return 0;
}
