/*
 * A store process in a forked child, and the test in the place of the front. When the test is root the child becomes
 * "nobody", whom modes stop; its own folder is then made for it.
 */
#ifndef TEST_STORE_CHILD_H
#define TEST_STORE_CHILD_H

#include "channel.h"
#include "config.h"
#include "internal.h"

#include <sys/resource.h>
#include <sys/types.h>

#define STORE_CHILD_NOBODY 65534

struct store_child {
    pid_t pid; /* 0: there is none */
    struct channel channel;
    uint32_t request;
};

/* How it is started; all zero but the state folder is usual. */
struct store_options {
    const char *state; /* NULL: not configured */
    rlim_t largest_file;
    const char *small_disk; /* a folder that is to be a disk of 64 KiB, for the child alone; it must be root */
    const char *log;        /* a file that gets everything that the child logs, at the highest level */
    struct profile_config *profiles;
    size_t profile_count;
};

void store_child_start(struct store_child *p, const struct store_options *options);
/* Closes the channel and returns the exit status, or -1 for a signal. */
int store_child_stop(struct store_child *p);

/* Sends, and reads the answer: STATUS_OK and the frame, or the error. -1: the process ended instead. */
int store_child_ask(struct store_child *p, uint16_t operation, const struct message *m, const void *in,
                    struct frame *out, struct error *err);

/* As the front and a key process do it: the data key, sealed to the store's public key. */
int store_child_give_key(struct store_child *p, const char *name, const uint8_t key[DATA_KEY_SIZE], struct error *err);
void store_child_public_key(struct store_child *p, uint8_t out[STORE_PUBLIC_SIZE]);

/* A temporary folder ("/tmp/test_store_XXXXXX") that the child may use, and its removal. */
void store_child_make_folder(char top[64]);
int store_child_remove_folder(const char *top);

#endif
