/*
 * holder SOCKET PROFILE URL: an application whose memory a test looks at. It asks libdpop-agent for a token, a proof and both
 * headers, then stands still at three points, each told on stdout and left when a line comes on stdin:
 *
 *     held       the results are in its hands
 *     cleared    dpop_token_clear and its sisters have been called; the connection is open
 *     closed     the connection too
 */
#include "dpop-agent.h"

#include <stdio.h>

static int stop_at(const char *point)
{
    (void)puts(point);
    (void)fflush(stdout);
    return getchar() == '\n' ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct dpop_agent *agent = NULL;
    struct dpop_token token = {0};
    struct dpop_proof proof = {0};
    struct dpop_authorization authorization = {0};
    struct dpop_error err = {0};
    (void)setvbuf(stdin, NULL, _IONBF, 0);
    if (argc != 4)
        return 2;
    if (dpop_agent_connect(&agent, argv[1], 0, &err) != DPOP_OK ||
        dpop_agent_token(agent, &(struct dpop_token_request){.profile = argv[2]}, &token, &err) != DPOP_OK ||
        dpop_agent_proof(agent,
                         &(struct dpop_proof_request){.profile = argv[2], .method = "GET", .url = argv[3],
                                                      .access_token = token.access_token},
                         &proof, &err) != DPOP_OK ||
        dpop_agent_authorize(agent, &(struct dpop_authorize){.profile = argv[2], .method = "GET", .url = argv[3]},
                             &authorization, &err) != DPOP_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int result = stop_at("held");
    dpop_token_clear(&token);
    dpop_proof_clear(&proof);
    dpop_authorization_clear(&authorization);
    if (result == 0)
        result = stop_at("cleared");
    dpop_agent_close(&agent);
    if (result == 0)
        result = stop_at("closed");
    return result == 0 ? 0 : 1;
}
