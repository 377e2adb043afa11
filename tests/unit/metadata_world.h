/*
 * What metadata.c and documents.c see of the agent, for their tests: profiles, a clock that stands still, a net process whose
 * requests the test answers, and callers who note what they are told.
 */
#ifndef TEST_METADATA_WORLD_H
#define TEST_METADATA_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "children.h"
#include "metadata.h"

#define SECOND UINT64_C(1000000)
#define ISSUER "https://as.example/tenant"
#define TOKEN "https://as.example/token"

extern struct front front;
extern uint64_t now;
extern unsigned int traced; /* exchanges that came into a session log */

/* Requests to the net process. */
struct call {
    char url[512], profile[64], ca_file[64];
    bool loopback;
    uint32_t timeout;
    call_done done;
    void *context;
};
extern struct call calls[64];
extern size_t call_count;

/* Its answers: `answer` or `document` begins one, `give` sends it. */
extern struct fetch_answer next;
void answer(uint16_t status);
void with(const char *name, const char *value);
void with_kind(const char *name, enum json_kind kind);
void with_list(const char *name, const char *first, const char *second); /* NULL: there is none */
void document(const char *issuer);
void resource_document(const char *resource, const char *issuer); /* NULL: it names none */
void give(size_t i);
void give_failure(size_t i, enum status status, const char *message); /* the net process found out that it cannot be done */
void give_error(size_t i, enum status status);                        /* it did not live to say so */

/* Callers. */
struct result {
    unsigned int calls;
    struct error err;
    char token[128], issuer[128], par[128], revocation[128], date[64];
    bool discovered;
};
extern struct result results[64];
extern struct result *const result; /* the first of them */
const struct profile_config *profile(const char *name);
void on_done(void *context, const struct error *err, const struct server_metadata *s);
void get_for(const char *name, struct result *r, unsigned int seconds);
void get(const char *name);
void assert_refused(const struct result *r, enum status status, const char *message);
void assert_known(const struct result *r);

int open_world(void **state);
int close_world(void **state);

#endif
