/*
 * The configuration as lines and sections, for edits that leave everything else as it is (init_keys.h). A section
 * reaches from its header to its last option; comments and blanks behind that belong to nobody.
 */
#ifndef KEY_INIT_LINES_H
#define KEY_INIT_LINES_H

#include "ini.h"

struct init_line {
    struct span text;   /* without its end */
    struct span option; /* its name; NULL: a header, comment or blank */
    struct span value;  /* of the option: a part of the text */
    bool header;
};

struct init_section {
    struct span kind, name;
    size_t first, last; /* lines */
};

struct init_lines {
    struct init_line *lines;
    struct init_section *sections;
    size_t count, section_count;
};

/* They live as long as the text. -1: out of memory. */
int init_lines_split(struct span text, struct init_lines *out) MUST_CHECK;
void init_lines_free(struct init_lines *l);

const struct init_section *init_lines_find(const struct init_lines *l, const char *kind,
                                           struct span name); /* NULL: none */
/* The line of a section's option, the first of several; NULL: none. */
const struct init_line *init_lines_option(const struct init_lines *l, const struct init_section *s, const char *option);
void init_lines_put(struct buffer *out, struct span line); /* with a newline */

#endif
