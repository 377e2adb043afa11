/* Reads a secret (a token, an assertion) from a file or from standard input, "-"; never from an argument. */
#ifndef CMD_SECRET_FILE_H
#define CMD_SECRET_FILE_H

#include "buffer.h"
#include "dpop-agent.h"

#define SECRET_FILE_NEXT "name a file that exists and that you may read, or - for standard input"
/* At most LIMIT_ACCESS_TOKEN bytes, without the line break at the end. `out` is NUL-terminated text; the caller frees
 * it. */
int secret_file_read(struct buffer *out, const char *path, struct dpop_error *err);

#endif
