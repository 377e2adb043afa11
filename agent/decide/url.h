/*
 * An absolute http or https URL, read by the letter of RFC 3986 and no further.
 *
 * Stricter than WHATWG and curl on purpose: what two parsers could read in two ways is an error, because one of them is
 * the server's. Refused are, besides what RFC 3986 refuses: other schemes; an empty host; a host that is not LDH labels
 * (underscore allowed, no hyphen at a label's end, at most 63 a label and 253 in all) or ends in a dot; a host whose
 * last label is a number but that is not four decimal numbers; IPv6 zones, and IPv6 addresses that embed an IPv4 one; a
 * second `@`; port 0 and leading zeros in a port; more than 8 KiB. Userinfo and fragment are checked, then dropped.
 *
 * An error names the position, counted from 1, and never quotes the URL: userinfo and query may be secret.
 */
#ifndef DECIDE_URL_H
#define DECIDE_URL_H

#include "error.h"

#define URL_MAX 8192
#define URL_SIZE (URL_MAX + 16) /* an array that holds whatever htu_* write for a URL that is not refused */
#define URL_HOST_SIZE 254
#define URL_ORIGIN_SIZE (sizeof("https://[]:65535") + URL_HOST_SIZE)

enum url_host { URL_HOST_NAME, URL_HOST_IPV4, URL_HOST_IPV6 };

/* Spans point into the text that was read. */
struct url {
    bool https;
    enum url_host host_kind;
    char host[URL_HOST_SIZE]; /* lower case; IPv6 in the form of RFC 5952, without brackets */
    uint16_t port;            /* never 0: the scheme's default is filled in */
    struct span text;
    struct span host_text; /* the host as it was written, without brackets */
    struct span path;      /* as it was written, dot segments and all; may be empty */
    struct span query;     /* without `?`; absent when there is no `?` */
};

enum status url_parse(struct span text, struct url *url, struct error *e) MUST_CHECK;

/* `https://example.com`, `https://example.com:8443`, `http://[::1]:8080`: the default port is left out. */
enum status url_origin(struct span text, char *out, size_t size, struct error *e) MUST_CHECK;
size_t url_write_origin(const struct url *url, char out[URL_ORIGIN_SIZE]); /* the length, without the NUL */

/* Is the host 127.0.0.0/8 in dotted decimal, ::1, or exactly `localhost`? False for what is not a URL. */
bool url_is_loopback(struct span text);

/* For the parts that check more of a URL: where it is refused (counted from 0), and why. Returns the status. */
enum status url_refuse(struct error *e, size_t at, const char *why);
size_t url_offset(const struct url *url, const uint8_t *in); /* of a byte in one of the spans */

#endif
