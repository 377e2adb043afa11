/*
 * What the session log must not show, and text in which it does not stand any more.
 *
 * All secrets of an exchange are added first; then every text that is to be shown goes through masking_put, which writes
 * `(masked)` wherever one of them stands: a server may repeat a secret anywhere, in an error's description above all. Each is
 * looked for as it is, form- and percent-encoded, and as JSON writes it; of a JWT its signature alone, too. Shorter ones than
 * MASKING_SECRET_MIN would be found in innocent words. When there are more secrets than can be kept, nothing is shown.
 */
#ifndef NET_MASKING_H
#define NET_MASKING_H

#include "buffer.h"

#define MASKING_SECRET_MIN 8
#define MASKING_SHOWN_MAX 8192 /* a longer text is not shown, so that a longer secret need not be looked for */
#define MASKING_SECRETS_MAX 2048
#define MASKING_BYTES_MAX (2 * 1024 * 1024)

struct masking {
    struct buffer bytes; /* the secrets, one behind the other */
    struct masking_secret {
        size_t at, len;
    } *secrets;
    size_t count, capacity;
    bool begins[256]; /* the bytes that secrets begin with */
    bool any;         /* there is one, or one that is too long to be kept */
    bool blind;       /* nothing may be shown */
};

void masking_init(struct masking *m);
void masking_free(struct masking *m);
void masking_add(struct masking *m, struct span secret);
/* Does a secret stand in `text`? True as well if that cannot be told. */
bool masking_finds(const struct masking *m, struct span text);
/* Appends `text` without secrets and on one line: what is not plain text becomes '?'. */
void masking_put(const struct masking *m, struct buffer *out, struct span text);
void masking_put_length(struct buffer *out, struct span secret); /* "(masked, 43 bytes)" */

#endif
