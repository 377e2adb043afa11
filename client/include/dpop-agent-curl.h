/*
 * libdpop-agent-curl: performs a libcurl easy handle with DPoP. Needs libdpop-agent and libcurl 7.85 or later.
 *
 * Set the URL, the method and the body on the handle as for any other request, then call dpop_curl_perform instead of
 * curl_easy_perform. It adds the headers `Authorization` and `DPoP` (the latter not with a Bearer token, which a profile
 * has to allow in the agent's configuration), gives the agent every answer's nonces and challenges, and sends once more
 * when the agent says that this will help (RFC 9449 sections 8 and 9: a nonce; an expired token).
 *
 *  - The callbacks for body and header lines stand in the request, because libcurl cannot tell which ones a handle has.
 *    They see the final answer only: an answer that is followed by another send is dropped, as are 1xx answers.
 *  - The verdict is asked for when an answer's header lines are complete (64 KiB of them at most), before any byte of
 *    its body is passed on; bodies stream and are never held.
 *  - A body is sent again only if the caller says that this is possible (`rewindable`, and `rewind` where curl has a
 *    read callback); otherwise the first answer is the final one and the result is DPOP_CURL_NOT_REWINDABLE.
 *  - At most 3 sends. Redirects are not followed: each hop would need a proof of its own.
 *  - Options of the handle that the function takes over, and leaves at libcurl's defaults unless said otherwise: URL
 *    (the normalised form that the proof was made for; it stays), HTTPHEADER, WRITEFUNCTION, WRITEDATA, HEADERFUNCTION,
 *    HEADERDATA, FOLLOWLOCATION (0), FAILONERROR (0), PATH_AS_IS (stays 1), SUPPRESS_CONNECT_HEADERS (stays 1),
 *    PROTOCOLS_STR (stays "http,https"; plain http only where the agent's configuration allows it).
 */
#ifndef DPOP_AGENT_CURL_H
#define DPOP_AGENT_CURL_H

#include <curl/curl.h>
#include <dpop-agent.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Results besides DPOP_OK and the status codes of dpop-agent.h. */
#define DPOP_CURL_TRANSFER_FAILED (-1) /* see curl_code */
#define DPOP_CURL_NOT_REWINDABLE (-2)  /* a second send was due, but the body cannot be rewound */
#define DPOP_CURL_REFUSED (-3)         /* the server refused the token or the proof for good; its answer stands */

struct dpop_curl_request {
    const char *profile;
    const char *method;          /* as the handle is set to send: "GET", "POST", … */
    const char *url;             /* as given to the application; at most 8192 bytes */
    struct curl_slist *headers;  /* the application's own, without Authorization and DPoP; stays the caller's */
    const char *scope;           /* NULL: the profile's */
    const char *const *resources;
    int rewindable;              /* 1: the body may be sent again (none, POSTFIELDS, MIMEPOST, or `rewind` is given) */
    int (*rewind)(void *data);   /* before each further send: moves the read callback's source back; 0: done. Or NULL */
    void *rewind_data;
    curl_write_callback write;   /* as CURLOPT_WRITEFUNCTION; NULL: fwrite to write_data, a FILE, or stdout if NULL */
    void *write_data;
    curl_write_callback header;  /* as CURLOPT_HEADERFUNCTION; NULL: header lines are not passed on */
    void *header_data;
    uint32_t timeout_ms;         /* for each call of the agent; the transfer's own limits are the handle's */
};
struct dpop_curl_result {
    CURLcode curl_code;
    long http_status; /* of the last answer */
    int sends;        /* how often the request went out */
    char reason[256]; /* why the agent gave up, when it did */
};

/*
 * DPOP_OK: the answer was passed on and the agent has nothing against it, whatever its HTTP status is. For every other
 * result `err` says why; results and codes that come after an answer (NOT_REWINDABLE, REFUSED, DPOP_LOGIN_REQUIRED, a
 * failed outcome call) leave that answer passed on, with its status in `result`. Both outputs may be NULL.
 */
int dpop_curl_perform(struct dpop_agent *agent, CURL *easy, const struct dpop_curl_request *request,
                      struct dpop_curl_result *result, struct dpop_error *err);

#ifdef __cplusplus
}
#endif

#endif
