/*
 * The PIN: where it comes from, the log-in that spends it, and the wait after it was refused.
 *
 * A PIN is never guessed twice. Before C_Login is called the store has durably recorded that
 * this PIN is being tried, and afterwards what came of it; a PIN is known there by its verifier (crypto_pwhash with the
 * token's own salt), never by itself. So a PIN that the token refused is not sent again, restarts included:
 *
 *   the store knows the PIN as refused            no C_Login
 *   it was being tried, and nobody knows          the token's flags decide: if they speak of a wrong PIN, no C_Login
 *   the token is locked, or has one try left      no C_Login: the last try is a person's to spend
 *   else                                          record "trying", C_Login, record what came of it
 *
 * The front lets one process per token at a time do this: its answer to PIN_LOAD is the permission.
 */
#ifndef KEY_PIN_H
#define KEY_PIN_H

#include "channel.h"
#include "token.h"

#include <sys/types.h>
#include <time.h>

/* A frame that the front sends while the log-in waits for its answers; it lives during the call. */
typedef void pin_meanwhile(void *context, const struct frame *frame);

#define PIN_MAX 256
#define PIN_PATH_MAX 4096
#define PIN_POLL_MS 500

/* What a look at the file showed. ctime changes with the mode and the owner too. */
struct pin_stamp {
    int error; /* of stat; 0: it is there */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

struct pin_source {
    const char *file, *credential; /* as for secret_read; both NULL: none is configured */
    char path[PIN_PATH_MAX];       /* to watch; empty: nothing to watch */
    struct pin_stamp stamp;        /* taken before the PIN was read */
    pin_meanwhile *meanwhile;      /* NULL: the front sends nothing else, as to a key process */
    void *context;
};

/* `key` and `uri` stay the owners of the names; `meanwhile` is NULL. */
enum status pin_source_init(const struct key_config *key, const struct uri *uri, struct pin_source *out,
                            struct error *err) MUST_CHECK;

/*
 * Logs the session's token in, or says why not. STATUS_KEY_LOCKED and STATUS_SECRET_UNREADABLE: only another PIN file
 * will help, see pin_wait. STATUS_AGENT_UNREACHABLE: the channel ended.
 */
enum status pin_log_in(struct pin_source *source, struct channel *channel, const struct module *m, struct token *t,
                       CK_SESSION_HANDLE session, struct error *err) MUST_CHECK;

/* Returns when the PIN file is no longer what `stamp` shows (true), or when the channel ended (false). */
bool pin_wait(const struct pin_source *source, struct channel *channel);

#endif
