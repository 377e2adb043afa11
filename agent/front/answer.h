/* Reading a server's answer as the net process hands it on: its JSON members by name. */
#ifndef FRONT_ANSWER_H
#define FRONT_ANSWER_H

#include "internal.h"

/* False: there is no such member. */
bool answer_member(const struct fetch_answer *a, const char *name, struct json_member *out);
struct span answer_text(const struct fetch_answer *a, const char *name); /* absent: no such member, or no text */

#endif
