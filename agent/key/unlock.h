/*
 * INTERNAL_UNLOCK: the PIN that a user gives comes as a descriptor (a pipe, never swapped; or a file), is read as
 * it comes, and leaves sealed (seal_pin.h) for the front to keep.
 *
 * Nothing waits for whoever writes it: a process that signs goes on signing, and after UNLOCK_SECONDS it is over.
 */
#ifndef KEY_UNLOCK_H
#define KEY_UNLOCK_H

#include "pin.h"

#define UNLOCK_SECONDS 5

struct unlock {
    int fd; /* -1: none is under way */
    uint32_t request;
    struct secret *text; /* room, of which `len` bytes are read */
    size_t len;
    int64_t deadline; /* nanoseconds, as opened_now */
};

void unlock_init(struct unlock *u);
void unlock_free(struct unlock *u);
/* Takes the request and its descriptor; puts an error, if it is none that can be met. */
void unlock_begin(struct unlock *u, const struct pin_source *source, struct channel *channel, const struct frame *frame,
                  int64_t now);
/* Reads what there is, and puts the answer when it is whole, or an error. True: the answer is a sealed PIN. */
bool unlock_run(struct unlock *u, struct pin_source *source, struct channel *channel, int64_t now);

#endif
