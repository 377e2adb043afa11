/* The header or the claims of a JWT that the agent made, as the session log shows them: the members that session_names.h lists. */
#ifndef NET_SESSION_JWT_H
#define NET_SESSION_JWT_H

#include "buffer.h"

#include <jansson.h>

/* Appends compact JSON, in which other members' values are "(masked)"; nothing when out of memory. */
void session_jwt_put(json_t *object, struct buffer *out);

#endif
