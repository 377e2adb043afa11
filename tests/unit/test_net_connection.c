/* TLS as the session log tells it, with a server whose certificate a request's own ca_file names. */
#include "test_net_world.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char ca_path[96];
static unsigned int port;
static pid_t server;

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *c = X509_new();
    X509V3_CTX context;
    assert_non_null(c);
    X509_NAME *name = X509_get_subject_name(c);
    assert_true(X509_set_version(c, 2) && ASN1_INTEGER_set(X509_get_serialNumber(c), 1) &&
                X509_gmtime_adj(X509_getm_notBefore(c), -60) && X509_gmtime_adj(X509_getm_notAfter(c), 3600) &&
                X509_set_pubkey(c, key) &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a\nserver", -1, -1, 0) &&
                X509_set_issuer_name(c, name));
    X509V3_set_ctx(&context, c, c, NULL, NULL, 0);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, "IP:127.0.0.1");
    assert_true(X509_add_ext(c, names, -1) && X509_sign(c, key, EVP_sha256()));
    X509_EXTENSION_free(names);
    return c;
}

_Noreturn static void serve(int listener)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    char request[8192], unfinished[128];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    X509 *certificate = make_certificate(key);

    (void)snprintf(unfinished, sizeof(unfinished), "%s.new", ca_path);
    FILE *pem = fopen(unfinished, "we");
    if (pem == NULL || PEM_write_X509(pem, certificate) != 1 || fclose(pem) != 0 || rename(unfinished, ca_path) != 0 ||
        SSL_CTX_use_certificate(ctx, certificate) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        _exit(1);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        SSL *ssl = SSL_new(ctx);
        if (fd >= 0 && ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1)
            while (SSL_read(ssl, request, sizeof(request)) > 0)
                (void)SSL_write(ssl, answer, (int)strlen(answer));
        SSL_free(ssl);
        (void)close(fd);
    }
}

/* OpenSSL is used in the server's process alone: a net process that is forked from this one has to be its first user. */
static int set_up(void **state)
{
    int listener;
    if (world_set_up(state) != 0)
        return -1;
    (void)snprintf(ca_path, sizeof(ca_path), "%s/ca.pem", world.folder);
    port = world_listen(&listener);
    server = fork();
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGPIPE, SIG_IGN);
        serve(listener);
    }
    (void)close(listener);
    for (int i = 0; i < 1000 && access(ca_path, R_OK) != 0; i++)
        (void)usleep(10000);
    return server > 0 ? access(ca_path, R_OK) : -1;
}

static int tear_down(void **state)
{
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
    (void)unlink(ca_path);
    return world_tear_down(state);
}

static void assert_shows(struct span trace, const char *wanted)
{
    if (memmem(trace.data, trace.len, wanted, strlen(wanted)) == NULL)
        fail_msg("missing: %s\nin:\n%.*s", wanted, (int)trace.len, (const char *)trace.data);
}

static void test_version_cipher_and_the_certificate_s_subject_are_told_each_time(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) { /* the second goes over the kept connection */
        struct fetch_answer a = world_answered((struct fetch){.no_profile = true, .https = true, .port = port,
                                                              .ca_file = ca_path, .path = "/json", .json = "{}"});
        assert_int_equal(a.http_status, 200);
        assert_shows(a.trace, "\nconnected to 127.0.0.1 port ");
        assert_shows(a.trace, "; TLSv1.3, TLS_AES_256_GCM_SHA384, certificate of CN=a\\0Aserver\n");
    }
}

static void test_a_certificate_that_no_ca_file_names_is_refused_before_anything_is_sent(void **state)
{
    (void)state;
    bool sent;
    struct error err = world_next_failure(world_send((struct fetch){.no_profile = true, .https = true, .port = port,
                                                                    .path = "/json", .json = "{}"}), &sent);
    assert_false(sent);
    assert_int_equal(err.status, STATUS_SERVER_UNREACHABLE);
    assert_non_null(strstr(err.message, "cannot verify the server's certificate"));
    assert_string_equal(err.next, "if the server is the right one, name its CA with ca-file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_version_cipher_and_the_certificate_s_subject_are_told_each_time),
        WORLD_TEST(test_a_certificate_that_no_ca_file_names_is_refused_before_anything_is_sent),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
