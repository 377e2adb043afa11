/* See ini.h. */
#include "ini.h"

#include "text.h"

#include <string.h>

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
    while (s.len > 0 && is_blank(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

/* The next line without its end, which may be CR LF. */
static struct span take_line(struct ini_reader *reader)
{
    const uint8_t *end = memchr(reader->rest.data, '\n', reader->rest.len);
    size_t len = end != NULL ? (size_t)(end - reader->rest.data) : reader->rest.len;
    struct span line = span_of(reader->rest.data, len);
    size_t used = len + (end != NULL);
    reader->rest = span_of(reader->rest.data + used, reader->rest.len - used);
    reader->number++;
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool line_valid(struct span line)
{
    while (line.len > 0) {
        const uint8_t *tab = memchr(line.data, '\t', line.len);
        size_t len = tab != NULL ? (size_t)(tab - line.data) : line.len;
        if (!text_valid(span_of(line.data, len)))
            return false;
        len += tab != NULL;
        line = span_of(line.data + len, line.len - len);
    }
    return true;
}

static void split_section(struct span text, struct ini_line *line)
{
    if (text.data[text.len - 1] != ']' || text.len < 3) {
        line->wrong = "a section line wants [section] or [section name]";
        return;
    }
    struct span inner = trim(span_of(text.data + 1, text.len - 2));
    size_t n = 0;
    while (n < inner.len && !is_blank(inner.data[n]))
        n++;
    line->section = span_of(inner.data, n);
    line->name = trim(span_of(inner.data + n, inner.len - n));
}

static void split_option(struct span text, struct ini_line *line)
{
    const uint8_t *equals = memchr(text.data, '=', text.len);
    if (equals == NULL || equals == text.data) {
        line->wrong = "neither a [section], an option = value, nor a # comment";
        return;
    }
    size_t n = (size_t)(equals - text.data);
    line->option = trim(span_of(text.data, n));
    line->value = trim(span_of(equals + 1, text.len - n - 1));
}

bool ini_next(struct ini_reader *reader, struct ini_line *line)
{
    while (reader->rest.len > 0) {
        struct span raw = take_line(reader);
        struct span text = trim(raw);
        if (text.len == 0 || text.data[0] == '#' || text.data[0] == ';')
            continue;
        *line = (struct ini_line){.number = reader->number};
        if (raw.len > LIMIT_CONFIG_LINE)
            line->wrong = "the line is longer than 65536 bytes";
        else if (!line_valid(text))
            line->wrong = "the line is not UTF-8 text, or has control characters";
        else if (text.data[0] == '[')
            split_section(text, line);
        else
            split_option(text, line);
        return true;
    }
    return false;
}
