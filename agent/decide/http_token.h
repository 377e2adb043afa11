/* The `token` of RFC 9110 section 5.6.2: methods, scheme names, parameter names. */
#ifndef DECIDE_HTTP_TOKEN_H
#define DECIDE_HTTP_TOKEN_H

#include "buffer.h"

bool http_token_char(uint8_t c);
bool http_token_valid(struct span text); /* one character or more, all of a token */

#endif
