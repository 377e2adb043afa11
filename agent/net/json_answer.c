/* See json_answer.h. */
#include "json_answer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTENT_TYPE_SHOWN 64

/* jansson's own text quotes the input. */
static const char *reason_of(const json_error_t *e)
{
    switch (json_error_code(e)) {
    case json_error_out_of_memory:
        return "out of memory";
    case json_error_stack_overflow:
        return "it is nested too deeply";
    case json_error_invalid_utf8:
        return "it is not UTF-8";
    case json_error_premature_end_of_input:
        return "it ends too early";
    case json_error_end_of_input_expected:
        return "something stands behind it";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "it holds a NUL character";
    case json_error_duplicate_key:
        return "it has a member twice";
    case json_error_numeric_overflow:
        return "a number is too large";
    default:
        return "the syntax is wrong";
    }
}

static void set_error(struct json_answer *a, struct span body, struct span content_type, const char *reason)
{
    char type[CONTENT_TYPE_SHOWN];
    error_put_text(type, sizeof(type), content_type);
    (void)snprintf(a->error, sizeof(a->error), "%s, %zu bytes, not a JSON object: %s",
                   type[0] != '\0' ? type : "no content type", body.len, reason);
    buffer_clear(&a->encoded);
    a->count = 0;
}

static int append_json(const char *text, size_t size, void *buffer)
{
    buffer_put(buffer, text, size);
    return ((struct buffer *)buffer)->failed ? -1 : 0;
}

static bool is_array_of_strings(const json_t *value)
{
    size_t i;
    json_t *item;
    if (!json_is_array(value))
        return false;
    json_array_foreach(value, i, item)
        if (!json_is_string(item))
            return false;
    return true;
}

/* A span for each string of the array, to be freed; NULL: out of memory. */
static struct span *list_texts(const json_t *array)
{
    size_t i;
    json_t *item;
    struct span *texts = calloc(json_array_size(array) + 1, sizeof(*texts));
    if (texts != NULL)
        json_array_foreach(array, i, item)
            texts[i] = span_of(json_string_value(item), json_string_length(item));
    return texts;
}

static enum json_kind kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return JSON_KIND_TEXT;
    case JSON_INTEGER:
        return JSON_KIND_INTEGER;
    case JSON_TRUE:
        return JSON_KIND_TRUE;
    case JSON_FALSE:
        return JSON_KIND_FALSE;
    case JSON_NULL:
        return JSON_KIND_NULL;
    default:
        return is_array_of_strings(value) ? JSON_KIND_TEXTS : JSON_KIND_OTHER;
    }
}

static int put_member(struct buffer *out, const char *name, const json_t *value)
{
    struct json_member m = {.name = span_text(name), .kind = (uint16_t)kind_of(value)};
    struct buffer text;
    struct span *texts = NULL;
    int result = 0;

    buffer_init(&text, INTERNAL_FRAME_MAX);
    switch ((enum json_kind)m.kind) {
    case JSON_KIND_TEXT:
        m.text = span_of(json_string_value(value), json_string_length(value));
        break;
    case JSON_KIND_INTEGER:
        m.integer = (uint64_t)json_integer_value(value);
        break;
    case JSON_KIND_TEXTS:
        texts = list_texts(value);
        m.texts = (struct list){.items = texts, .count = json_array_size(value)};
        result = texts != NULL ? 0 : -1;
        break;
    case JSON_KIND_OTHER:
        result = json_dump_callback(value, append_json, &text, JSON_COMPACT | JSON_ENCODE_ANY);
        m.text = buffer_span(&text);
        break;
    case JSON_KIND_TRUE:
    case JSON_KIND_FALSE:
    case JSON_KIND_NULL:
        break;
    }
    if (result == 0)
        message_put(out, &message_json_member, &m);
    free(texts);
    buffer_free(&text);
    return result == 0 && !out->failed ? 0 : -1;
}

/* NULL, or why the object cannot be passed on. */
static const char *put_members(json_t *object, struct json_answer *a)
{
    size_t ends[JSON_ANSWER_MEMBERS_MAX];
    size_t at = 0;
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value) {
        if (a->count == JSON_ANSWER_MEMBERS_MAX)
            return "it has too many members";
        if (strlen(name) > LIMIT_TEXT)
            return "a member's name is too long";
        if (put_member(&a->encoded, name, value) != 0)
            return "its members are too large";
        ends[a->count++] = a->encoded.len;
    }
    struct span all = buffer_span(&a->encoded);
    for (size_t i = 0; i < a->count; at = ends[i++])
        a->members[i] = span_of(all.data + at, ends[i] - at);
    return NULL;
}

void json_answer_read(struct span body, struct span content_type, struct json_answer *out)
{
    json_error_t error;
    *out = (struct json_answer){.count = 0};
    buffer_init(&out->encoded, INTERNAL_FRAME_MAX);
    if (body.len == 0) {
        set_error(out, body, content_type, "the body is empty");
        return;
    }
    json_t *value = json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, &error);
    const char *wrong = value == NULL             ? reason_of(&error)
                        : !json_is_object(value) ? "it is an array"
                                                 : put_members(value, out);
    if (wrong != NULL) {
        set_error(out, body, content_type, wrong);
    } else {
        const json_t *token = json_object_get(value, "access_token");
        out->is_jwt = json_is_string(token) &&
                      jwt_read(span_of(json_string_value(token), json_string_length(token)), &out->jwt);
    }
    json_decref(value);
}

void json_answer_free(struct json_answer *a)
{
    buffer_free(&a->encoded);
    a->count = 0;
}
