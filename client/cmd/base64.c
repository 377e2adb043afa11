/* See base64.h. */
#include "base64.h"

#include <string.h>

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void put(struct buffer *out, struct span data, const char *alphabet, bool padded)
{
    for (size_t i = 0; i < data.len; i += 3) {
        size_t n = data.len - i < 3 ? data.len - i : 3;
        uint32_t bits = (uint32_t)data.data[i] << 16;
        if (n > 1)
            bits |= (uint32_t)data.data[i + 1] << 8;
        if (n > 2)
            bits |= data.data[i + 2];
        char text[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63], alphabet[bits >> 6 & 63], alphabet[bits & 63]};
        for (size_t k = n + 1; k < 4; k++)
            text[k] = '=';
        buffer_put(out, text, padded ? 4 : n + 1);
    }
}

void base64_put(struct buffer *out, struct span data)
{
    put(out, data, standard, true);
}

void base64_put_url(struct buffer *out, struct span data)
{
    put(out, data, url, false);
}

int base64_take_url(struct buffer *out, struct span text)
{
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *p = text.data[i] != '\0' ? strchr(url, text.data[i]) : NULL;
        if (p == NULL)
            return -1;
        bits = bits << 6 | (uint32_t)(p - url);
        count += 6;
        if (count >= 8) {
            count -= 8;
            buffer_put(out, &(uint8_t){(uint8_t)(bits >> count)}, 1);
        }
    }
    return out->failed ? -1 : 0;
}
