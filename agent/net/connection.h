/* What libcurl tells of the connection that a transfer used: for the session log. */
#ifndef NET_CONNECTION_H
#define NET_CONNECTION_H

#include "session_log.h"

#include <curl/curl.h>

/* While the connection is the handle's, before the request is sent. */
void connection_note(CURL *easy, const char *remote, int port, struct session_connection *out);
/* When the transfer has ended. */
void connection_note_times(CURL *easy, struct session_connection *out);

#endif
