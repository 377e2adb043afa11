/*
 * The session log of each profile: what was exchanged with its authorization server, secrets masked. The net process writes
 * the text of each HTTP exchange; the front adds what happens without one (a URL given to a user, a redirect that came, a
 * decision). The newest TRACE_BYTES_MAX of each profile are kept in memory for `dpop trace`; where the profile has a
 * trace-file the store process appends the same text to it, each entry behind a line with its time.
 */
#ifndef FRONT_TRACE_H
#define FRONT_TRACE_H

#include "front.h"
#include "messages.h"

#define TRACE_BYTES_MAX 131072 /* of one profile */

int traces_open(struct front *f) MUST_CHECK;
void traces_free(struct traces *traces);
void trace_add(struct front *f, const struct profile_config *profile, struct span text); /* lines; absent or empty: nothing */
void trace_note(struct front *f, const struct profile_config *profile, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Called once: with the entries after a sequence number, perhaps none when the deadline comes. The list lives during the call. */
typedef void (*trace_done)(void *context, const struct list *entries /* trace_entry */);
void trace_get(struct front *f, const struct profile_config *profile, uint64_t after, uint64_t deadline, trace_done done, void *context);
void traces_tick(struct traces *traces, uint64_t now);
bool traces_waiting(const struct traces *traces);

#endif
