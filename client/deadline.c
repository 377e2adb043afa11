/* See deadline.h. */
#include "deadline.h"

#include "dpop-agent.h"

#include <limits.h>
#include <time.h>

#define MARGIN_MS 200

static int64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t deadline_after(uint32_t timeout_ms)
{
    return now() + (timeout_ms != 0 ? timeout_ms : DPOP_DEFAULT_TIMEOUT_MS);
}

int deadline_left(int64_t deadline)
{
    int64_t left = deadline - now();
    if (left <= 0)
        return 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}

uint32_t deadline_for_agent(int64_t deadline)
{
    uint32_t left = (uint32_t)deadline_left(deadline);
    uint32_t margin = left / 10 < MARGIN_MS ? left / 10 : MARGIN_MS;
    return left > margin ? left - margin : 1;
}
