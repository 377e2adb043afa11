/*
 * One exchange with a server as lines for people: the session log (`dpop trace`, trace-file).
 *
 *   POST https://as.example/token
 *   connected to 192.0.2.1 port 443; TLSv1.3, TLS_AES_256_GCM_SHA384, certificate of CN=as.example
 *   > Host: as.example
 *   > Authorization: Basic (masked, 24 bytes)
 *   > DPoP: a JWT, signature masked
 *   >   header: {"typ":"dpop+jwt","alg":"ES256","jwk":{…}}
 *   >   claims: {"jti":"…","htm":"POST","htu":"https://as.example/token","iat":1750000000}
 *   > grant_type=refresh_token
 *   > refresh_token=(masked, 43 bytes)
 *   < HTTP/1.1 200 OK
 *   < Date: Sun, 06 Nov 1994 08:49:37 GMT
 *   < access_token: (masked, 1043 bytes)
 *   < expires_in: 300
 *   answered in 34 ms (name 1, connection 2, TLS 20, first byte 33)
 *
 * Fail-closed: only what the lists in session_names.c name is shown, and in it no secret of the exchange (masking.h). Of
 * JWTs that the agent made itself header and claims are shown; of all others the length. Pure: no I/O, no clock.
 */
#ifndef NET_SESSION_LOG_H
#define NET_SESSION_LOG_H

#include "json_answer.h"
#include "masking.h"

enum session_body { SESSION_NO_BODY, SESSION_FORM, SESSION_JSON };

struct session_request {
    const char *method, *url; /* the URL with its query */
    struct span host;         /* the Host header's value */
    const struct span *lines; /* header lines that we send, "Name: value" */
    size_t line_count;
    enum session_body body_kind;
    struct span body;
    struct span client_secret; /* absent: none was sent */
};
struct session_connection {
    char remote[64];   /* address; empty: there was no connection */
    unsigned int port;
    char tls[160];     /* version and cipher; empty: no TLS */
    char peer[512];    /* subject of the server's certificate */
    uint64_t name, connection, tls_done, first_byte, total; /* milliseconds from the beginning; 0: not reached */
};
/* `header`: the answer's final header block as it came; absent: there is no answer. `json` may be NULL. */
struct session_answer {
    struct span header;
    const struct json_answer *json;
    const struct error *failure; /* NULL: none */
    bool sent;
};

/* Every secret that the request carries; free `out`. */
void session_log_collect(const struct session_request *request, struct masking *out);
/* Appends at most LIMIT_TRACE bytes. */
void session_log_put(const struct session_request *request, const struct session_connection *connection,
                     const struct session_answer *answer, struct buffer *out);

#endif
