/* What the tests of the client library have in common: a handle on a fake agent, and a call that shows that it works.
 */
#ifndef TEST_CLIENT_CALLS_H
#define TEST_CLIENT_CALLS_H

#include "dpop-agent.h"
#include "fake_agent.h"

#define URL "https://api.example/a"

static inline struct dpop_agent *connect_to(const struct fake_agent *fake)
{
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    if (dpop_agent_connect(&agent, fake->path, 2000, &err) != DPOP_OK)
        fail_msg("%s", err.message);
    return agent;
}

/* A proof with this nonce, which the polite agent gives back as the proof. */
static inline int ask(struct dpop_agent *agent, const char *nonce, uint32_t timeout_ms, struct dpop_proof *out,
                      struct dpop_error *err)
{
    return dpop_agent_proof(agent,
                            &(struct dpop_proof_request){.key = "work", .method = "GET", .url = URL, .nonce = nonce,
                                                         .timeout_ms = timeout_ms},
                            out, err);
}

static inline void assert_works(struct dpop_agent *agent)
{
    struct dpop_proof proof = {0};
    struct dpop_error err;
    if (ask(agent, "fine", 2000, &proof, &err) != DPOP_OK)
        fail_msg("%s", err.message);
    assert_string_equal(proof.proof, "fine");
    dpop_proof_clear(&proof);
}

#endif
