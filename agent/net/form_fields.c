/* See form_fields.h. */
#include "form_fields.h"

#include <string.h>

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void put_decoded(struct buffer *out, struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && text.len - i > 2 && hex_value(text.data[i + 1]) >= 0 && hex_value(text.data[i + 2]) >= 0) {
            c = (uint8_t)(hex_value(text.data[i + 1]) * 16 + hex_value(text.data[i + 2]));
            i += 2;
        }
        buffer_put(out, &c, 1);
    }
}

/* The text before the first `stop`; `rest` is then what stands behind it. */
static struct span take_until(struct span *rest, char stop)
{
    const uint8_t *at = rest->len > 0 ? memchr(rest->data, stop, rest->len) : NULL;
    size_t len = at != NULL ? (size_t)(at - rest->data) : rest->len;
    struct span part = span_of(rest->data, len);
    size_t taken = at != NULL ? len + 1 : len;
    *rest = span_of(rest->data + taken, rest->len - taken);
    return part;
}

bool form_fields_next(struct span *rest, struct buffer *name, struct buffer *value)
{
    struct span field = span_of(NULL, 0);
    while (rest->len > 0 && field.len == 0)
        field = take_until(rest, '&');
    if (field.len == 0)
        return false;
    buffer_clear(name);
    buffer_clear(value);
    put_decoded(name, take_until(&field, '='));
    put_decoded(value, field);
    return true;
}

bool form_fields_has(struct span form, const char *name)
{
    struct buffer n, v;
    bool found = false;
    buffer_init(&n, form.len);
    buffer_init(&v, form.len);
    while (!found && form_fields_next(&form, &n, &v))
        found = span_is(buffer_span(&n), name);
    buffer_free(&n);
    buffer_free(&v);
    return found;
}
