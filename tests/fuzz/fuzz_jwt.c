/*
 * Any text as an access token, and a token built around any header and payload: no crash, and a thumbprint that fits
 * the field it is sent in.
 */
#include "base64url.h"
#include "jwt.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_token(struct span token)
{
    struct jwt jwt;
    if (jwt_read(token, &jwt) && (!text_valid(span_text(jwt.cnf_jkt)) || strlen(jwt.cnf_jkt) > LIMIT_TEXT))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *middle = size > 0 ? memchr(data, '.', size) : NULL;
    struct buffer token;

    read_token(span_of(data, size));
    if (middle == NULL)
        return 0;
    buffer_init(&token, 1024 * 1024);
    base64url_put(&token, span_of(data, (size_t)(middle - data)));
    buffer_put_text(&token, ".");
    base64url_put(&token, span_of(middle + 1, size - (size_t)(middle - data) - 1));
    buffer_put_text(&token, ".c2ln");
    if (!token.failed)
        read_token(buffer_span(&token));
    buffer_free(&token);
    return 0;
}
