/*
 * Secrets: PINs, client secrets, tokens. Memory that is locked, kept out of core files, and wiped when freed
 * (libsodium). There is on purpose no function that prints one.
 */
#ifndef AGENT_SECRET_H
#define AGENT_SECRET_H

#include "error.h"

struct secret {
    uint8_t *data; /* len bytes and a NUL that is not counted */
    size_t len;
};

struct secret *secret_new(struct span bytes); /* NULL: out of memory. NUL bytes are kept */
void secret_free(struct secret *s);
struct span secret_span(const struct secret *s);

/*
 * Where a secret comes from: a file that we own with mode 0600 or stricter, or a systemd credential (systemd.exec(5)).
 * Exactly one of the two is given. A trailing newline is dropped; an empty file is an error. `what` names the secret in
 * errors ("PIN of key work").
 */
enum status secret_read(const char *file, const char *credential, const char *what, size_t max, struct secret **out,
                        struct error *err) MUST_CHECK;

/*
 * A secret from a descriptor that a client passed: a pipe, or a regular file from its begin, read to its end, which
 * must come within SECRET_DESCRIPTOR_MS. `line`: one newline at its end is dropped. It may be empty. Closes nothing.
 */
#define SECRET_DESCRIPTOR_MS 5000
enum status secret_read_descriptor(int fd, const char *what, size_t max, bool line, struct secret **out,
                                   struct error *err) MUST_CHECK;

#endif
