/* See tls_client.h. */
#include "tls_client.h"

#include "transfer.h"

static CURLcode on_ssl_ctx(CURL *easy, void *ctx, void *user)
{
    struct transfer *x = user;
    (void)easy;
    return x->tls->give(x->tls, x->identity, ctx) == 0 ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

#define SET(option, value) \
    if (code == CURLE_OK)  \
        code = curl_easy_setopt(x->easy, (option), (value))

enum status tls_client_use(struct tls_client *c, struct transfer *x, tls_client_meanwhile *meanwhile, void *context,
                           struct error *err)
{
    CURLcode code = CURLE_OK;
    if (!x->what.https)
        return error_set(err, STATUS_INSECURE_URL, "use https for the authorization server of such a profile",
                         "%s: a TLS client certificate cannot be shown over plain http", x->what.label);
    enum status status = c->prepare(c, meanwhile, context, &x->identity, err);
    if (status != STATUS_OK)
        return status;
    x->tls = c;
    SET(CURLOPT_FRESH_CONNECT, 1L);
    SET(CURLOPT_FORBID_REUSE, 1L);
    SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
    SET(CURLOPT_SSL_CTX_DATA, x);
    if (code != CURLE_OK)
        return error_set(err, STATUS_INTERNAL, NULL, "%s: libcurl lacks something: %s", x->what.label,
                         curl_easy_strerror(code));
    return STATUS_OK;
}

bool tls_client_is_reason(struct transfer *x, struct error *err)
{
    return x->tls != NULL && x->tls->check(x->tls, err) != STATUS_OK;
}

void tls_client_release(struct transfer *x)
{
    if (x->tls != NULL)
        x->tls->release(x->identity);
}
