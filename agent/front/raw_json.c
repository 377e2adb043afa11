/* See raw_json.h. */
#include "raw_json.h"

#include "json_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the net process lifts out of nested objects (net/json_answer.c) is in those objects too. */
static bool is_lifted(struct span name)
{
    static const char *const prefixes[] = {"cnf.", "mtls_endpoint_aliases."};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (name.len >= strlen(prefixes[i]) && memcmp(name.data, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static bool is_among(struct span name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (span_is(name, *names))
            return true;
    return false;
}

/* DEL may stand in a JSON string as it is, but not in a text. */
static void put_without_del(struct buffer *out, struct span json)
{
    for (size_t i = 0; i < json.len; i++) {
        if (json.data[i] == 0x7f)
            buffer_put_text(out, "\\u007f");
        else
            buffer_put(out, &json.data[i], 1);
    }
}

static void put_texts(struct buffer *out, const struct list *texts)
{
    struct span item;
    size_t cursor = 0;
    buffer_put_text(out, "[");
    for (bool first = true; list_next(texts, &cursor, &item); first = false) {
        buffer_put_text(out, first ? "" : ",");
        json_text_quoted(out, item);
    }
    buffer_put_text(out, "]");
}

static void put_value(struct buffer *out, const struct json_member *m)
{
    char digits[24];
    switch ((enum json_kind)m->kind) {
    case JSON_KIND_TEXT:
        json_text_quoted(out, m->text);
        break;
    case JSON_KIND_INTEGER:
        (void)snprintf(digits, sizeof(digits), "%" PRId64, (int64_t)m->integer);
        buffer_put_text(out, digits);
        break;
    case JSON_KIND_TRUE:
        buffer_put_text(out, "true");
        break;
    case JSON_KIND_FALSE:
        buffer_put_text(out, "false");
        break;
    case JSON_KIND_TEXTS:
        put_texts(out, &m->texts);
        break;
    case JSON_KIND_OTHER:
        buffer_put(out, m->text.data, m->text.len);
        break;
    case JSON_KIND_NULL:
    default:
        buffer_put_text(out, "null");
    }
}

void raw_json_put(struct buffer *out, const struct fetch_answer *a, const char *const *without)
{
    struct json_member m;
    struct error err;
    struct span item;
    size_t cursor = 0;
    bool first = true;
    struct buffer json;
    buffer_init(&json, out->max);
    buffer_put_text(&json, "{");
    while (list_next(&a->members, &cursor, &item)) {
        if (message_take(item, &message_json_member, &m, sizeof(m), &err) != STATUS_OK || is_lifted(m.name) ||
            is_among(m.name, without))
            continue;
        if (!first)
            buffer_put_text(&json, ",");
        first = false;
        json_text_quoted(&json, m.name);
        buffer_put_text(&json, ":");
        put_value(&json, &m);
    }
    buffer_put_text(&json, "}");
    put_without_del(out, buffer_span(&json));
    out->failed = out->failed || json.failed;
    buffer_free(&json);
}
