/* See text.h. */
#include "text.h"

#include <string.h>

/* One byte sequence of UTF-8 at the front of `s`: its length, or 0 if it is not valid (RFC 3629 section 4). */
static size_t utf8_length(const uint8_t *s, size_t len)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t more;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        more = 1;
    else if ((s[0] & 0xf0) == 0xe0)
        more = 2;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        more = 3;
    else
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    if (s[0] == 0xed)
        high = 0x9f;
    if (s[0] == 0xf0)
        low = 0x90;
    if (s[0] == 0xf4)
        high = 0x8f;
    if (len <= more || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i <= more; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return more + 1;
}

static bool is_control(uint8_t c)
{
    return c < 0x20 || c == 0x7f;
}

bool text_valid(struct span text)
{
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_length(text.data + i, text.len - i);
        if (n == 0 || is_control(text.data[i]))
            return false;
        i += n;
    }
    return true;
}

void text_clean(char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length((const uint8_t *)text + i, len - i);
        if (n == 0 || is_control((uint8_t)text[i])) {
            text[i] = '?';
            n = 1;
        }
        i += n;
    }
}
