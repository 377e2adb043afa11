/*
 * What the tests of a user's login share: profiles, a client that begins and waits, the net process's listener, and what becomes
 * the login in the end. Programs that include it link the front without logins.c.
 */
#ifndef TEST_LOGIN_FLOW_WORLD_H
#define TEST_LOGIN_FLOW_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front_world.h"
#include "login_flow.h"
#include "logins.h"
#include "pkce.h"

#define AUTHORIZE "https://as.example/authorize"
#define LISTENER 7
#define REDIRECT "http://127.0.0.1:4711/callback"

extern struct flow_result {
    unsigned int begun, finished, kept;
    struct error begin_err, err;
    uint8_t handle[LOGIN_HANDLE_SIZE];
    char url[8192], redirect_uri[64], user_code[32], verification_uri[64], complete[64];
    uint32_t expires_in;
    char subject[64], scope[64], jkt[64], note[128], kept_token[64];
    bool refresh, persisted, kept_nonces;
} flow;
extern bool keep_slowly; /* logins_keep tells later: finish_keeping */
void finish_keeping(void);
extern enum status keep_fails;
extern bool known_to_ask; /* for nonces, from a login before */

void begin_login(const char *name, bool device);
void await_end(uint64_t deadline);
struct span handle(void);
size_t last(uint16_t operation);               /* the newest call of that operation */
void open_listener(void);                      /* answers INTERNAL_REDIRECT_OPEN */
void come_back(const char *query);             /* answers INTERNAL_REDIRECT_WAIT */
void come_back_with(const char *extra);        /* the right state, a code, and this */
const char *parameter(const char *name);       /* of the URL that was shown; encoded */
bool page_says(bool success, const char *text); /* the browser's page */
void tick(uint64_t later);                     /* after so many microseconds */

int open_flows(void **state);
int close_flows(void **state);

#endif
