/* See jwt.h. */
#include "jwt.h"

#include "base64url.h"
#include "internal.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

#define NUMERIC_DATE_MAX 9007199254740992.0 /* 2^53 */

/* The text up to the next dot; false when there is none. */
static bool take_part(struct span *rest, struct span *part)
{
    const uint8_t *dot = rest->len > 0 ? memchr(rest->data, '.', rest->len) : NULL;
    if (dot == NULL)
        return false;
    *part = span_of(rest->data, (size_t)(dot - rest->data));
    *rest = span_of(dot + 1, rest->len - part->len - 1);
    return true;
}

/* The JSON object that a part encodes, to be freed with json_decref; NULL: it encodes none. */
static json_t *decode_object(struct span part)
{
    json_t *value = NULL;
    struct buffer text;
    size_t len;

    buffer_init(&text, LIMIT_ACCESS_TOKEN);
    uint8_t *room = part.len > 0 ? buffer_room(&text, part.len) : NULL;
    if (room != NULL && base64url_decode(part, room, part.len, &len) == 0) {
        buffer_added(&text, len);
        value = json_loadb((const char *)room, len, JSON_REJECT_DUPLICATES, NULL);
    }
    buffer_free(&text);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

static uint32_t lifetime_of(const json_t *payload)
{
    const json_t *exp = json_object_get(payload, "exp"), *iat = json_object_get(payload, "iat");
    json_int_t seconds;
    if (!json_is_integer(exp) || !json_is_integer(iat) ||
        __builtin_sub_overflow(json_integer_value(exp), json_integer_value(iat), &seconds) || seconds <= 0)
        return 0;
    return seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}

static void copy_text(const json_t *value, char out[LIMIT_TEXT + 1])
{
    struct span text = span_of(json_string_value(value), json_string_length(value));
    if (text.data == NULL || !text_valid(text) || span_copy(text, out, LIMIT_TEXT + 1) != 0)
        out[0] = '\0';
}

bool jwt_thumbprint(const json_t *object_with_cnf, char out[LIMIT_TEXT + 1])
{
    const json_t *jkt = json_object_get(json_object_get(object_with_cnf, "cnf"), "jkt");
    copy_text(jkt, out);
    return jkt != NULL;
}

bool jwt_decode(struct span token, json_t **header, json_t **payload)
{
    struct span rest = token, first, second;
    if (token.len > LIMIT_ACCESS_TOKEN || !take_part(&rest, &first) || !take_part(&rest, &second) || rest.len == 0 ||
        memchr(rest.data, '.', rest.len) != NULL)
        return false;
    json_t *h = decode_object(first);
    json_t *p = h != NULL ? decode_object(second) : NULL;
    if (p == NULL) {
        json_decref(h);
        return false;
    }
    *header = h;
    *payload = p;
    return true;
}

bool jwt_read(struct span token, struct jwt *out)
{
    json_t *header, *payload;
    if (!jwt_decode(token, &header, &payload))
        return false;
    *out = (struct jwt){.lifetime = lifetime_of(payload)};
    out->bound = jwt_thumbprint(payload, out->cnf_jkt);
    copy_text(json_object_get(payload, "sub"), out->subject);
    json_decref(header);
    json_decref(payload);
    return true;
}

/* Text that fits the message; an absent claim stays absent. -1: another type, or too long. */
static int take_text(const json_t *payload, const char *name, size_t max, struct span *out)
{
    const json_t *value = json_object_get(payload, name);
    *out = span_of(json_string_value(value), json_string_length(value));
    if (value == NULL)
        return 0;
    return out->data != NULL && out->len <= max && text_valid(*out) ? 0 : -1;
}

static int take_date(const json_t *payload, const char *name, uint64_t *out)
{
    const json_t *value = json_object_get(payload, name);
    double real = json_number_value(value);
    *out = 0;
    if (value == NULL)
        return 0;
    if (!json_is_number(value) || !(real >= 0) || real > NUMERIC_DATE_MAX)
        return -1;
    *out = json_is_integer(value) ? (uint64_t)json_integer_value(value) : (uint64_t)real;
    return 0;
}

/* A string is a list of one. `*items` is to be freed in any case. */
static int take_audience(const json_t *payload, struct span **items, struct list *out)
{
    const json_t *value = json_object_get(payload, "aud");
    size_t count = json_is_array(value) ? json_array_size(value) : value != NULL;
    *items = calloc(count + 1, sizeof(**items));
    if (*items == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        struct span text = span_of(json_string_value(item), json_string_length(item));
        if (text.data == NULL || text.len > LIMIT_TEXT || !text_valid(text))
            return -1;
        (*items)[i] = text;
    }
    *out = (struct list){.items = *items, .count = count};
    return 0;
}

int jwt_put_id_claims(struct span token, struct buffer *out)
{
    struct id_token_message m = {0};
    struct span *audience = NULL;
    json_t *header, *p;
    int result = -1;

    if (!jwt_decode(token, &header, &p))
        return -1;
    if (take_text(p, "iss", LIMIT_URL, &m.iss) == 0 && take_text(p, "sub", LIMIT_TEXT, &m.sub) == 0 &&
        take_text(p, "nonce", LIMIT_TEXT, &m.nonce) == 0 && take_text(p, "azp", LIMIT_TEXT, &m.azp) == 0 &&
        take_date(p, "exp", &m.exp) == 0 && take_date(p, "iat", &m.iat) == 0 &&
        take_audience(p, &audience, &m.aud) == 0) {
        message_put(out, &message_id_token_message, &m);
        result = out->failed ? -1 : 0;
    }
    free(audience);
    json_decref(header);
    json_decref(p);
    return result;
}
