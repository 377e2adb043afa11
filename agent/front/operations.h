/*
 * The operations that an application may ask for: one table {number, name, message, run}. A request's way through the
 * front begins here: decode, then the operation's own file (op_*.c), which ends in request_answer or request_fail.
 */
#ifndef FRONT_OPERATIONS_H
#define FRONT_OPERATIONS_H

#include "clients.h"

struct key;

void operations_run(struct request *r, struct span fields);
const char *operations_name(uint16_t operation);

/* Decoded values live only until `run` returns. */
void op_status(struct request *r, const void *in);
void op_keys(struct request *r, const void *in);
void op_profiles(struct request *r, const void *in);
void op_proof(struct request *r, const void *in);
void op_token(struct request *r, const void *in);
void op_authorize(struct request *r, const void *in);
void op_outcome(struct request *r, const void *in);
void op_init(struct request *r, const void *in);
void op_login_begin(struct request *r, const void *in);
void op_login_wait(struct request *r, const void *in);
void op_login_redirect(struct request *r, const void *in);
void op_login_cancel(struct request *r, const void *in);
void op_logout(struct request *r, const void *in);
void op_introspect(struct request *r, const void *in);
void op_profile_test(struct request *r, const void *in);
void op_trace(struct request *r, const void *in);
void op_register(struct request *r, const void *in);
void op_key_csr(struct request *r, const void *in);
void op_key_cert(struct request *r, const void *in);
void op_reload(struct request *r, const void *in);
void op_key_generate(struct request *r, const void *in);
void op_key_import(struct request *r, const void *in);
void op_key_delete(struct request *r, const void *in);
void op_key_prepare(struct request *r, const void *in);
void op_key_commit(struct request *r, const void *in);
void op_unlock(struct request *r, const void *in);
void op_lock(struct request *r, const void *in);

/* May the request ask for this scope and these resources? (RFC 6749 section 3.3, RFC 8707 section 2) */
enum status operations_check_query(struct span scope, const struct list *resources, struct error *err) MUST_CHECK;
/* For several of them. NULL: no such profile, and the request has been answered. */
const struct profile_config *operations_profile(struct request *r, struct span name);
/* `name` absent: the only key. NULL: no such key, and the request has been answered. */
struct key *operations_key(struct request *r, struct span name);
/* Does the agent's own user or root ask? False: not, and the request has been answered. `what`: "reload the
   configuration". */
bool operations_owner(struct request *r, const char *what);
/* What changes the configuration is done one at a time. False: another is at work, and the request has been
   answered. */
bool operations_may_begin(struct request *r);

#endif
