/* See init_lines.h. */
#include "init_lines.h"

#include <stdlib.h>
#include <string.h>

/* Room for one more: arrays double. */
static int grow(void *array, size_t count, size_t size)
{
    void **items = array;
    if ((count & (count - 1)) != 0) /* not 0 and no power of two: there is room */
        return 0;
    void *more = realloc(*items, (count == 0 ? 1 : 2 * count) * size);
    if (more == NULL)
        return -1;
    *items = more;
    return 0;
}

static int add_line(struct init_lines *l, struct span text)
{
    struct ini_reader reader = {.rest = text};
    struct ini_line parsed = {0};
    bool there = ini_next(&reader, &parsed);
    struct init_line line = {.text = text};
    if (there && parsed.option.data != NULL) {
        line.option = parsed.option;
        line.value = parsed.value;
    }
    line.header = there && parsed.option.data == NULL;
    if (grow(&l->lines, l->count, sizeof(*l->lines)) != 0)
        return -1;
    if (line.header) {
        if (grow(&l->sections, l->section_count, sizeof(*l->sections)) != 0)
            return -1;
        l->sections[l->section_count++] = (struct init_section){parsed.section, parsed.name, l->count, l->count};
    } else if (line.option.data != NULL && l->section_count > 0) {
        l->sections[l->section_count - 1].last = l->count;
    }
    l->lines[l->count++] = line;
    return 0;
}

int init_lines_split(struct span text, struct init_lines *out)
{
    struct init_lines l = {0};
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        if (add_line(&l, span_of(text.data, len)) != 0) {
            init_lines_free(&l);
            return -1;
        }
        len += end != NULL ? 1 : 0;
        text = span_of(text.data + len, text.len - len);
    }
    *out = l;
    return 0;
}

void init_lines_free(struct init_lines *l)
{
    free(l->lines);
    free(l->sections);
    *l = (struct init_lines){0};
}

const struct init_section *init_lines_find(const struct init_lines *l, const char *kind, struct span name)
{
    for (size_t i = 0; i < l->section_count; i++)
        if (span_is(l->sections[i].kind, kind) && span_equal(l->sections[i].name, name))
            return &l->sections[i];
    return NULL;
}

const struct init_line *init_lines_option(const struct init_lines *l, const struct init_section *s, const char *option)
{
    for (size_t i = s->first; i <= s->last; i++)
        if (l->lines[i].option.data != NULL && span_is(l->lines[i].option, option))
            return &l->lines[i];
    return NULL;
}

void init_lines_put(struct buffer *out, struct span line)
{
    buffer_put(out, line.data, line.len);
    buffer_put_text(out, "\n");
}
