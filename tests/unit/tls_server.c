/* See tls_server.h. */
#include "tls_server.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY 86400L

static void add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

void tls_server_make_certificate(const char *certificate, const char *key)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert_non_null(pkey);
    assert_non_null(x);
    assert_int_equal(X509_set_version(x, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), -DAY));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), DAY));
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                                (const unsigned char *)"server", -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(x)), 1);
    assert_int_equal(X509_set_pubkey(x, pkey), 1);
    add_extension(x, NID_subject_alt_name, "IP:127.0.0.1");
    add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(x, pkey, EVP_sha256()) > 0);
    FILE *file = fopen(certificate, "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, x), 1);
    assert_int_equal(fclose(file), 0);
    file = fopen(key, "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, pkey, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    X509_free(x);
    EVP_PKEY_free(pkey);
}

/* The handshake proves that the client has the key; whose certificate it is does not matter here. */
static int accept_any(int ok, X509_STORE_CTX *ctx)
{
    (void)ok, (void)ctx;
    return 1;
}

static int refuse_any(int ok, X509_STORE_CTX *ctx)
{
    (void)ok;
    X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_REJECTED);
    return 0;
}

static void describe_client(SSL *ssl, char *out, size_t size)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "none";
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    if (certificate != NULL && X509_digest(certificate, EVP_sha256(), digest, &len) == 1)
        for (unsigned int i = 0; i < len; i++)
            (void)snprintf(hex + (size_t)2 * i, 3, "%02x", digest[i]);
    int certificates = certificate == NULL ? 0 : 1 + (chain != NULL ? sk_X509_num(chain) : 0);
    (void)snprintf(out, size, "{\"certificate\":\"%s\",\"chain\":%d,\"protocol\":\"%s\"}", hex, certificates,
                   SSL_get_version(ssl));
}

static void serve(SSL_CTX *ctx, int fd)
{
    SSL *ssl = SSL_new(ctx);
    char request[16384], json[512], answer[1024];
    if (ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1)
        while (SSL_read(ssl, request, sizeof(request)) > 0) { /* each request of the tests fits into one record */
            describe_client(ssl, json, sizeof(json));
            int n = snprintf(answer, sizeof(answer),
                             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                             strlen(json), json);
            if (SSL_write(ssl, answer, n) != n)
                break;
        }
    (void)shutdown(fd, SHUT_WR); /* an alert is read before the connection is gone */
    while (recv(fd, request, sizeof(request), 0) > 0)
        continue;
    _exit(0);
}

_Noreturn static void run(int listener, const char *certificate, const char *key, int version, bool refuse)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || SSL_CTX_use_certificate_file(ctx, certificate, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_set_min_proto_version(ctx, version) != 1 || SSL_CTX_set_max_proto_version(ctx, version) != 1)
        _exit(1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, refuse ? refuse_any : accept_any);
    (void)signal(SIGCHLD, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && fork() == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve(ctx, fd);
        }
        (void)close(fd);
    }
}

void tls_server_start(struct tls_server *s, const char *certificate, const char *key, int version, bool refuse)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(listener, 64), 0);
    (void)fflush(NULL);
    s->port = ntohs(address.sin_port);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(listener, certificate, key, version, refuse);
    }
    (void)close(listener);
}

void tls_server_stop(struct tls_server *s)
{
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
}
