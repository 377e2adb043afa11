/*
 * What the session log shows in clear: names of form parameters, headers, JSON members, claims and challenge parameters whose
 * values are no secrets. What is not listed is masked.
 */
#ifndef NET_SESSION_NAMES_H
#define NET_SESSION_NAMES_H

#include "buffer.h"

enum session_list {
    SESSION_FORM_NAMES,
    SESSION_HEADER_NAMES,
    SESSION_MEMBER_NAMES,
    SESSION_WHOLE_MEMBER_NAMES,  /* of these the ones that are listed whole, not by how they end */
    SESSION_SECRET_MEMBER_NAMES, /* whose values are secrets: only the names are known to be none, for the log */
    SESSION_JWT_NAMES,
    SESSION_CHALLENGE_NAMES,
};

bool session_names_has(enum session_list list, struct span name);

#endif
