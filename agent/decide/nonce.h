/*
 * The newest DPoP nonces (RFC 9449 sections 8 and 9), by who issued them and for which key.
 *
 * A nonce is kept per role, origin and key thumbprint: the token endpoint and the resource servers of one origin have
 * nonces of their own, and no origin's nonce is ever sent to another. The newest replaces the one before it and is used
 * until it is replaced. When the table is full, the entry whose nonce was not asked for or put for longest goes.
 */
#ifndef DECIDE_NONCE_H
#define DECIDE_NONCE_H

#include "buffer.h"

#define NONCE_MAX 4096
#define NONCE_DIGEST_SIZE 8

enum nonce_role { NONCE_AUTHORIZATION_SERVER, NONCE_RESOURCE_SERVER };

struct nonce_table;

/* 1 to 4096 characters of %x21 / %x23-5B / %x5D-7E (RFC 9449 section 8.1). */
bool nonce_valid(struct span nonce);

struct nonce_table *nonce_table_new(size_t max_entries); /* NULL: no memory, or max_entries is 0 */
void nonce_table_free(struct nonce_table *table);
size_t nonce_table_count(const struct nonce_table *table);

/* -1, and the table as it was: the nonce is not valid, or no memory. */
int nonce_put(struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt,
              struct span nonce) MUST_CHECK;

/* The newest nonce, NULL when there is none. The table owns it: it holds until the next nonce_put. */
const char *nonce_get(struct nonce_table *table, enum nonce_role role, const char *origin, const char *jkt);

/* The first bytes of SHA-256(nonce): by them an attempt handle remembers which nonce was used. */
int nonce_digest(struct span nonce, uint8_t out[NONCE_DIGEST_SIZE]) MUST_CHECK;

#endif
