/*
 * A P-256 key pair of a token: generated in it, or put into it, as a private and a public object of one random CKA_ID
 * and one label. The private key is private, sensitive, not extractable, and signs; it can do nothing else.
 *
 * Tokens differ in the attributes that they know. What does without them is left out: a template that a token refuses
 * is given once more with only those that the key must have. CKA_VERIFY and CKA_ENCRYPT of the public key are never
 * given: tpm2-pkcs11 makes of CKA_VERIFY a key that may also decrypt, and fails at CKA_ENCRYPT.
 */
#ifndef KEY_KEY_PAIR_H
#define KEY_KEY_PAIR_H

#include "module.h"
#include "private_key.h"

#define KEY_PAIR_ID_SIZE 16
#define KEY_PAIR_LABEL_MAX 64

struct key_pair {
    CK_OBJECT_HANDLE private_key, public_key;
    uint8_t id[KEY_PAIR_ID_SIZE];
    struct jwk jwk;
};

/* `session` may write, and is logged in; `label` is of 1 to KEY_PAIR_LABEL_MAX bytes. */
enum status key_pair_generate(const struct module *m, CK_SESSION_HANDLE session, struct span label,
                              struct key_pair *out, struct error *err) MUST_CHECK;
/* A token that takes no keys from outside: STATUS_KEY_UNFIT. */
enum status key_pair_import(const struct module *m, CK_SESSION_HANDLE session, struct span label,
                            const struct private_key *key, struct key_pair *out, struct error *err) MUST_CHECK;
/* Takes back what was made. Nothing can be done if that fails. */
void key_pair_destroy(const struct module *m, CK_SESSION_HANDLE session, const struct key_pair *pair);

/* A public key as CKA_EC_POINT: 04‖x‖y in a DER OCTET STRING. */
#define KEY_PAIR_POINT_HEADER 2
#define KEY_PAIR_POINT_SIZE (KEY_PAIR_POINT_HEADER + 1 + 2 * JWK_COORDINATE_SIZE)
void key_pair_point(const struct jwk *jwk, uint8_t out[KEY_PAIR_POINT_SIZE]);

#endif
