/* See qr.h. */
#include "qr.h"

#include <qrencode.h>

#define QUIET 2             /* light modules around the code */
#define BEGIN "\x1b[97;40m" /* white on black: a light module is a block */
#define END "\x1b[0m\n"

static bool light(const QRcode *code, int x, int y)
{
    if (x < 0 || y < 0 || x >= code->width || y >= code->width)
        return true;
    return (code->data[y * code->width + x] & 1) == 0;
}

int qr_put(struct buffer *out, const char *text)
{
    static const char *const blocks[] = {" ", "\xe2\x96\x84", "\xe2\x96\x80", "\xe2\x96\x88"}; /* lower, upper, both */
    QRcode *code = QRcode_encodeString(text, 0, QR_ECLEVEL_L, QR_MODE_8, 1);
    if (code == NULL)
        return -1;
    for (int y = -QUIET; y < code->width + QUIET; y += 2) {
        buffer_put_text(out, BEGIN);
        for (int x = -QUIET; x < code->width + QUIET; x++)
            buffer_put_text(out, blocks[2 * light(code, x, y) + light(code, x, y + 1)]);
        buffer_put_text(out, END);
    }
    QRcode_free(code);
    return out->failed ? -1 : 0;
}
