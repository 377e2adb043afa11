/*
 * The keys: for each, its state, its processes (workers, key_workers.c), and a queue of what waits for them
 * (key_queue.c).
 *
 * A job is built at the moment when a worker is free for it, so that its `iat` is the time of the signature, and needs
 * the public key, which is known once a worker has been ready. A job that was at a worker which failed or ended goes
 * back to the head of the queue, once. While no worker is ready, jobs wait if the key is starting or recovering, and
 * get the reason at once if it is known to be absent, locked, wrong, unfit or failed.
 *
 * The key behind a URI is known by its thumbprint: pinned in the configuration, else by the first one seen. A worker
 * that comes with another one is not used.
 *
 * A key is found by its name. A rotation swaps two keys' names (keys_switch): who holds a `struct key *` keeps the key
 * that it had, who looks the name up gets the new one.
 */
#ifndef FRONT_KEYS_H
#define FRONT_KEYS_H

#include "children.h"
#include "proof.h"

#define KEYS_NEXT ".next" /* behind a key's name: the key that a rotation is to switch it to */

struct key;

struct key_public {
    struct jwk jwk;
    char jkt[JWK_THUMBPRINT_SIZE];
    struct proof_header header;
};

struct sign_job {
    /* Fills the digest of what is to be signed; called when a worker is free, perhaps twice. NULL: a signature of
       nothing is made, which shows that the key works. */
    enum status (*build)(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE],
                         struct error *err);
    /* Called once. `err` NULL: the signature of what was built last. */
    void (*done)(void *context, const struct error *err, const struct key_public *key,
                 const uint8_t signature[JWK_SIGNATURE_SIZE]);
    void *context;
    uint64_t deadline;
    uint32_t owner; /* process for which it is made, for fairness; 0: the agent itself */
};

/* Any other request to one of the key's processes (INTERNAL_DATA_KEY, INTERNAL_KEY_MAKE, …), in the same queue. */
struct key_call {
    uint16_t operation;
    const struct message *message;
    const void *in;   /* encoded at once */
    int descriptors[LIMIT_DESCRIPTORS]; /* taken over, and closed in the end; behind the last: -1 */
    bool repeatable;  /* to be asked of the next process if one fails or ends meanwhile */
    call_done done;   /* called once, as children_call's */
    void *context;
    uint64_t deadline;
};

int keys_open(struct front *f) MUST_CHECK;
void keys_end(struct keys *keys); /* tells everybody who waits for a signature that none will come */
void keys_free(struct keys *keys);
void keys_tick(struct keys *keys, uint64_t now);
bool keys_waiting(const struct keys *keys);

struct key *keys_find(struct keys *keys, struct span name); /* NULL: none of that name */
struct key *keys_only(struct keys *keys);                   /* NULL: none, or several (NAME.next of a rotation aside) */
struct key *keys_of(struct keys *keys, const char *jkt);    /* the one with this thumbprint; NULL: none is known */
struct key *keys_next(struct keys *keys, const struct key *key); /* all of them: begin with NULL */
void keys_switch(struct key *a, struct key *b);
const struct key_config *keys_config(const struct key *key);
const char *keys_name(const struct key *key);
bool keys_ready(const struct key *key);
enum status keys_reason(const struct key *key, struct error *err); /* why it is not ready; STATUS_OK: it is */
bool keys_on_the_way(const struct key *key);                       /* starting or recovering */
const char *keys_token(const struct key *key);                     /* label of its token; NULL: not known yet */
uint32_t keys_reports(const struct key *key);                      /* how often its processes said that they are ready,
                                                                      or why not */
const struct child *keys_process(const struct key *key);           /* the last one started; NULL: none was */
const struct key_public *keys_public(const struct key *key); /* NULL: not seen yet */
void keys_sign(struct key *key, const struct sign_job *job);
void keys_call(struct key *key, const struct key_call *call);
/* To a process that lives, be it ready or waiting for a PIN. False: there is none, and `done` will not be called. */
bool keys_unlock(struct key *key, const struct key_call *call) MUST_CHECK;
void keys_restart(struct key *key, const char *reason); /* ends its processes; others follow */
void keys_put_info(const struct keys *keys, struct list_builder *out); /* a key_info each */
uint32_t keys_jobs_waiting(const struct keys *keys);
struct pin_turns *keys_pin_turns(struct keys *keys); /* shared with net processes that use a token */

/* From children.c. keys_frame: false when the child writes nonsense. */
void keys_attached(struct keys *keys, struct child *child);
bool keys_frame(struct keys *keys, struct child *child, const struct frame *frame);
void keys_ended(struct keys *keys, struct child *child);

#endif
