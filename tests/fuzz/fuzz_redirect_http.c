/*
 * Any bytes as a browser's request, and as a redirect URI: no crash, a query only for the path that is listened for, inside the
 * input and with nothing in it that a URL cannot have.
 */
#include "redirect_http.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_query(struct span in, struct span query)
{
    if (query.data < in.data || query.data + query.len > in.data + in.len || query.len > REDIRECT_HTTP_QUERY_MAX)
        abort();
    for (size_t i = 0; i < query.len; i++)
        if (query.data[i] <= ' ' || query.data[i] >= 0x7f)
            abort();
    if (memcmp(in.data, "GET /callback", 13) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of(data, size), query = {0};
    struct redirect_http_uri uri;
    struct buffer page;
    struct error err;

    enum redirect_http_verdict verdict = redirect_http_read(in, span_text("/callback"), 4711, &query);
    if (verdict == REDIRECT_HTTP_CAME)
        check_query(in, query);
    else if (query.data != NULL)
        abort();
    if (redirect_http_read_uri(in, &uri, &err) == STATUS_OK &&
        (uri.host.len == 0 || uri.path.len == 0 || uri.before.len + uri.behind.len > size))
        abort();
    buffer_init(&page, 1 << 20);
    redirect_http_put_page(&page, "x", span_of(data, size < 1024 ? size : 1024));
    if (page.failed)
        abort();
    buffer_free(&page);
    return 0;
}
