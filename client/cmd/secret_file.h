/* A secret (a token, an assertion, a PIN) in a file or on standard input, "-"; never in an argument. */
#ifndef CMD_SECRET_FILE_H
#define CMD_SECRET_FILE_H

#include "buffer.h"
#include "dpop-agent.h"

#include <sys/stat.h>

#define SECRET_FILE_NEXT "name a file that exists and that you may read, or - for standard input"
/* At most LIMIT_ACCESS_TOKEN bytes, without the line break at the end. `out` is NUL-terminated text; the caller frees
 * it. */
int secret_file_read(struct buffer *out, const char *path, struct dpop_error *err);

/* Opens a file for the agent; "-": a copy of standard input. The caller closes *fd. A status. */
int secret_file_open(const char *path, int *fd, struct stat *st, struct dpop_error *err);

#endif
