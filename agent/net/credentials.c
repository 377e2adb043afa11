/* See credentials.h. */
#include "credentials.h"

#include "form.h"

#include <sodium.h>

void credentials_put_basic(struct buffer *out, struct span id, struct span secret)
{
    struct buffer pair;
    buffer_init(&pair, 3 * (id.len + secret.len) + 1);
    form_put_encoded(&pair, id);
    buffer_put(&pair, ":", 1);
    form_put_encoded(&pair, secret);
    buffer_put_text(out, "Basic ");
    struct span text = buffer_span(&pair);
    size_t size = sodium_base64_encoded_len(text.len, sodium_base64_VARIANT_ORIGINAL); /* with a NUL */
    uint8_t *room = buffer_room(out, size);
    if (room != NULL) {
        (void)sodium_bin2base64((char *)room, size, text.data, text.len, sodium_base64_VARIANT_ORIGINAL);
        buffer_added(out, size - 1);
    }
    out->failed |= pair.failed;
    buffer_free(&pair);
}

void credentials_put_post(struct buffer *form, struct span id, struct span secret)
{
    form_put(form, "client_id", id);
    form_put(form, "client_secret", secret);
}
