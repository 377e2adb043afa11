/* See json_answer.h. */
#include "json_answer.h"

#include "session_names.h"

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

/* The objects whose strings follow as members of their own; the prefix is the name and a dot. */
static const char *const nested[] = {"cnf", "mtls_endpoint_aliases"};
#define NESTED_COUNT (sizeof(nested) / sizeof(nested[0]))

bool json_answer_is_nested(struct span name)
{
    for (size_t i = 0; i < NESTED_COUNT; i++) {
        size_t len = strlen(nested[i]);
        if (name.len > len && memcmp(name.data, nested[i], len) == 0 && name.data[len] == '.')
            return true;
    }
    return false;
}

/* Where each member ends in the buffer, which moves while it grows. */
struct ends {
    size_t at[JSON_ANSWER_ALL_MAX];
    size_t count;
};

/* NULL, or why the object cannot be passed on. */
static const char *put_one(struct json_answer *a, struct ends *ends, const char *name, const json_t *value)
{
    if (strlen(name) > LIMIT_TEXT)
        return "a member's name is too long";
    if (put_member(&a->encoded, name, value) != 0)
        return "its members are too large";
    ends->at[ends->count++] = a->encoded.len;
    return NULL;
}

static const char *put_nested(struct json_answer *a, struct ends *ends, const char *object_name, json_t *object)
{
    char full[2 * LIMIT_TEXT];
    const char *name, *wrong = NULL;
    size_t count = 0;
    json_t *value;

    json_object_foreach(object, name, value) {
        if (!json_is_string(value))
            continue;
        if (++count > JSON_ANSWER_NESTED_MAX)
            return "it has too many members";
        (void)snprintf(full, sizeof(full), "%s.%s", object_name, name); /* what is cut is too long anyway */
        wrong = put_one(a, ends, full, value);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

static const char *put_members(json_t *object, struct json_answer *a)
{
    struct ends ends = {.count = 0};
    const char *name, *wrong = NULL;
    size_t at = 0;
    json_t *value;

    json_object_foreach(object, name, value) {
        if (json_answer_is_nested(span_text(name)))
            continue;
        if (ends.count == JSON_ANSWER_MEMBERS_MAX)
            return "it has too many members";
        wrong = put_one(a, &ends, name, value);
        if (wrong != NULL)
            return wrong;
    }
    for (size_t i = 0; i < NESTED_COUNT && wrong == NULL; i++)
        wrong = put_nested(a, &ends, nested[i], json_object_get(object, nested[i]));
    struct span all = buffer_span(&a->encoded);
    for (; a->count < ends.count; at = ends.at[a->count++])
        a->members[a->count] = span_of(all.data + at, ends.at[a->count] - at);
    return wrong;
}

static void read_tokens(const json_t *object, struct json_answer *a)
{
    const json_t *token = json_object_get(object, "access_token"), *id_token = json_object_get(object, "id_token");

    a->is_jwt = json_is_string(token) &&
                jwt_read(span_of(json_string_value(token), json_string_length(token)), &a->jwt);
    if (token == NULL && json_object_get(object, "active") != NULL) /* RFC 9449 section 6.2 */
        a->jwt.bound = jwt_thumbprint(object, a->jwt.cnf_jkt);
    if (id_token == NULL || json_is_null(id_token))
        return;
    a->has_id_token =
        json_is_string(id_token) &&
        jwt_put_id_claims(span_of(json_string_value(id_token), json_string_length(id_token)), &a->id_token) == 0;
    a->id_token_unreadable = !a->has_id_token;
}

void json_answer_read(struct span body, struct span content_type, struct json_answer *out)
{
    json_error_t error;
    *out = (struct json_answer){.count = 0};
    buffer_init(&out->encoded, INTERNAL_FRAME_MAX);
    buffer_init(&out->id_token, LIMIT_NESTED);
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
        json_decref(value);
        return;
    }
    read_tokens(value, out);
    out->object = value;
}

static int mask_string(json_t *string, const struct masking *masking)
{
    struct span text = span_of(json_string_value(string), json_string_length(string));
    struct buffer masked;
    if (!masking_finds(masking, text))
        return 0;
    buffer_init(&masked, INTERNAL_FRAME_MAX);
    masking_put(masking, &masked, text);
    int result = masked.failed || masked.len == 0
                     ? -1
                     : json_string_setn(string, (const char *)buffer_span(&masked).data, masked.len);
    buffer_free(&masked);
    return result;
}

/* A name that everybody knows is no secret, even if the request has a value that is spelled like it. */
static bool is_secret_name(const char *name, const struct masking *masking)
{
    struct span n = span_text(name);
    return masking_finds(masking, n) && !session_names_has(SESSION_WHOLE_MEMBER_NAMES, n) &&
           !session_names_has(SESSION_SECRET_MEMBER_NAMES, n);
}

/* `keep`: values that are wanted as they are stay. */
static int mask_value(json_t *value, const struct masking *masking, bool keep)
{
    const char *name;
    json_t *item;
    void *next;
    size_t i;

    if (json_is_string(value))
        return mask_string(value, masking);
    json_object_foreach_safe(value, next, name, item) {
        if (is_secret_name(name, masking))
            (void)json_object_del(value, name);
        else if (keep && json_is_string(item) && session_names_has(SESSION_SECRET_MEMBER_NAMES, span_text(name)))
            continue;
        else if (keep && strcmp(name, "scope") == 0 && json_string_length(item) > MASKING_SHOWN_MAX)
            continue; /* too long to be a scope: the front says so */
        else if (mask_value(item, masking, false) != 0)
            return -1;
    }
    json_array_foreach(value, i, item)
        if (mask_value(item, masking, false) != 0)
            return -1;
    return 0;
}

static void mask_error(struct json_answer *a, const struct masking *masking)
{
    struct buffer text;
    if (!masking_finds(masking, span_text(a->error)))
        return;
    buffer_init(&text, sizeof(a->error));
    masking_put(masking, &text, span_text(a->error));
    error_put_text(a->error, sizeof(a->error), text.failed ? span_text("not a JSON object") : buffer_span(&text));
    buffer_free(&text);
}

void json_answer_mask(struct json_answer *a, const struct masking *masking, unsigned int http_status)
{
    bool success = http_status / 100 == 2 && json_object_get(a->object, "error") == NULL;

    if (a->object == NULL) {
        mask_error(a, masking);
        return;
    }
    const char *wrong = mask_value(a->object, masking, success) != 0 ? "out of memory" : NULL;
    buffer_clear(&a->encoded);
    a->count = 0;
    if (wrong == NULL)
        wrong = put_members(a->object, a);
    if (wrong == NULL)
        return;
    buffer_clear(&a->encoded);
    a->count = 0;
    a->is_jwt = false;
    (void)snprintf(a->error, sizeof(a->error), "a JSON object that cannot be handed on: %s", wrong);
}

void json_answer_free(struct json_answer *a)
{
    buffer_free(&a->encoded);
    buffer_free(&a->id_token);
    json_decref(a->object);
    a->object = NULL;
    a->count = 0;
}
