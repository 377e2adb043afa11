/*
 * The header lines of an answer, as libcurl gives them one by one: which values the agent wants, and the limits.
 *
 * Only the final block counts: those of 1xx answers before it are dropped, and so are trailers behind the body. Names
 * are compared without regard to case, white space around values is dropped, a folded line (RFC 9112 section 5.2)
 * continues its value behind a space.
 */
#ifndef NET_HEADERS_H
#define NET_HEADERS_H

#include "masking.h"
#include "messages.h"

#include <time.h>

#define HEADERS_LINES_MAX 100
#define HEADERS_BYTES_MAX 65536
#define HEADERS_RETRY_AFTER_MAX 86400

struct headers_value {
    bool present;
    size_t at, len; /* in `text` */
};

enum headers_block { HEADERS_BEFORE, HEADERS_INSIDE, HEADERS_INFORMATIONAL, HEADERS_AFTER };

struct headers {
    struct buffer block_text; /* the block as it came, for the session log */
    struct buffer text;       /* the wanted values of the block, one behind the other */
    struct headers_value date, retry_after, content_type;
    struct headers_value nonces[HEADERS_LINES_MAX], challenges[HEADERS_LINES_MAX];
    size_t nonce_count, challenge_count;
    struct headers_value *open; /* what a folded line would continue; NULL: a value that is not wanted */
    enum headers_block block;
    size_t lines, bytes; /* of all blocks together */
};

void headers_init(struct headers *h);
void headers_free(struct headers *h);
/* One line with its line end, the status line and the empty line at the end included. -1: over a limit. */
int headers_add(struct headers *h, struct span line) MUST_CHECK;
struct span headers_span(const struct headers *h, const struct headers_value *value); /* absent if it is */
/* Takes secrets out of the challenges. */
void headers_mask(struct headers *h, const struct masking *masking);
/* Retry-After (RFC 9110 section 10.2.3) as seconds from `now`, at most a day; 0: none, past, or not readable. */
uint32_t headers_retry_after(const struct headers *h, time_t now);

#endif
