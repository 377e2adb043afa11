/* Reads a secret (an access token) from a file or from standard input, "-"; never from an argument. */
#ifndef CMD_SECRET_FILE_H
#define CMD_SECRET_FILE_H

#include "buffer.h"
#include "dpop-agent.h"

/* At most LIMIT_ACCESS_TOKEN bytes, without the line break at the end. `out` is NUL-terminated text; the caller frees
 * it. */
int secret_file_read(struct buffer *out, const char *path, struct dpop_error *err);

#endif
