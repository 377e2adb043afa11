/* See failure.h. */
#include "failure.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define NEXT_SIZE sizeof(((struct error *)0)->next)

static enum status timed_out(const struct failure *f, struct error *err)
{
    static const struct {
        const char *doing, *next;
    } phases[] = {
        [FAILURE_RESOLVING] = {"resolving host", "check the name and this machine's name servers"},
        [FAILURE_CONNECTING] = {"connecting to", "check that the server runs and that no firewall is in between"},
        [FAILURE_TLS] = {"agreeing on TLS with", "check that the port speaks TLS"},
        [FAILURE_WAITING] = {"waiting for the answer of",
                             "try again later; timeout in the profile's section allows more time"},
    };
    return error_set(err, STATUS_SERVER_UNREACHABLE, phases[f->phase].next,
                     "%s: cannot finish in time: gave up after %llu ms while %s %s", f->request,
                     (unsigned long long)f->milliseconds, phases[f->phase].doing, f->host);
}

static enum status not_verified(const struct failure *f, struct error *err)
{
    char next[NEXT_SIZE];
    /* libcurl compares the host first, and then leaves the result at what it begins with. */
    if (f->verify_result == X509_V_OK || f->verify_result == X509_V_ERR_UNSPECIFIED)
        return error_set(err, STATUS_SERVER_UNREACHABLE,
                         "use the name that the certificate is for, or have it corrected",
                         "%s: cannot verify the server's certificate: it is not for host %s", f->request, f->host);
    switch (f->verify_result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        (void)snprintf(next, sizeof(next), "have the server's certificate renewed, or correct this machine's clock");
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        (void)snprintf(next, sizeof(next), "if the server is the right one, name its CA with ca-file%s%s%s",
                       f->profile[0] != '\0' ? " in [profile " : "", f->profile, f->profile[0] != '\0' ? "]" : "");
        break;
    default:
        (void)snprintf(next, sizeof(next), "have the server's certificate corrected");
    }
    return error_set(err, STATUS_SERVER_UNREACHABLE, next, "%s: cannot verify the server's certificate: %s", f->request,
                     X509_verify_cert_error_string(f->verify_result));
}

static enum status misbehaved(const struct failure *f, const char *what, struct error *err)
{
    return error_set(err, STATUS_SERVER_MISBEHAVED, "check that the URL is the one of the authorization server",
                     "%s: cannot use the answer: %s", f->request, what);
}

/* libcurl's own words are left out where they are about a second try. */
static enum status cut_off(const struct failure *f, struct error *err)
{
    const char *detail = f->sent_before ? "" : f->detail;
    return error_set(err, STATUS_SERVER_UNREACHABLE, "try again; if it happens again, see the server's log",
                     "%s: cannot read the answer: the connection was closed before %s%s%s", f->request,
                     f->answer_began ? "its end" : "the answer came", detail[0] != '\0' ? ": " : "", detail);
}

enum status failure_describe(const struct failure *f, struct error *err)
{
    const char *detail = f->detail[0] != '\0' ? f->detail : curl_easy_strerror(f->code);
    char next[NEXT_SIZE];

    if (f->body_too_large)
        return misbehaved(f, "its body is larger than 1 MiB", err);
    if (f->headers_too_large)
        return misbehaved(f, "its header is larger than 64 KiB or 100 lines", err);
    if (f->sent_before)
        return cut_off(f, err);
    switch (f->code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_set(err, STATUS_SERVER_UNREACHABLE, "check the name and this machine's name servers",
                         "%s: cannot resolve host %s", f->request, f->host);
    case CURLE_COULDNT_CONNECT:
        return error_set(err, STATUS_SERVER_UNREACHABLE,
                         "check that the server runs and that no firewall is in between",
                         "%s: cannot connect: %s", f->request, f->os_errno != 0 ? strerror((int)f->os_errno) : detail);
    case CURLE_OPERATION_TIMEDOUT:
        return timed_out(f, err);
    case CURLE_PEER_FAILED_VERIFICATION:
        return not_verified(f, err);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
        return error_set(err, STATUS_SERVER_UNREACHABLE, "check that the port speaks TLS 1.2 or later",
                         "%s: cannot agree on TLS with the server: %s", f->request, detail);
    case CURLE_SSL_CACERT_BADFILE:
        (void)snprintf(next, sizeof(next), "correct ca-file%s%s%s: a PEM file that the agent's user can read",
                       f->profile[0] != '\0' ? " in [profile " : "", f->profile, f->profile[0] != '\0' ? "]" : "");
        return error_set(err, STATUS_CONFIGURATION, next, "%s: cannot load the CA certificates: %s", f->request,
                         detail);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return cut_off(f, err);
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* an answer without a status line */
        return misbehaved(f, detail, err);
    case CURLE_OUT_OF_MEMORY:
        /* libcurl 7.88 says this of a header line over its own limit of 100 KiB, too. */
        return f->phase == FAILURE_WAITING ? misbehaved(f, "out of memory, or a header line of over 100 KiB", err)
                                           : error_set(err, STATUS_NO_MEMORY, NULL,
                                                       "%s: cannot be done: out of memory", f->request);
    default:
        return error_set(err, STATUS_SERVER_UNREACHABLE, NULL, "%s: cannot be done: %s", f->request, detail);
    }
}
