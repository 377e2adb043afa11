/*
 * The profiles' trace files: text appended as it comes, masked already; not synced, since nothing depends on it.
 *
 * A file is made with mode 0600; one that is not ours, not regular, a link, or that others may access is refused. When
 * it would grow over TRACE_FILES_MAX it is renamed to FILE.1 (over the one before) and begun anew. That a profile's
 * file cannot be written is logged once, not for each line.
 */
#ifndef STORE_TRACE_FILES_H
#define STORE_TRACE_FILES_H

#include "config.h"
#include "internal.h"

#define TRACE_FILES_MAX (10 * 1024 * 1024)

struct trace_files {
    const struct config *config;
    bool *failing; /* by the profile's place in the configuration: it has been logged */
};

int trace_files_init(struct trace_files *t, const struct config *config) MUST_CHECK; /* -1: out of memory */
void trace_files_free(struct trace_files *t);
enum status trace_files_write(struct trace_files *t, struct span profile, struct span text, struct error *err)
    MUST_CHECK;

#endif
