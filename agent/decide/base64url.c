/* See base64url.h. */
#include "base64url.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t base64url_length(size_t n)
{
    return n / 3 * 4 + BASE64URL_LENGTH(n % 3);
}

static void encode(const uint8_t *restrict in, size_t n, char *restrict out)
{
    for (; n >= 3; n -= 3, in += 3, out += 4) {
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = alphabet[bits >> 6 & 63];
        out[3] = alphabet[bits & 63];
    }
    if (n == 0)
        return;
    uint32_t bits = (uint32_t)in[0] << 16 | (n == 2 ? (uint32_t)in[1] << 8 : 0);
    out[0] = alphabet[bits >> 18];
    out[1] = alphabet[bits >> 12 & 63];
    if (n == 2)
        out[2] = alphabet[bits >> 6 & 63];
}

void base64url_encode(const uint8_t *in, size_t n, char *out)
{
    encode(in, n, out);
    out[base64url_length(n)] = '\0';
}

void base64url_put(struct buffer *out, struct span in)
{
    size_t length = base64url_length(in.len);
    uint8_t *room = buffer_room(out, length);
    if (room == NULL)
        return;
    encode(in.data, in.len, (char *)room);
    buffer_added(out, length);
}

/* A character's value plus one; 0: not in the alphabet. */
static const uint8_t values[256] = {
    ['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    ['-'] = 63,
    ['_'] = 64,
};

static uint32_t value_of(uint8_t character)
{
    return (uint32_t)values[character] - 1;
}

/* Is it the one text of some bytes? Nothing is written before this is known. */
static bool is_strict(struct span in)
{
    size_t rest = in.len % 4;
    if (rest == 1)
        return false;
    for (size_t i = 0; i < in.len; i++)
        if (values[in.data[i]] == 0)
            return false;
    if (rest == 0)
        return true;
    uint32_t unused_bits = rest == 2 ? 15 : 3;
    return (value_of(in.data[in.len - 1]) & unused_bits) == 0;
}

int base64url_decode(struct span in, uint8_t *out, size_t size, size_t *len)
{
    size_t n = in.len / 4 * 3 + (in.len % 4 > 0 ? in.len % 4 - 1 : 0);
    if (n > size || !is_strict(in))
        return -1;
    uint32_t bits = 0;
    unsigned int held = 0;
    for (size_t i = 0; i < in.len; i++) {
        bits = bits << 6 | value_of(in.data[i]);
        held += 6;
        if (held >= 8) {
            held -= 8;
            *out++ = (uint8_t)(bits >> held);
        }
    }
    *len = n;
    return 0;
}
