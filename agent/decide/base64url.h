/*
 * base64url without padding (RFC 4648 section 5, RFC 7515 section 2): how JOSE writes bytes.
 *
 * The decoder is strict, so that every sequence of bytes has exactly one text: no padding, no white space, no other
 * alphabet, and the bits of the last character that carry nothing must be zero.
 */
#ifndef DECIDE_BASE64URL_H
#define DECIDE_BASE64URL_H

#include "buffer.h"

/* For arrays whose size is known to the compiler: characters for `n` bytes, without the terminating NUL. */
#define BASE64URL_LENGTH(n) (((n) * 4 + 2) / 3)

size_t base64url_length(size_t n);
void base64url_encode(const uint8_t *in, size_t n, char *out); /* writes base64url_length(n) + 1 characters */
void base64url_put(struct buffer *out, struct span in);        /* appends, without a NUL; failure sticks in `out` */

/* Writes at most `size` bytes and their number; -1 when `in` is not strict base64url or does not fit. */
int base64url_decode(struct span in, uint8_t *out, size_t size, size_t *len) MUST_CHECK;

#endif
