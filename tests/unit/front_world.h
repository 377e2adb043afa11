/*
 * The front's surroundings as its unit tests see them: keys that sign at once, a net process whose requests the test answers,
 * metadata, and a clock that stands still. What a test takes from the front itself it links from dpop-front.
 */
#ifndef TEST_FRONT_WORLD_H
#define TEST_FRONT_WORLD_H

#include "base64url.h"
#include "children.h"
#include "keys.h"
#include "metadata.h"
#include "nonce.h"
#include "skew.h"

#define SECOND UINT64_C(1000000)
#define ENDPOINT "https://as.example/token"
#define ORIGIN "https://as.example"
#define JKT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
#define OTHER_JKT "1ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

extern struct front front;
extern uint64_t now;        /* what front_now says */
extern unsigned int waits;  /* calls of front_wait */

int open_front(const char *configuration); /* with nonces, skew and as_requests */
void close_front(void);                    /* what is still asked of the net process fails first */
const struct profile_config *profile(const char *name);

/* --- keys: "k" (thumbprint JKT) and "other" (OTHER_JKT) --- */

struct key {
    const char *name;
    struct key_public public;
    enum status fails; /* instead of signing */
    bool unseen;       /* keys_public says nothing */
    unsigned int signatures;
};
struct key *key(const char *name);

/* --- metadata: given at once --- */

extern struct server_metadata server;
extern enum status metadata_fails; /* instead */

/* --- requests to the net process and the store --- */

struct call {
    enum role role;
    uint16_t operation;
    char *url, *form, *dpop; /* of a fetch; NULL: absent */
    bool authenticates, token_files;
    uint32_t timeout, listener; /* redirect: of wait and close */
    char *redirect_uri, *page;  /* redirect: of open, of close */
    bool success;               /* redirect: of close */
    uint64_t deadline;
    call_done done; /* NULL: it has been answered */
    void *context;
};
extern struct call *calls;
extern size_t call_count;

const char *form_value(const struct call *c, const char *name); /* encoded; NULL: it has no such field */
const char *claims_of(const char *jws);                         /* its payload; it must be signed */
const char *member(const char *json, const char *name);         /* a string of a flat JSON text; NULL: it has none */
int64_t number(const char *json, const char *name);
void copy_text(struct span from, char *to, size_t size);

/* --- answers: `answer` begins one, `give` sends it for calls[i] --- */

extern struct answer_world {
    struct list_builder members;
    struct fetch_answer answer;
} next;

struct answer_world *answer(uint16_t status);
void with_member(const char *name, enum json_kind kind, const char *value, int64_t integer);
void with_text(const char *name, const char *value);
void with_nonce(const char *nonce);
void with_nonces(const struct span *nonces, size_t count);
void with_date(int64_t ahead); /* a Date header of a clock that is so many seconds ahead of ours */
void with_error(const char *error);
struct answer_world *good_answer(void); /* 200, with a token "abc.def" for an hour */
void give(size_t i);
void give_failure(size_t i, enum status status, bool sent); /* no answer came */
void give_trouble(size_t i, enum status status);            /* nor one from the net process */
void give_message(size_t i, const struct message *m, const void *in);
void challenge(size_t i, const char *nonce); /* 400 use_dpop_nonce; NULL: without one */

#endif
