/* Deadlines on CLOCK_MONOTONIC, in milliseconds: what every wait of the client library ends by. */
#ifndef CLIENT_DEADLINE_H
#define CLIENT_DEADLINE_H

#include <stdint.h>

int64_t deadline_after(uint32_t timeout_ms); /* 0: DPOP_DEFAULT_TIMEOUT_MS */
int deadline_left(int64_t deadline);         /* milliseconds, as poll takes them; 0 when it has passed */
/* What the agent is told: a little less than is left, so that its own error, which knows more, arrives before our
 * deadline. */
uint32_t deadline_for_agent(int64_t deadline);

#endif
