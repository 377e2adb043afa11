/*
 * The shim's orders: the file SHIM_CONTROL, read again when it has changed, and the calls that are written down in
 * SHIM_LOG. shim.c describes both.
 */
#ifndef SHIM_COMMANDS_H
#define SHIM_COMMANDS_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

#define CALL_MAX_COMMANDS 8

struct command {
    char function[32], what[24];
    unsigned long value, after, nth, every;
    bool once, fresh;
};

/* The commands that one call has met. */
struct call {
    const char *function;
    struct command met[CALL_MAX_COMMANDS];
    size_t count;
};

/* `number`: which call of this function in this process, from 1. `fresh`: the first since the key was looked for. */
struct call commands_begin(const char *function, unsigned long number, bool fresh);
const struct command *commands_met(const struct call *c, const char *what); /* NULL: not */

/* The value of a command that holds all the time, whatever function is called; 0: there is none. */
unsigned long commands_value(const char *function, const char *what);

bool commands_still(const char *function, const char *what); /* the file, looked at again, has such a command */

void commands_write_down(const struct call *c, CK_RV rv);

#endif
