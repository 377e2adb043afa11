/*
 * The PINs that tokens have refused, as verifiers (salt and crypto_pwhash, made in the key process): the model and
 * its text.
 *
 * For each token: its salt, the verifiers of PINs that it refused, and of those whose log-in was begun and never
 * reported on (a crash in between must not lead to a second try), and where the last ones that it accepted came
 * from (their log-in may be begun again after a crash): a hash of a file's state, say. No verifier of a PIN that is
 * right stays here. Within a list the oldest comes first; a full list drops it. A token is never dropped: one more
 * than PINS_TOKENS_MAX is refused.
 *
 * The text is a line per fact and has a checksum (BLAKE2b-256 of all lines before it), so that a file which lost or
 * changed a line is refused instead of forgetting a refused PIN. Unknown lines are refused too. Nothing here does
 * I/O.
 *
 *   dpop-agent pins 1
 *   # comment
 *   token /usr/lib/softhsm/libsofthsm2.so%0Adpop-agent
 *   salt 32 hex digits
 *   refused 64 hex digits
 *   trying 64 hex digits
 *   accepted 64 hex digits
 *   checksum 64 hex digits
 */
#ifndef STORE_PINS_H
#define STORE_PINS_H

#include "internal.h"

#define PINS_TOKENS_MAX 256
#define PINS_VERIFIERS_MAX 64
#define PINS_ACCEPTED_MAX 4
/* no model writes more */
#define PINS_TEXT_MAX \
    (PINS_TOKENS_MAX * (3 * LIMIT_URL + (2 * PINS_VERIFIERS_MAX + PINS_ACCEPTED_MAX) * 80 + 128))

struct pins_verifiers {
    uint8_t items[PINS_VERIFIERS_MAX][PIN_VERIFIER_SIZE];
    size_t count;
};

struct pins_token {
    uint8_t *id;
    size_t id_len;
    uint8_t salt[PIN_SALT_SIZE];
    struct pins_verifiers refused, trying, accepted; /* accepted: PINS_ACCEPTED_MAX at most */
};

struct pins {
    struct pins_token **tokens;
    size_t count;
};

void pins_free(struct pins *pins); /* leaves an empty model */
struct pins_token *pins_find(const struct pins *pins, struct span id); /* NULL: there is none */
enum status pins_add(struct pins *pins, struct span id, const uint8_t salt[PIN_SALT_SIZE], struct pins_token **out,
                     struct error *err) MUST_CHECK;
/* Applies a verdict (enum pin_verdict). Returns whether anything changed. */
bool pins_record(struct pins_token *token, const uint8_t verifier[PIN_VERIFIER_SIZE], enum pin_verdict verdict);
/* The same, where an accepted one came from. */
bool pins_accepted(struct pins_token *token, const uint8_t source[PIN_SOURCE_SIZE]);

void pins_write(const struct pins *pins, struct buffer *out);
/* `path` names the file in errors; `out` holds an empty model. */
enum status pins_read(struct span text, const char *path, struct pins *out, struct error *err) MUST_CHECK;

#endif
