/*
 * The world of the tests of the net process: a server on loopback that misbehaves on order (the request's path says
 * how), and a net process in a forked child whose log goes to a file. A test plays the front.
 */
#ifndef TEST_NET_WORLD_H
#define TEST_NET_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/types.h>

#include "internal.h"
#include "role.h"

struct world {
    unsigned int port;       /* of the server */
    char folder[64];
    char secret_path[96];    /* of the profiles "basic" and "post"; the client is a:b */
    char log_path[96];
    char token_path[96];     /* of the profile "files": subject token, actor token and assertion */
    pid_t pid;               /* of the net process; 0: it has ended */
    struct channel channel;  /* to it */
    uint32_t request;        /* number of the last one */
};
extern struct world world;

int world_set_up(void **state);
int world_tear_down(void **state);
int world_start_net(void **state);
int world_stop_net(void **state);
int world_end_net(void); /* closes the channel and returns the exit status */
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_start_net, world_stop_net)

unsigned int world_requests(void);    /* that the server has read */
unsigned int world_connections(void); /* that it has accepted */
bool world_last_request_has(const char *text);
unsigned int world_listen(int *fd);   /* a listening socket on loopback, and its port */
void world_write_file(const char *path, const char *text);

struct fetch {
    const char *profile; /* NULL: "jwt", which has no secret */
    const char *path, *form;
    bool authenticate, https;
    uint32_t timeout;    /* milliseconds; 0: 10 s */
    const char *json, *bearer, *dpop; /* dpop NULL: "proof" */
    bool token_files;
    bool no_profile;     /* with allow_http_loopback */
    const char *ca_file; /* of no_profile */
    unsigned int port;   /* 0: of the world's server */
    bool http_forbidden; /* without */
};
uint32_t world_send(struct fetch f);
struct frame world_next_frame(void);
struct error world_next_failure(uint32_t request, bool *sent);
struct fetch_answer world_answered(struct fetch f);
/* A failure before anything was sent, and one after. */
void world_refused(struct fetch f, enum status status, const char *message);
void world_broken(struct fetch f, enum status status, const char *message);

#endif
