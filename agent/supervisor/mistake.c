/* See mistake.h. */
#include "mistake.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 384 /* leaves room for path and line in an error's message */

/* Entries stand in the order of their lines. */
static size_t first_behind(const struct config *c, unsigned int line)
{
    size_t from = 0, to = c->entry_count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (c->entries[middle].line > line)
            to = middle;
        else
            from = middle + 1;
    }
    return from;
}

const struct config_entry *mistake_find(const struct config *c, const char *section, const char *name, const char *option)
{
    const struct key_config *key = strcmp(section, "key") == 0 ? config_key(c, span_text(name)) : NULL;
    const struct profile_config *profile = strcmp(section, "profile") == 0 ? config_profile(c, span_text(name)) : NULL;
    unsigned int line = key != NULL ? key->line : profile != NULL ? profile->line : 0;
    for (size_t i = first_behind(c, line); i < c->entry_count; i++) {
        const struct config_entry *e = &c->entries[i];
        bool here = strcmp(e->section, section) == 0 && strcmp(e->name, name) == 0;
        if (!here && line > 0)
            break; /* a section stands in one piece */
        if (here && strcmp(e->option, option) == 0)
            return e;
    }
    return NULL;
}

static enum status at_option(const struct config *c, const struct config_entry *e, struct error *err, const char *next,
                             const char *text)
{
    return error_set(err, STATUS_CONFIGURATION, next, "%s:%u: %s: %s", c->path, e->line, e->option, text);
}

enum status mistake_at(const struct config *c, const struct config_entry *e, struct error *err, const char *next,
                       const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return at_option(c, e, err, next, text);
}

enum status mistake_in_key(const struct config *c, const struct key_config *key, const char *option, struct error *err,
                           const char *next, const char *format, ...)
{
    const struct config_entry *e = option != NULL ? mistake_find(c, "key", key->name, option) : NULL;
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return e != NULL ? at_option(c, e, err, next, text)
                     : error_set(err, STATUS_CONFIGURATION, next, "%s:%u: [key %s] %s", c->path, key->line, key->name, text);
}

enum status mistake_in_profile(const struct config *c, const struct profile_config *p, const char *option, struct error *err,
                               const char *next, const char *format, ...)
{
    const struct config_entry *e = option != NULL ? mistake_find(c, "profile", p->name, option) : NULL;
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return e != NULL ? at_option(c, e, err, next, text)
                     : error_set(err, STATUS_CONFIGURATION, next, "%s:%u: [profile %s] %s", c->path, p->line, p->name, text);
}
