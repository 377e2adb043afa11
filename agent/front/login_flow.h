/*
 * A user's login under way: the authorization code grant with PKCE (RFC 6749, 7636, 8252, 9126, 9207), or the device
 * authorization grant (RFC 8628). It begins for one client of the agent, which shows the user where to go; everybody who knows
 * its handle may wait for its end, bring the redirect by hand, or cancel it.
 *
 *   metadata → listener (net) → pushed authorization request → [user] → redirect → code → token → logins_keep
 *   metadata → device authorization → [user] → polls → token → logins_keep
 *
 * A code is sent once: where its answer is lost the user logs in again. The browser's page tells how it ended.
 */
#ifndef FRONT_LOGIN_FLOW_H
#define FRONT_LOGIN_FLOW_H

#include "front.h"
#include "messages.h"

#define LOGIN_HANDLE_SIZE 16

struct login_flow;

int login_flows_open(struct front *f) MUST_CHECK;
void login_flows_end(struct login_flows *flows); /* tells everybody who waits that it is over */
void login_flows_free(struct login_flows *flows);
void login_flows_tick(struct login_flows *flows, uint64_t now);
bool login_flows_busy(const struct login_flows *flows); /* is a code or device code at the server? */
bool login_flows_waiting(const struct login_flows *flows);

/* Called once. `err` NULL: what the user needs; it lives during the call. */
typedef void (*login_begun)(void *context, const struct error *err, const struct login_begin_answer *answer);
void login_flow_begin(struct front *f, const struct profile_config *profile, bool device, login_begun done, void *context);

/* Called once: how it ended, or STATUS_TIMEOUT at the deadline, while it goes on. */
typedef void (*login_finished)(void *context, const struct error *err, const struct login_wait_answer *answer);
void login_flow_wait(struct front *f, struct span handle, uint64_t deadline, login_finished done, void *context);

/* The URL that the browser was sent to, copied by the user. */
enum status login_flow_redirect(struct front *f, struct span handle, struct span url, struct error *err) MUST_CHECK;
enum status login_flow_cancel(struct front *f, struct span handle, struct error *err) MUST_CHECK;

#endif
