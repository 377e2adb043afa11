/*
 * One HTTP transfer with a server: a fetch_request (internal.h) becomes a libcurl easy handle, which the caller
 * drives with its multi handle, and then a fetch_answer: the server's answer or the failure.
 *
 * TLS is always verified. There are no redirects, cookies, proxies, stored credentials, compressed answers or TLS
 * session resumption. HTTP/1.1 alone is spoken: an HTTP/2 connection that went dead outlives the time-outs of the
 * requests on it (libcurl 7.88 sends the next ones into it, too), and nghttp2 has a heap of its own that nothing
 * wipes. A form is sent at most once: an assertion, a proof and a refresh token are good for one send, and libcurl
 * would repeat them by itself when a kept connection is closed under them. So kept connections are used for two
 * seconds only, less than servers keep them.
 */
#ifndef NET_TRANSFER_H
#define NET_TRANSFER_H

#include "headers.h"
#include "request.h"
#include "tls_client.h"

#include <curl/curl.h>

#define TRANSFER_BODY_MAX (1024 * 1024)
#define TRANSFER_CONNECT_TIMEOUT 10000 /* milliseconds: name, TCP and TLS together */
#define TRANSFER_TIMEOUT_MAX 600000

struct transfer {
    uint32_t request; /* of the frame */
    struct request what;
    CURL *easy;
    char detail[CURL_ERROR_SIZE];
    struct headers headers;
    struct buffer body; /* of the answer */
    bool headers_too_large, body_too_large;
    unsigned int sends;
    struct session_connection connection;
    struct tls_client *tls; /* NULL: no client certificate is shown */
    struct tls_identity *identity;
};

/* Makes the request and sets the easy handle up. */
enum status transfer_new(const struct config *config, uint32_t request, const struct fetch_request *fetch,
                         struct transfer **out, struct error *err) MUST_CHECK;
void transfer_free(struct transfer *x);

/* When libcurl is done with it: puts the answer or the failure as a frame into `out`, which is empty, and logs a line. */
void transfer_answer(struct transfer *x, CURLcode code, time_t now, struct buffer *out);

#endif
