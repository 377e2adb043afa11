/*
 * The state folder: made if it is missing (0700, parents too), ours alone, and locked against a second agent.
 *
 * The lock is a flock on the file `lock` in it: the kernel drops it when the process ends, however it ends.
 */
#ifndef STORE_STATE_FOLDER_H
#define STORE_STATE_FOLDER_H

#include "error.h"

struct state_folder {
    int fd;   /* -1: not open */
    int lock;
};

/* Failures are STATUS_STORE_FAILED and leave nothing open. */
enum status state_folder_open(const char *path, struct state_folder *out, struct error *err) MUST_CHECK;
void state_folder_close(struct state_folder *folder); /* may be closed already */

#endif
