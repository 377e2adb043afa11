/* See jwt.h. */
#include "jwt.h"

#include "base64url.h"
#include "text.h"

#include <jansson.h>
#include <string.h>

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

static void read_payload(const json_t *payload, struct jwt *out)
{
    const json_t *jkt = json_object_get(json_object_get(payload, "cnf"), "jkt");
    *out = (struct jwt){.bound = jkt != NULL, .lifetime = lifetime_of(payload)};
    struct span text = span_of(json_string_value(jkt), json_string_length(jkt));
    if (text.data != NULL && (!text_valid(text) || span_copy(text, out->cnf_jkt, sizeof(out->cnf_jkt)) != 0))
        out->cnf_jkt[0] = '\0';
}

bool jwt_read(struct span token, struct jwt *out)
{
    struct span rest = token, header, payload;
    if (token.len > LIMIT_ACCESS_TOKEN || !take_part(&rest, &header) || !take_part(&rest, &payload) || rest.len == 0 ||
        memchr(rest.data, '.', rest.len) != NULL)
        return false;
    json_t *h = decode_object(header);
    json_t *p = h != NULL ? decode_object(payload) : NULL;
    bool is_jwt = p != NULL;
    if (is_jwt)
        read_payload(p, out);
    json_decref(h);
    json_decref(p);
    return is_jwt;
}
