/*
 * The front's part of INTERNAL_KEY_MAKE, INTERNAL_KEY_IMPORT and INTERNAL_KEY_DESTROY with a process of key_world.h,
 * and what is in its token. Failures end the test.
 */
#ifndef TEST_KEY_MAKER_H
#define TEST_KEY_MAKER_H

#include "key_files.h"
#include "key_world.h"

#define KEY_MAKER_URI_SIZE 1024
#define KEY_MAKER_PASSWORD_SIZE 33

extern char key_maker_password[KEY_MAKER_PASSWORD_SIZE]; /* of the files; another one where memory is searched for it */

/* What an answer says, copied. */
struct made_pair {
    char uri[KEY_MAKER_URI_SIZE];
    struct jwk jwk;
};

void key_maker_start(struct key_world *w, struct key_child *c);
void key_maker_end(struct key_child *c);
void key_maker_send(struct key_child *c, const int *fds, size_t count);
enum status key_maker_answer(struct key_child *c, uint16_t operation, struct made_pair *out);
enum status key_maker_make(struct key_child *c, const char *label, struct made_pair *out);
enum status key_maker_import(struct key_child *c, const char *label, struct span file, const char *pass,
                             struct made_pair *out);
enum status key_maker_destroy(struct key_child *c, const char *uri, const char *jkt);
void key_maker_succeeds(const struct key_child *c, enum status status);
void key_maker_fails(const struct key_child *c, enum status status, enum status expected, const char *words);
void key_maker_thumbprint(const struct jwk *jwk, char jkt[JWK_THUMBPRINT_SIZE]);
void key_maker_assert_usable(struct key_world *w, const struct made_pair *made, bool imported);
void key_maker_assert_census(const struct key_world *w, CK_ULONG private_keys, CK_ULONG public_keys,
                             CK_ULONG certificates);
void key_maker_assert_signs_only(const struct key_world *w, const char *label);
EVP_PKEY *key_maker_new_key(struct jwk *jwk, uint8_t d[32]);
void key_maker_import_form(struct key_child *c, const struct key_form *form, EVP_PKEY *key, const char *label,
                           struct made_pair *out);

#endif
