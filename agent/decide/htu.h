/*
 * The `htu` claim (RFC 9449 section 4.2): the URL of a request without query and fragment. Some servers compare
 * strings, some normalise by RFC 3986, some use a WHATWG parser: the form that all accept depends on who sends.
 *
 *   htu_claim  An application sends the request. The claim equals what goes over the wire: scheme and host in lower
 *              case, default or empty port and userinfo dropped, an empty path is "/", dot segments removed, and
 *              percent-encoding left byte for byte. Where clients differ in what they send, it is an error: a dot
 *              segment hidden in percent-encoding, an IPv6 address that is not in the form of RFC 5952.
 *   htu_sent   We send the request. The URL is normalised fully first (percent-encoded unreserved characters decoded,
 *              the other escapes in upper case, then dot segments removed), and that same string is sent and signed.
 *              The query stays byte for byte, for servers give meaning to its encoding; the fragment is dropped.
 *
 * Arrays of URL_SIZE always suffice. On failure nothing is written.
 */
#ifndef DECIDE_HTU_H
#define DECIDE_HTU_H

#include "url.h"

enum status htu_claim(struct span url, char *out, size_t size, struct error *e) MUST_CHECK;

/* out_url: what to send, with the query; out_htu: the claim, which is out_url without its query. */
enum status htu_sent(struct span url, char *out_url, size_t url_size, char *out_htu, size_t htu_size,
                     struct error *e) MUST_CHECK;

#endif
