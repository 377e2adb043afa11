/*
 * What a server wants to register for client certificates (RFC 8705), for a P-256 key that is in a token: a certificate
 * request (PKCS#10, RFC 2986) or a self-signed certificate (RFC 5280). In three steps, as for a proof:
 *
 *   x509_request_tbs, x509_certificate_tbs   the DER that is to be signed
 *   x509_digest                              what the key process signs
 *   x509_pem                                 both together, as PEM
 *
 * A subject is written as in RFC 4514, most specific part first: `CN=app,O=Example,C=DE`, blanks around a part allowed,
 * `\,` or `\2C` for a comma in a value. Parts are CN, L, ST, O, OU, C, STREET, DC, UID, serialNumber, emailAddress;
 * parts joined with `+`, quoted values and `#` values are refused.
 */
#ifndef DECIDE_X509_H
#define DECIDE_X509_H

#include "error.h"
#include "jwk.h"

#define X509_SUBJECT_MAX 1024 /* bytes of text */
#define X509_SERIAL_SIZE 16
#define X509_TBS_MAX 8192 /* nothing that these functions make is longer */

/* Append to `tbs`; nothing is appended on failure. */
enum status x509_request_tbs(const struct jwk *key, const char *subject, struct buffer *tbs,
                             struct error *e) MUST_CHECK;

/* v3, issuer = subject, no CA, for digital signatures by a TLS client. Times: seconds since 1970; `serial`: random. */
enum status x509_certificate_tbs(const struct jwk *key, const char *subject, int64_t not_before, int64_t not_after,
                                 const uint8_t serial[X509_SERIAL_SIZE], struct buffer *tbs,
                                 struct error *e) MUST_CHECK;

int x509_digest(const struct buffer *tbs, uint8_t digest[JWK_DIGEST_SIZE]) MUST_CHECK;

/* `certificate`: false: a request. The caller frees *pem. -1: no memory, *pem as it was. */
int x509_pem(const struct buffer *tbs, const uint8_t signature[JWK_SIGNATURE_SIZE], bool certificate,
             char **pem) MUST_CHECK;

#endif
