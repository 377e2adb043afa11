/* What unlock and lock answer: a token, and all keys in it. */
#ifndef CMD_UNLOCKED_H
#define CMD_UNLOCKED_H

#include "command.h"
#include "messages.h"

int unlocked_show(struct command *cmd, const struct unlock_answer *answer, const char *state); /* the exit status */

#endif
