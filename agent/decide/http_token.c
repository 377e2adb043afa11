/* See http_token.h. */
#include "http_token.h"

bool http_token_char(uint8_t c)
{
    static const bool others[128] = {
        ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true, ['\''] = true, ['*'] = true, ['+'] = true,
        ['-'] = true, ['.'] = true, ['^'] = true, ['_'] = true, ['`'] = true, ['|'] = true,  ['~'] = true,
    };
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c < 128 && others[c]);
}

bool http_token_valid(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!http_token_char(text.data[i]))
            return false;
    return text.len > 0;
}
