/*
 * Why an exchange with a server failed, in words: libcurl's code and details made into a status, a sentence and a
 * next step. What was asked for stands in the sentence, never the query, a header or a body.
 */
#ifndef NET_FAILURE_H
#define NET_FAILURE_H

#include "error.h"

#include <curl/curl.h>

enum failure_phase { FAILURE_RESOLVING, FAILURE_CONNECTING, FAILURE_TLS, FAILURE_WAITING };

struct failure {
    CURLcode code;
    const char *detail;  /* CURLOPT_ERRORBUFFER; may be empty */
    long verify_result;  /* X509_V_* of OpenSSL: why the chain of certificates is not good */
    long os_errno;       /* of connect(2); 0: not known */
    enum failure_phase phase;
    uint64_t milliseconds; /* that the exchange took */
    bool headers_too_large, body_too_large; /* the limits of transfer.h */
    bool answer_began;   /* something of it came */
    bool sent_before;    /* libcurl wanted to send a form again */
    const char *request; /* "POST https://as.example/token" */
    const char *host;
    const char *profile; /* empty: the request was of none */
};

enum status failure_describe(const struct failure *f, struct error *err);

#endif
