/* The profile for an API's URL: the one whose origins contain it; and a name for one that is to be made. */
#ifndef CMD_API_PROFILE_H
#define CMD_API_PROFILE_H

#include "command.h"
#include "messages.h"

bool api_profile_is_url(const char *operand); /* a URL, and no profile's name */
/* A status. *found: there is one, and `name` is it. Several are an error that names two, unless one alone is for
 * logins. */
int api_profile_find(struct command *cmd, const char *url, char name[LIMIT_NAME + 1], bool *found,
                     struct dpop_error *err);
void api_profile_name(const char *url, char name[LIMIT_NAME + 1]); /* of the URL's host */

#endif
