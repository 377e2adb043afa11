/* One key of the agent's list. */
#ifndef CMD_KEY_FIND_H
#define CMD_KEY_FIND_H

#include "command.h"
#include "messages.h"

/* `name` NULL: the only key. A status. */
int key_find(const struct list *keys, const char *name, struct key_info *key, struct dpop_error *err);

/* Asks the agent for its keys, and finds one; as long as it is being opened for the first time (after init or a reload)
 * asks again, at most 5 s. The key's spans live until call_done(cmd->agent). */
int key_find_opened(struct command *cmd, const char *name, struct key_info *key, struct dpop_error *err);

#endif
