/*
 * The PIN: where it comes from, the log-in that spends it, and what may be done after it was refused.
 *
 * A PIN comes from the user (dpop unlock; the front keeps it, sealed), else from a file or a systemd credential. It
 * is never guessed twice. Before C_Login is called the store has durably recorded that this PIN is being tried, and
 * afterwards what came of it; a PIN is known there by its verifier (crypto_pwhash with the token's own salt), never
 * by itself. So a PIN that the token refused is not sent again, restarts included:
 *
 *   dpop lock was said                            no C_Login until dpop unlock
 *   the store knows the PIN as refused            no C_Login
 *   it was being tried, and nobody knows          no C_Login if the token's flags speak of a wrong PIN, or if the token
 *                                                 has not accepted one from the same source before (the file as it is
 *                                                 now, the same dpop unlock): many tokens have no such flag. A C_Login
 *                                                 that fails without a reason, while the TPM works, ends that trust,
 *                                                 and is repeated once, unless the TPM has worked with this agent
 *   the token is locked, or has one try left      no C_Login: the last try is a person's to spend
 *   else                                          record "trying", C_Login, record what came of it
 *
 * What was held back because it was cut off is free again when the user gives it once more: by dpop unlock, or by
 * writing the PIN file (pin_forgive). A token that says CKR_PIN_LOCKED has looked at no PIN: it is asked again
 * later.
 *
 * The front lets one process per token at a time do this: its answer to PIN_LOAD is the permission.
 */
#ifndef KEY_PIN_H
#define KEY_PIN_H

#include "pin_records.h"
#include "token.h"

#include <sys/types.h>
#include <time.h>

#define PIN_MAX LIMIT_PIN
#define PIN_PATH_MAX 4096
#define PIN_TOKEN_ID_MAX (PIN_PATH_MAX + 64)
#define PIN_POLL_MS 500
#define PIN_LOCKED_RETRY_MS (5 * 60 * 1000)

/* What a look at the file showed. ctime changes with the mode and the owner too. */
struct pin_stamp {
    int error; /* of stat; 0: it is there */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

struct pin_source {
    const char *key_name;          /* of the [key] section */
    const uint8_t *pin_key;        /* opens what the front keeps; NULL: it keeps nothing for us */
    const char *file, *credential; /* as for secret_read; both NULL: none is configured */
    char path[PIN_PATH_MAX];       /* to watch; empty: nothing to watch */
    struct pin_stamp stamp;        /* taken before the PIN was read */
    pin_meanwhile *meanwhile;      /* NULL: the front sends nothing else */
    void *context;
    char token_id[PIN_TOKEN_ID_MAX]; /* of the last log-in; empty: it has not come so far, or the token needs none */
    int retry_ms;                    /* after STATUS_KEY_LOCKED: when to try again all the same; 0: not */
    struct secret *pin;              /* that the token accepted, for keys that want it for each signature */
    uint8_t verifier[PIN_VERIFIER_SIZE]; /* its */
};

/* `key`, `pin_key` and `uri` stay the owners of what they hold; `meanwhile` is NULL. */
enum status pin_source_init(const struct key_config *key, const uint8_t *pin_key, const struct uri *uri,
                            struct pin_source *out, struct error *err) MUST_CHECK;
void pin_drop(struct pin_source *source); /* forgets the PIN that the token accepted */

/*
 * Logs the session's token in, or says why not. STATUS_KEY_LOCKED and STATUS_SECRET_UNREADABLE: only the user can
 * help, or time (`retry_ms`). STATUS_AGENT_UNREACHABLE: the channel ended.
 */
enum status pin_log_in(struct pin_source *source, struct channel *channel, const struct module *m, struct token *t,
                       CK_SESSION_HANDLE session, struct error *err) MUST_CHECK;
/* The token did not accept `source->pin` for one signature (CKU_CONTEXT_SPECIFIC): records it as pin_log_in does. */
enum status pin_signing_refused(struct pin_source *source, struct channel *channel, const struct module *m,
                                const struct token *t, CK_SESSION_HANDLE session, CK_RV rv,
                                struct error *err) MUST_CHECK;

/* The user gives this PIN: a log-in with it that was cut off is forgotten. STATUS_KEY_LOCKED: the token has refused it.
   */
enum status pin_forgive(struct pin_source *source, struct channel *channel, const struct secret *pin,
                        struct error *err) MUST_CHECK;
/* Is the PIN file no longer what `stamp` shows? `written`: not only its mode or owner changed. */
bool pin_file_changed(const struct pin_source *source, bool *written);
enum status pin_read_file(const struct pin_source *source, struct secret **out, struct error *err) MUST_CHECK;

#endif
