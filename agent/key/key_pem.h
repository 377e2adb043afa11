/*
 * A private key in a PEM file (RFC 7468, and the older forms of OpenSSL): exactly one, among certificates and
 * whatever else the file holds.
 */
#ifndef KEY_KEY_PEM_H
#define KEY_KEY_PEM_H

#include "private_key.h"
#include "secret.h"

bool key_pem_recognise(struct span file); /* a "-----BEGIN " is in it */
enum status key_pem_read(struct span file, const struct secret *password, struct private_key *out,
                         struct error *err) MUST_CHECK;

#endif
