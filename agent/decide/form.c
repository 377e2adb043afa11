/* See form.h. */
#include "form.h"

#include <string.h>

static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._";

void form_put_encoded(struct buffer *out, struct span text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == ' ')
            buffer_put(out, "+", 1);
        else if (c != '\0' && strchr(plain, c) != NULL)
            buffer_put(out, &c, 1);
        else
            buffer_put(out, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

void form_put(struct buffer *out, const char *name, struct span value)
{
    if (out->len > 0)
        buffer_put(out, "&", 1);
    form_put_encoded(out, span_text(name));
    buffer_put(out, "=", 1);
    form_put_encoded(out, value);
}

void form_put_pair(struct buffer *out, const char *pair)
{
    const char *equals = strchr(pair, '=');
    size_t name = equals != NULL ? (size_t)(equals - pair) : strlen(pair);
    if (out->len > 0)
        buffer_put(out, "&", 1);
    form_put_encoded(out, span_of(pair, name));
    buffer_put(out, "=", 1);
    form_put_encoded(out, span_text(equals != NULL ? equals + 1 : ""));
}
