/*
 * One HTTP transfer with a server: a fetch_request (internal.h) becomes a libcurl easy handle, which the caller
 * drives with its multi handle, and then a fetch_answer or an error.
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

#include "config.h"
#include "headers.h"
#include "internal.h"

#include <curl/curl.h>

#define TRANSFER_BODY_MAX (1024 * 1024)
#define TRANSFER_CONNECT_TIMEOUT 10000 /* milliseconds: name, TCP and TLS together */
#define TRANSFER_TIMEOUT_MAX 600000
#define TRANSFER_URL_SHOWN 300

struct transfer {
    uint32_t request; /* of the frame */
    const struct profile_config *profile;
    CURL *easy;
    struct curl_slist *lines; /* header lines that we send */
    struct buffer form;
    bool is_post, https;
    char url[LIMIT_URL + 64];
    char label[TRANSFER_URL_SHOWN + 16]; /* method and URL without query, for people */
    char host[256];
    char detail[CURL_ERROR_SIZE];
    struct headers headers;
    struct buffer body;
    bool headers_too_large, body_too_large;
    unsigned int sends;
};

/* Checks the request, reads the client secret if it is wanted, and sets the easy handle up. */
enum status transfer_new(const struct config *config, uint32_t request, const struct fetch_request *fetch,
                         struct transfer **out, struct error *err) MUST_CHECK;
void transfer_free(struct transfer *x);

/* When libcurl is done with it: puts the answer or the error as a frame into `out`, which is empty, and logs a line. */
void transfer_answer(struct transfer *x, CURLcode code, time_t now, struct buffer *out);

#endif
