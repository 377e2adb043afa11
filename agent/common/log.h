/*
 * The log: lines on standard error, for a terminal or the journal.
 *
 * A line is one event. Secrets have no way in: there is no format for `struct secret`, and callers give names, states and
 * statuses. Control characters are replaced, since some texts come from servers.
 */
#ifndef AGENT_LOG_H
#define AGENT_LOG_H

#include "error.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_open(const char *role, enum log_level level); /* once, at the start of a process */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
int log_level_from_text(struct span text, enum log_level *out) MUST_CHECK;
const char *log_level_text(enum log_level level);

#endif
