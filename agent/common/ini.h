/*
 * The syntax of the configuration: lines of `[section]`, `[section name]` and `option = value`.
 *
 * Comments are whole lines that begin with '#' or ';'. Values may hold both characters, quotes and brackets, and have no
 * escapes and no continuation; blanks around them are dropped. The text must be valid UTF-8 without control characters
 * other than tab and line ends. (The libraries at hand cut long lines and values in silence.)
 */
#ifndef AGENT_INI_H
#define AGENT_INI_H

#include "buffer.h"

#define LIMIT_CONFIG_NAME 64
#define LIMIT_CONFIG_LINE 65536

struct ini_reader {
    struct span rest;
    unsigned int number; /* of the last line read */
};

struct ini_line {
    unsigned int number;
    struct span section, name;  /* of a section line; name.len 0: none */
    struct span option, value;  /* of an option line; option.data NULL: a section line */
    const char *wrong;          /* what is wrong with the line, else NULL */
};

/* The next line that is neither empty nor a comment; false at the end. */
bool ini_next(struct ini_reader *reader, struct ini_line *line);

#endif
