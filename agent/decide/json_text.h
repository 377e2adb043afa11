/*
 * The only JSON that the agent writes by hand: an object of string, number and ready-made members (RFC 8259).
 *
 * The caller sees to it that texts are UTF-8 and that no name comes twice. No white space is written, members stay in
 * the order of the calls, and a failure sticks in the buffer.
 */
#ifndef DECIDE_JSON_TEXT_H
#define DECIDE_JSON_TEXT_H

#include "buffer.h"

void json_text_open(struct buffer *out);
void json_text_string(struct buffer *out, const char *name, struct span value);
void json_text_number(struct buffer *out, const char *name, int64_t value);
void json_text_value(struct buffer *out, const char *name, struct span json); /* JSON already */
void json_text_quoted(struct buffer *out, struct span text);                  /* a string by itself, for an array */
void json_text_close(struct buffer *out);

#endif
