/* What `dpop key csr` and `dpop key cert` do with the PEM that the agent gives: standard output, or a file (-o). */
#ifndef CMD_CERTIFICATE_H
#define CMD_CERTIFICATE_H

#include "command.h"

/* One operation whose answer is a pem_answer; the exit status. `path` NULL: standard output. */
int certificate_run(struct command *cmd, uint16_t operation, const struct message *request, const void *in,
                    const char *path);

#endif
