/*
 * Logins in a store process (store_child.h), with refresh tokens that the test can read: what the front does.
 */
#ifndef TEST_LOGIN_CHILD_H
#define TEST_LOGIN_CHILD_H

#include "store_child.h"

/* The status; -1: the process ended instead. */
int login_child_save(struct store_child *p, const struct login_name *whose, const char *token, struct error *err);
/* `*token`: "" when there is no record; it lives until the next call. */
int login_child_load(struct store_child *p, const struct login_name *whose, const char **token, struct error *err);

/* These two must succeed. */
void login_child_saved(struct store_child *p, const struct login_name *whose, const char *token);
const char *login_child_loaded(struct store_child *p, const struct login_name *whose);

/* A failure of the store that says `message`, and what to do. */
void login_child_assert_failed(int status, const struct error *err, const char *message);

#endif
