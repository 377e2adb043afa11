/*
 * The keys: for each, its state, its processes (workers), and a queue of what waits to be signed.
 *
 * A job is built at the moment when a worker is free for it, so that its `iat` is the time of the signature, and needs the
 * public key, which is known once a worker has been ready. A job that was at a worker which ended goes back to the
 * head of the queue, once. While no worker is ready, jobs wait if the key is starting or recovering, and get
 * the reason at once if it is known to be absent, locked, wrong, unfit or failed.
 *
 * The key behind a URI is known by its thumbprint: pinned in the configuration, else by the first one seen. A worker that
 * comes with another one is not used.
 */
#ifndef FRONT_KEYS_H
#define FRONT_KEYS_H

#include "children.h"
#include "proof.h"

struct key;

struct key_public {
    struct jwk jwk;
    char jkt[JWK_THUMBPRINT_SIZE];
    struct proof_header header;
};

struct sign_job {
    /* Fills the digest of what is to be signed; called when a worker is free, perhaps twice. */
    enum status (*build)(void *context, const struct key_public *key, uint8_t digest[JWK_DIGEST_SIZE], struct error *err);
    /* Called once. `err` NULL: the signature of what was built last. */
    void (*done)(void *context, const struct error *err, const struct key_public *key,
                 const uint8_t signature[JWK_SIGNATURE_SIZE]);
    void *context;
    uint64_t deadline;
};

/* Asks a process of the key for the data key of its token, sealed (internal.h). Called once. */
typedef void (*data_key_done)(void *context, const struct error *err, const struct data_key_answer *answer);

int keys_open(struct front *f) MUST_CHECK;
void keys_end(struct keys *keys); /* tells everybody who waits for a signature that none will come */
void keys_free(struct keys *keys);
void keys_tick(struct keys *keys, uint64_t now);
bool keys_waiting(const struct keys *keys);

struct key *keys_find(struct keys *keys, struct span name); /* NULL: none of that name */
struct key *keys_only(struct keys *keys);                   /* NULL: there is none, or more than one */
const struct key_config *keys_config(const struct key *key);
const struct key_public *keys_public(const struct key *key); /* NULL: not seen yet */
void keys_sign(struct key *key, const struct sign_job *job);
void keys_data_key(struct key *key, const struct data_key_request *request, uint64_t deadline, data_key_done done, void *context);
void keys_put_info(const struct keys *keys, struct list_builder *out); /* a key_info each */
uint32_t keys_jobs_waiting(const struct keys *keys);
struct pin_turns *keys_pin_turns(struct keys *keys); /* shared with net processes that use a token */

/* From children.c. keys_frame: false when the child writes nonsense. */
void keys_attached(struct keys *keys, struct child *child);
bool keys_frame(struct keys *keys, struct child *child, const struct frame *frame);
void keys_ended(struct keys *keys, struct child *child);

#endif
