/*
 * Fills the public `struct dpop_error`: from this library's own findings, and from the error messages of the agent.
 *
 * Inside the library `err` is never NULL; the public functions see to that.
 */
#ifndef CLIENT_FAILURE_H
#define CLIENT_FAILURE_H

#include "buffer.h"
#include "dpop-agent.h"
#include "error.h"
#include "status.h"

/* Clears `err`, fills status, next step (NULL: none) and message, and returns the status. */
int failure_set(struct dpop_error *err, enum status status, const char *next, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The agent's error message (operation OPERATION_ERROR); one that cannot be read is itself DPOP_AGENT_MISBEHAVED. */
int failure_take(struct dpop_error *err, struct span fields);

#endif
