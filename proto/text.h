/* Text for people and for the wire: UTF-8 (RFC 3629) without C0 control characters and DEL. */
#ifndef PROTO_TEXT_H
#define PROTO_TEXT_H

#include "buffer.h"

bool text_valid(struct span text);
void text_clean(char *text); /* in place: every byte that is not part of valid text becomes '?' */

#endif
