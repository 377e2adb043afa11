/* The operation `trace`: the session log of a profile, from a sequence number on; perhaps after waiting for the next entry. For
   the agent's own user and root. */
#include "operations.h"

#include "trace.h"

static void on_entries(void *context, const struct list *entries)
{
    struct request *r = context;
    struct trace_answer answer = {.entries = *entries};
    request_answer(r, &message_trace_answer, &answer);
}

void op_trace(struct request *r, const void *message)
{
    const struct trace_request *in = message;
    struct front *f = r->front;
    const struct profile_config *profile;
    if (operations_owner(r, "read the session log") && (profile = operations_profile(r, in->profile)) != NULL)
        trace_get(f, profile, in->after, in->timeout == 0 ? front_now(f) : front_deadline(f, in->timeout), on_entries, r);
}
