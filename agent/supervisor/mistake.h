/*
 * A mistake in the configuration, told with the file and the line where it is: that of the option where there is one, else
 * that of its section. The text says what is wrong, `next` what to write instead.
 */
#ifndef SUPERVISOR_MISTAKE_H
#define SUPERVISOR_MISTAKE_H

#include "config.h"

/* The first line with this option in [section name]; NULL: there is none. */
const struct config_entry *mistake_find(const struct config *c, const char *section, const char *name, const char *option);

/* All return STATUS_CONFIGURATION. */
enum status mistake_at(const struct config *c, const struct config_entry *e, struct error *err, const char *next,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));
enum status mistake_in_key(const struct config *c, const struct key_config *key, const char *option, struct error *err,
                           const char *next, const char *format, ...) __attribute__((format(printf, 6, 7)));
/* `option` NULL, or not in the section: the section's line. */
enum status mistake_in_profile(const struct config *c, const struct profile_config *p, const char *option, struct error *err,
                               const char *next, const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
