/*
 * The client certificate of a profile that authenticates with one (RFC 8705), as the transfers see it. Who has the
 * certificate and the key is behind `struct tls_client`: tls_key.c in the net process of such a profile, which alone
 * knows PKCS#11; nobody in the net process of the others.
 *
 * A transfer that authenticates shows the certificate; no other does (metadata are anybody's to read, and need no
 * token). Its connection is its own: libcurl reuses connections without regard to what CURLOPT_SSL_CTX_FUNCTION did, so
 * one that was made with a certificate is never used again, and a request that needs one never goes over an older one.
 * So a changed certificate file counts at once, and every such transfer shows that the token is still there.
 */
#ifndef NET_TLS_CLIENT_H
#define NET_TLS_CLIENT_H

#include "channel.h"
#include "config.h"
#include "error.h"

#include <openssl/ssl.h>

struct transfer;
struct tls_identity; /* a certificate with its chain, as the file had it */

/* Gets what the front sends while `prepare` waits for answers of its own; the frame lives during the call. */
typedef void tls_client_meanwhile(void *context, const struct frame *frame);

struct tls_client {
    /* Reads the certificate, opens the token unless it is open, and sees that they belong together. Blocks. */
    enum status (*prepare)(struct tls_client *c, tls_client_meanwhile *meanwhile, void *context,
                           struct tls_identity **out, struct error *err);
    int (*give)(struct tls_client *c, const struct tls_identity *identity, SSL_CTX *ctx); /* -1: OpenSSL refuses */
    void (*release)(struct tls_identity *identity);
    enum status (*check)(struct tls_client *c, struct error *err); /* does the key still sign? */
    void (*close)(struct tls_client *c);
    bool broken;      /* the token could not be opened, or failed: the process is to end, a new one opens it afresh */
    struct error why; /* of `broken` */
};

/* Has the transfer show the certificate; before it is given to libcurl's multi handle. */
enum status tls_client_use(struct tls_client *c, struct transfer *x, tls_client_meanwhile *meanwhile, void *context,
                           struct error *err) MUST_CHECK;
/* Of a transfer that failed while TLS was agreed on: is the key the reason? */
bool tls_client_is_reason(struct transfer *x, struct error *err);
void tls_client_release(struct transfer *x);

#endif
