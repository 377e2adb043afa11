/*
 * A key process (or init) in a forked child, and the test in the place of the front and the store: it answers PIN_LOAD
 * and PIN_RECORD from a small memory, and sees everything that the child sends.
 */
#ifndef TEST_KEY_CHILD_H
#define TEST_KEY_CHILD_H

#include "channel.h"
#include "config.h"
#include "internal.h"
#include "jwk.h"

#include <sys/types.h>

#define KEY_CHILD_MAX_PINS 8

struct pin_memory {
    struct {
        uint8_t verifier[PIN_VERIFIER_SIZE];
        enum pin_verdict verdict; /* 0: forgotten */
    } pins[KEY_CHILD_MAX_PINS];
    size_t count;
    uint8_t accepted[KEY_CHILD_MAX_PINS][PIN_SOURCE_SIZE];
    size_t accepted_count;
    uint8_t kept[SEALED_PIN_MAX]; /* what the front keeps of dpop unlock; kept_len 0: nothing */
    size_t kept_len;
    bool locked;        /* by dpop lock */
    char verdicts[64];  /* every PIN_RECORD's number, in order: "13" is trying, refused */
    bool broken;        /* answers every PIN_RECORD with an error */
};

struct key_child {
    pid_t pid;
    struct channel channel;
    struct pin_memory *memory;
    struct error error; /* of KEY_FAILED */
    struct jwk jwk;     /* of KEY_READY, as the rest */
    uint32_t attributes;
    bool imported;
    char token[64], model[64], warning[128];
    unsigned int readies; /* how often it was ready */
};

extern const uint8_t key_child_pin_key[PIN_KEY_SIZE]; /* that the processes get */

/* Forks, with the channel between the two: true in the child. `log`: a file that gets the child's stderr. */
bool key_child_fork(struct key_child *c, struct pin_memory *memory, const char *log);
/* The two that fork and run a process's main function. */
void key_child_start(struct key_child *c, const struct key_config *key, struct pin_memory *memory, const char *log);
void init_child_start(struct key_child *c, const struct config *config, const char *configuration, const char *log);

/* Answers PIN_LOAD or PIN_RECORD; false: it is another operation. */
bool key_child_answer_pin(struct key_child *c, const struct frame *frame);
/* Serves until KEY_READY (STATUS_OK), KEY_FAILED (its status) or the end of the channel (STATUS_AGENT_UNREACHABLE). */
enum status key_child_serve(struct key_child *c);
/* Serves until an answer or an error to a request has come, which lives until the next call; KEY_READY is taken. False:
   the process said KEY_FAILED (`error`), or ended. */
bool key_child_answer(struct key_child *c, struct frame *frame);
void key_child_send_sign(struct key_child *c, uint32_t request, const uint8_t digest[JWK_DIGEST_SIZE]);
/* The child's exit status, or 1000 + the signal that ended it. `hang_up`: closes the channel first. */
int key_child_end(struct key_child *c, bool hang_up);

#endif
