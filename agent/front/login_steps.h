/* A login under way as its parts see it: login_flow.c (beginning, end, who waits), code_flow.c, device_flow.c. */
#ifndef FRONT_LOGIN_STEPS_H
#define FRONT_LOGIN_STEPS_H

#include "exchange.h"
#include "jwk.h"
#include "login_flow.h"
#include "metadata.h"
#include "pkce.h"

#define SECOND UINT64_C(1000000)
#define LOGIN_RANDOM_SIZE 44 /* 32 random bytes as base64url, and the NUL */

struct flow_waiter;

struct login_flow {
    struct login_flow *next;
    struct front *front;
    const struct profile_config *profile;
    uint8_t handle[LOGIN_HANDLE_SIZE];
    bool device;
    uint64_t began, deadline; /* the user's */
    login_begun begun; /* NULL: it has been told */
    void *begun_context;
    struct flow_waiter *waiters;
    bool busy;          /* an answer other than the redirect is awaited */
    bool waits_for_net; /* the redirect is */
    bool over;
    uint64_t forget_at;
    char *issuer; /* NULL: none is known */
    bool iss_required;
    /* authorization code */
    uint32_t listener;
    bool listening, redirected;
    char *redirect_uri, *url, *code;
    char state[LOGIN_RANDOM_SIZE], nonce[LOGIN_RANDOM_SIZE], verifier[PKCE_SIZE];
    bool openid; /* an id_token is asked for, with `nonce` */
    /* device */
    char *device_code;
    uint64_t poll_at;
    uint32_t interval; /* seconds */
    /* how it ended */
    bool failed;
    struct error failure;
    char *subject, *scope;
    char jkt[JWK_THUMBPRINT_SIZE], token_type[16], note[512];
    uint32_t expires_in;
    bool refresh, persisted;
};

/* login_flow.c */
void login_flow_tell_begun(struct login_flow *x, const struct login_begin_answer *answer); /* `login` and `expires_in` are filled in */
void login_flow_granted(struct login_flow *x, const struct granted *granted, bool nonces);
void login_flow_end(struct login_flow *x, const struct error *failure); /* NULL: it is a success */
void login_flow_close(struct login_flow *x, bool success, const char *page); /* the listener, if there is one */
uint64_t login_flow_step_deadline(const struct login_flow *x);

void code_flow_begin(struct login_flow *x, const struct server_metadata *server);
void code_flow_redirected(struct login_flow *x, struct span query);

void device_flow_begin(struct login_flow *x, const struct server_metadata *server);
void device_flow_poll(struct login_flow *x);

#endif
