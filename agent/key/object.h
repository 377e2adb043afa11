/*
 * The private key object that a URI names, its public half (public_key.h), and whether it is fit to be used: P-256,
 * private, sensitive, never extractable, made in the token (an imported key needs a permission).
 */
#ifndef KEY_OBJECT_H
#define KEY_OBJECT_H

#include "jwk.h"
#include "module.h"
#include "secret.h"

#define OBJECT_ID_MAX 128
#define OBJECT_LABEL_MAX 256

struct object {
    CK_OBJECT_HANDLE handle;
    uint8_t id[OBJECT_ID_MAX], label[OBJECT_LABEL_MAX];
    size_t id_len, label_len;
    const struct secret *pin; /* given before each signature; NULL: the key does not want it */
    struct jwk jwk;
    uint32_t attributes; /* KEY_* of messages.h */
    bool imported;       /* not made in the token, or it may have been outside of it */
};

/* Finds exactly one private key, judges its attributes, and finds its public key. `pin`: for a key that wants it for
   each signature (CKA_ALWAYS_AUTHENTICATE); it stays the caller's, and must live as long as `out`. NULL: there is none.
   */
enum status object_find(const struct module *m, CK_SESSION_HANDLE session, const struct uri *uri, bool allow_imported,
                        const struct secret *pin, struct object *out, struct error *err) MUST_CHECK;
/* Is it still the same object that is behind the handle? By CKA_ID and CKA_LABEL. */
enum status object_check(const struct module *m, CK_SESSION_HANDLE session, const struct object *o,
                         struct error *err) MUST_CHECK;

/* CKM_ECDSA over a digest: r‖s. A signature of another length, or with a half of zeros, is a failure.
   STATUS_KEY_LOCKED: the token did not take the PIN for this signature (CKU_CONTEXT_SPECIFIC); *m->failed is what it
   said. */
enum status object_sign(const struct module *m, CK_SESSION_HANDLE session, const struct object *o,
                        const uint8_t digest[JWK_DIGEST_SIZE], uint8_t signature[JWK_SIGNATURE_SIZE],
                        struct error *err) MUST_CHECK;

/* The token's objects that have all these attributes; more than OBJECT_FOUND_MAX are not listed. */
#define OBJECT_FOUND_MAX 8
struct object_found {
    CK_OBJECT_HANDLE handles[OBJECT_FOUND_MAX];
    CK_ULONG count;
};
enum status object_search(const struct module *m, CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count,
                          struct object_found *out, struct error *err) MUST_CHECK;

/* One attribute; -1: there is none, or it does not fit. One by one, since modules differ in what a list does. */
int object_attribute(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type,
                     void *out, size_t size, size_t *len) MUST_CHECK;

#endif
