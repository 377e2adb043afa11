/*
 * A SoftHSM world of a test's own: a temporary folder with a token folder, SoftHSM's configuration and whatever the
 * test puts there. Tokens and keys are made with C calls, in this process, which is logged out and finalised after
 * each. Every failure ends the test (cmocka).
 */
#ifndef TEST_SOFTHSM_H
#define TEST_SOFTHSM_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_PATH_MAX 256

struct softhsm {
    char folder[64];             /* temporary, mode 0700 */
    char conf[SOFTHSM_PATH_MAX]; /* for SOFTHSM2_CONF, which is set in this process too */
};

/* The key to make; zero is a fit one: P-256, private, sensitive, not extractable, for signing. */
struct softhsm_key {
    const char *label, *id; /* both texts */
    bool p384, extractable, not_sensitive, not_private, not_sign;
    bool imported;  /* the key of RFC 6979 appendix A.2.5, by C_CreateObject */
    bool no_public; /* the public key object is deleted */
    bool always_authenticate;
};

void softhsm_open(struct softhsm *s);
void softhsm_close(struct softhsm *s); /* removes the folder */

void softhsm_make_token(const struct softhsm *s, const char *label, const char *pin);
void softhsm_make_key(const struct softhsm *s, const char *token, const char *pin, const struct softhsm_key *key);
void softhsm_log_in(const struct softhsm *s, const char *token, const char *pin, CK_RV expected);

/* Runs `use` in a session that is logged in (pin NULL: it is not) to the token. */
typedef void softhsm_use(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data);
void softhsm_with_session(const struct softhsm *s, const char *token, const char *pin, softhsm_use *use, void *data);

/* Files in the folder. The path is written to `path`, which may be NULL. */
void softhsm_path(const struct softhsm *s, const char *name, char path[SOFTHSM_PATH_MAX]);
void softhsm_write(const struct softhsm *s, const char *name, const char *content, unsigned int mode,
                   char path[SOFTHSM_PATH_MAX]);
bool softhsm_exists(const struct softhsm *s, const char *name);
char *softhsm_read(const struct softhsm *s, const char *name); /* "" when it is not there; the caller frees */

#endif
