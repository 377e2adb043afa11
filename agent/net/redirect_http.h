/*
 * The little HTTP that the redirect listener speaks: which requests a browser may bring, and the pages that it gets.
 * Pure: no I/O, no clock.
 *
 * A request is looked at once its header has come whole. Its Host must be a loopback address or localhost with the listener's
 * port: a page of another site, whose name was made to resolve to this machine, has another one.
 */
#ifndef NET_REDIRECT_HTTP_H
#define NET_REDIRECT_HTTP_H

#include "error.h"

#define REDIRECT_HTTP_HEADER_MAX 24576
#define REDIRECT_HTTP_QUERY_MAX 16384

/* Where the redirect goes. Spans point into the URI that was read. */
struct redirect_http_uri {
    struct span host;   /* without brackets */
    struct span path;   /* "/" if the URI has none */
    uint16_t port;      /* 0: an ephemeral one */
    bool ipv6, name;    /* neither: IPv4 */
    struct span before; /* the URI up to the host's end, brackets included, */
    struct span behind; /* and from the path on: the port goes in between */
};

/* http, a loopback address or localhost, no userinfo, no fragment. */
enum status redirect_http_read_uri(struct span text, struct redirect_http_uri *out, struct error *err) MUST_CHECK;

enum redirect_http_verdict {
    REDIRECT_HTTP_INCOMPLETE = 0,
    REDIRECT_HTTP_CAME = 200,
    REDIRECT_HTTP_MALFORMED = 400,
    REDIRECT_HTTP_OTHER_PATH = 404,
    REDIRECT_HTTP_OTHER_METHOD = 405,
    REDIRECT_HTTP_QUERY_TOO_LONG = 414,
    REDIRECT_HTTP_HEADER_TOO_LARGE = 431,
};
/* `query` is written only for REDIRECT_HTTP_CAME: without `?`, empty if there is none; it points into `in`. */
enum redirect_http_verdict redirect_http_read(struct span in, struct span path, uint16_t port, struct span *query);

void redirect_http_put_refusal(struct buffer *out, enum redirect_http_verdict verdict);
/* `title` is plain text of ours, `text` any text: both are escaped. */
void redirect_http_put_page(struct buffer *out, const char *title, struct span text);

#endif
