/* See connection.h. */
#include "connection.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

static void note_tls(const SSL *ssl, struct session_connection *out)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    (void)snprintf(out->tls, sizeof(out->tls), "%s, %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
    if (certificate == NULL)
        return;
    BIO *text = BIO_new(BIO_s_mem());
    const char *data;
    if (text != NULL && X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(text, &data);
        (void)snprintf(out->peer, sizeof(out->peer), "%.*s", len < 512 ? (int)len : 512, data);
    }
    (void)BIO_free(text);
}

void connection_note(CURL *easy, const char *remote, int port, struct session_connection *out)
{
    struct curl_tlssessioninfo *tls = NULL;
    *out = (struct session_connection){.port = (unsigned int)port};
    (void)snprintf(out->remote, sizeof(out->remote), "%s", remote);
    if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &tls) == CURLE_OK && tls != NULL &&
        tls->backend == CURLSSLBACKEND_OPENSSL && tls->internals != NULL)
        note_tls(tls->internals, out);
}

static uint64_t milliseconds(CURL *easy, CURLINFO what)
{
    curl_off_t microseconds = 0;
    (void)curl_easy_getinfo(easy, what, &microseconds);
    return microseconds > 0 ? (uint64_t)microseconds / 1000 : 0;
}

void connection_note_times(CURL *easy, struct session_connection *out)
{
    out->name = milliseconds(easy, CURLINFO_NAMELOOKUP_TIME_T);
    out->connection = milliseconds(easy, CURLINFO_CONNECT_TIME_T);
    out->tls_done = milliseconds(easy, CURLINFO_APPCONNECT_TIME_T);
    out->first_byte = milliseconds(easy, CURLINFO_STARTTRANSFER_TIME_T);
    out->total = milliseconds(easy, CURLINFO_TOTAL_TIME_T);
}
