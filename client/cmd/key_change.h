/* What the verbs that make, replace and delete keys show, as text and as JSON members. */
#ifndef CMD_KEY_CHANGE_H
#define CMD_KEY_CHANGE_H

#include "command.h"
#include "json.h"
#include "messages.h"

void key_change_put_made(struct json *j, const struct key_made_answer *made); /* members of an object */
void key_change_print_made(const struct key_made_answer *made);

/* What became of each profile's tokens. A status. */
int key_change_put_bound(struct json *j, const struct list *bound, struct dpop_error *err); /* the member "profiles" */
int key_change_print_bound(const struct list *bound, struct dpop_error *err);

/* Shows a key_made_answer with nothing else, and waits until the agent has reloaded. The exit status. */
int key_change_finish_made(struct command *cmd, const struct key_made_answer *made);

#endif
