/*
 * A TLS server on loopback that asks for a client certificate and says which one it saw: {"certificate": SHA-256 of its
 * DER in hex or "none", "chain": number of certificates, "protocol": "TLSv1.3"}. It runs in a process of its own, with
 * a certificate of its own making for 127.0.0.1.
 */
#ifndef TEST_TLS_SERVER_H
#define TEST_TLS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct tls_server {
    pid_t pid;
    unsigned int port;
};

/* `version`: TLS1_2_VERSION or TLS1_3_VERSION, the only one it speaks. `refuse`: no certificate is good enough. */
void tls_server_start(struct tls_server *s, const char *certificate, const char *key, int version, bool refuse);
void tls_server_stop(struct tls_server *s);

/* A self-signed P-256 certificate for 127.0.0.1 and its key, as PEM files. */
void tls_server_make_certificate(const char *certificate, const char *key);

#endif
