/*
 * What the WWW-Authenticate headers of one answer say (RFC 9110 section 11.6.1).
 *
 * One value may hold several challenges, one answer several headers: each value is folded into one result. A value that
 * is malformed, or longer than 8 KiB, adds nothing: half a challenge is no ground for a retry.
 *
 * A nonce is asked for only by a challenge whose scheme is DPoP and whose error is use_dpop_nonce: the same error under
 * Bearer, or the words in a realm, are not one. The other errors count under either scheme, because servers that
 * want DPoP are known to name it Bearer. Other schemes are skipped. Scheme and parameter names are compared without
 * regard to case, error codes with it.
 */
#ifndef DECIDE_CHALLENGE_H
#define DECIDE_CHALLENGE_H

#include "buffer.h"

#define CHALLENGE_MAX 8192

/* In the order of precedence when an answer has several. */
enum challenge_verdict {
    CHALLENGE_NOTHING = 0, /* no challenge for us, or none that could be read */
    CHALLENGE_NONCE,
    CHALLENGE_INVALID_PROOF,
    CHALLENGE_INVALID_TOKEN,
    CHALLENGE_INSUFFICIENT_SCOPE,
    CHALLENGE_OTHER, /* DPoP or Bearer, with another error or none */
};

/* Begin with all zero. Texts are cut to their arrays and have no control characters. */
struct challenge_result {
    bool has_dpop;
    bool has_bearer;
    bool use_dpop_nonce;
    bool invalid_dpop_proof;
    bool invalid_token;
    bool insufficient_scope;
    char error[128]; /* of the last DPoP challenge that has an error, else of the first Bearer one */
    char description[512];
    char scope[256]; /* what an insufficient_scope challenge asks for */
};

/* Folds one header value in, and returns the verdict over all values so far. */
enum challenge_verdict challenge_read(struct span value, struct challenge_result *result);

#endif
