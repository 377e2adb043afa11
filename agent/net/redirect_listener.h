/*
 * Loopback redirect listeners (RFC 8252 section 7.3): where a user's browser comes back from the authorization server.
 *
 *   open:  listens on the redirect URI's loopback address; `localhost` means both families where this machine has both
 *   wait:  answered when one GET for the URI's path has come, whose query is handed over as it is; listening has then ended,
 *          and that browser waits for its page
 *   close: the browser gets the page; where none came, listening ends
 *
 * Listening ends at the time-out of `open` too: whoever waits gets STATUS_TIMEOUT, and so does who asks later. A browser that
 * was not told anything for REDIRECT_PAGE_WAIT gets a page that says so little. Requests for anything else are refused without
 * ending anything; a request that does not come whole in REDIRECT_REQUEST_WAIT is dropped, and so is the oldest of more than
 * REDIRECT_CONNECTIONS. Everything is driven by the caller's loop and blocks nowhere. No query is ever logged.
 */
#ifndef NET_REDIRECT_LISTENER_H
#define NET_REDIRECT_LISTENER_H

#include "frame.h"

#include <curl/curl.h>

#define REDIRECT_LISTENERS 16
#define REDIRECT_CONNECTIONS 8 /* of one listener */
#define REDIRECT_REQUEST_WAIT 5000 /* milliseconds, as all times here */
#define REDIRECT_PAGE_WAIT 30000
#define REDIRECT_WATCH_MAX (REDIRECT_LISTENERS * (2 + REDIRECT_CONNECTIONS))

struct redirect_listeners;

struct redirect_listeners *redirect_listener_new(void); /* NULL: out of memory */
void redirect_listener_free(struct redirect_listeners *all);
bool redirect_listener_knows(uint16_t operation);
/* Serves a frame of the front. Answers, to this one or to earlier ones, are appended to `out`. */
void redirect_listener_serve(struct redirect_listeners *all, const struct frame *frame, uint64_t now, struct buffer *out);
/* What to wait for: the number of descriptors written; *timeout (milliseconds) is made shorter where it has to be. */
size_t redirect_listener_watch(struct redirect_listeners *all, struct curl_waitfd fds[REDIRECT_WATCH_MAX], uint64_t now,
                               int *timeout);
/* After the wait: does what can be done, with all descriptors or none being ready. */
void redirect_listener_step(struct redirect_listeners *all, uint64_t now, struct buffer *out);

#endif
