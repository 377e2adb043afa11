/*
 * The private key in a PKCS#12 file (RFC 7292). Certificates in it are passed over, undecrypted where their cipher is
 * not to be had: what old programs encrypt with RC2 is the certificates, and the key with 3DES.
 */
#ifndef KEY_KEY_PKCS12_H
#define KEY_KEY_PKCS12_H

#include "private_key.h"
#include "secret.h"

/* `password`: NULL when none was given; some files have none. */
enum status key_pkcs12_read(struct span der, const struct secret *password, struct private_key *out,
                            struct error *err) MUST_CHECK;

#endif
