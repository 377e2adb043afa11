/*
 * Verbs that list what the agent has, a line each or one JSON array: an operation without fields whose answer is one
 * list of messages.
 */
#ifndef CMD_LISTING_H
#define CMD_LISTING_H

#include "command.h"
#include "json.h"

struct listing {
    uint16_t operation;
    const struct message *answer; /* its struct is one struct list */
    void (*head)(void);           /* prints the line above the others */
    /* One item: into `j`, or as a line if that is NULL. A status. */
    int (*item)(struct json *j, struct span item, struct dpop_error *err);
};

int listing_run(struct command *cmd, const struct listing *listing); /* the exit status */

#endif
