/*
 * Writes one JSON value (RFC 8259) into memory and prints it as a line. Text that is not UTF-8 has U+FFFD in its place.
 * A key of NULL stands for an item of an array, or the value as a whole. What was written is wiped: it may hold tokens.
 */
#ifndef CMD_JSON_H
#define CMD_JSON_H

#include "buffer.h"

#include <stdio.h>

struct json {
    struct buffer out;
    bool comma; /* a value stands before the next one */
};

void json_init(struct json *j);
void json_free(struct json *j);
void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket);                 /* '}' or ']' */
void json_span(struct json *j, const char *key, struct span text); /* absent: null */
void json_text(struct json *j, const char *key, const char *text); /* NULL: null */
void json_number(struct json *j, const char *key, uint64_t number);
void json_bool(struct json *j, const char *key, bool value);
void json_raw(struct json *j, const char *key, struct span json); /* a JSON value as it is; absent: null */
bool json_can_hold(struct span text); /* it is UTF-8, so that nothing in it is replaced */
int json_print(struct json *j, FILE *file) MUST_CHECK; /* with a newline, flushed; -1: it could not be written */

#endif
