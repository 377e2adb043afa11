/* A text as a QR code of half-block characters, two rows of modules in a line, dark on light whatever the terminal's
 * colours. */
#ifndef CMD_QR_H
#define CMD_QR_H

#include "buffer.h"

/* Lines with colour escapes. -1: the text is too long for a code. */
int qr_put(struct buffer *out, const char *text) MUST_CHECK;

#endif
