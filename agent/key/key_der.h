/*
 * A private key in DER: SEC1 (RFC 5915), PKCS#8 (RFC 5208, 5958) and encrypted PKCS#8. What a DER text is shows in its
 * outermost elements; each kind that is no private key of ours has a name, too, for the error.
 */
#ifndef KEY_KEY_DER_H
#define KEY_KEY_DER_H

#include "private_key.h"
#include "secret.h"

#include <openssl/x509.h>

enum key_der_kind {
    KEY_DER_NONE, /* not DER, or nothing that we know */
    KEY_DER_SEC1,
    KEY_DER_PKCS8,
    KEY_DER_ENCRYPTED,
    KEY_DER_PKCS12,
    KEY_DER_RSA,
    KEY_DER_PUBLIC,
    KEY_DER_CERTIFICATE,
};
enum key_der_kind key_der_recognise(struct span der);

/* `password`: NULL when none was given. */
enum status key_der_sec1(struct span der, struct private_key *out, struct error *err) MUST_CHECK;
enum status key_der_pkcs8(struct span der, struct private_key *out, struct error *err) MUST_CHECK;
enum status key_der_encrypted(struct span der, const struct secret *password, struct private_key *out,
                              struct error *err) MUST_CHECK;
enum status key_der_from_info(const PKCS8_PRIV_KEY_INFO *info, struct private_key *out, struct error *err) MUST_CHECK;

/* The errors for what is no private key: a certificate or a public key alone, and a damaged one. */
enum status key_der_certificate_only(struct error *err);
enum status key_der_public_only(struct error *err);
enum status key_der_damaged(const char *what, struct error *err);

#endif
