/*
 * Another key pair than the one that is asked for: P-256, made in the real module as session objects, so that nothing
 * of it stays in the token. It signs what the agent's key should have signed, or is found in that key's place.
 */
#ifndef SHIM_KEY_H
#define SHIM_KEY_H

#include <p11-kit/pkcs11.h>

#define SHIM_KEY_LABEL "the shim's other key"

/* Makes the pair, if it is not there. `session`: one of the token, logged in. */
CK_RV shim_key_make(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session);
/* A signature that verifies with the other key alone. */
CK_RV shim_key_sign(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len,
                    CK_BYTE *signature, CK_ULONG *signature_len);
/* Before a session ends, or the log-in: the pair must not keep either alive. */
void shim_key_drop(CK_FUNCTION_LIST *f);

#endif
