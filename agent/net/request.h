/*
 * What is sent to a server: a fetch_request (internal.h) checked and completed. The URL is built anew from what was checked; the
 * client secret and the tokens that the profile keeps in files are read for each request, so that a changed file counts
 * at once.
 */
#ifndef NET_REQUEST_H
#define NET_REQUEST_H

#include "config.h"
#include "internal.h"
#include "secret.h"
#include "session_log.h"

#include <curl/curl.h>

#define REQUEST_URL_SHOWN 300

struct request {
    const struct profile_config *profile; /* NULL: of no profile */
    const char *profile_name;             /* for people */
    char *ca_file;                        /* NULL: the system's */
    bool allow_http_loopback;
    enum session_body body_kind;
    struct buffer body;
    struct secret *client_secret; /* that was put into it, for the session log to look for; NULL: none */
    struct curl_slist *lines;     /* header lines that we add */
    bool https;
    char url[LIMIT_URL + 64];
    char label[REQUEST_URL_SHOWN + 16]; /* method and URL without query, for people */
    char host[256];
    char host_header[300];
};

/* Free it in any case. */
enum status request_make(const struct config *config, const struct fetch_request *fetch, struct request *out,
                         struct error *err) MUST_CHECK;
void request_free(struct request *r);
bool request_is_post(const struct request *r);

#endif
