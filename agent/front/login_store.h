/*
 * Login records on disk, through the store process, sealed with the data key of the profile's token.
 *
 * The store forgets the data key when it ends, so each call first sees to it that the present store process has it: its public
 * key is fetched, a key process seals the data key for it, and the sealed key is handed over. Making a data key is done by one
 * call at a time in the whole agent: two processes that make one at once would make two.
 */
#ifndef FRONT_LOGIN_STORE_H
#define FRONT_LOGIN_STORE_H

#include "front.h"
#include "internal.h"

/*
 * Called once. `err` NULL: a save or a removal is durable; a load has its record (NULL: there is none), which lives during the
 * call. `unsealable`: the token gave no data key, which is no fault of the disk.
 */
typedef void (*login_store_done)(void *context, const struct error *err, bool unsealable, const struct login_record *record);

int login_store_open(struct front *f) MUST_CHECK;
void login_store_free(struct login_store *store);

void login_store_load(struct front *f, const struct profile_config *profile, uint64_t deadline, login_store_done done, void *context);
void login_store_save(struct front *f, const struct profile_config *profile, const struct login_record *record, uint64_t deadline,
                      login_store_done done, void *context);
void login_store_remove(struct front *f, const struct profile_config *profile, uint64_t deadline, login_store_done done, void *context);

#endif
