/* Reads tests/vectors/wire.txt, whose head says what its lines are. */
#ifndef TEST_WIRE_VECTORS_H
#define TEST_WIRE_VECTORS_H

#include "buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIRE_MOST_FIELDS 64

struct wire_field {
    unsigned int tag;
    char name[64], type[16];
    char value[1024];
};

struct wire_vector {
    char name[64], message[64];
    unsigned int operation, request;
    struct wire_field fields[WIRE_MOST_FIELDS];
    size_t field_count;
    struct buffer frame;
};

static inline void wire_put_hex(struct buffer *out, const char *hex)
{
    unsigned int byte;
    for (; sscanf(hex, "%2x", &byte) == 1 && hex[0] != '\n' && hex[0] != '\0'; hex += 2)
        buffer_put(out, &(uint8_t){(uint8_t)byte}, 1);
}

static inline void wire_take_line(struct wire_vector *v, const char *line)
{
    struct wire_field *f = &v->fields[v->field_count];
    if (sscanf(line, "vector %63[^\n]", v->name) == 1 || sscanf(line, "message %63s", v->message) == 1 ||
        sscanf(line, "operation %u", &v->operation) == 1 || sscanf(line, "request %u", &v->request) == 1)
        return;
    if (sscanf(line, "field %u %63s %15s %1023[^\n]", &f->tag, f->name, f->type, f->value) >= 3)
        v->field_count++;
    else if (strncmp(line, "hex ", 4) == 0)
        wire_put_hex(&v->frame, line + 4);
}

/* The next vector of the file; false at its end. The caller frees v->frame. */
static inline bool wire_next(FILE *file, struct wire_vector *v)
{
    char line[4096];
    *v = (struct wire_vector){.operation = 0};
    buffer_init(&v->frame, 1 << 20);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] == '\n' && v->name[0] != '\0')
            return true;
        if (line[0] != '#')
            wire_take_line(v, line);
    }
    return v->name[0] != '\0';
}

#endif
