/*
 * Any bytes as an attempt handle, as they are and with a right MAC in front, as if a key had leaked: no crash, texts that
 * end, and what is taken is given back as a handle that takes to the same.
 */
#include "attempt.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[ATTEMPT_KEY_SIZE] = {7};
    struct attempt a, b;
    struct buffer handle, again;

    must(attempt_take(span_of(data, size), key, &a) != 0); /* to guess a MAC is out of reach */
    buffer_init(&handle, 1 << 22);
    buffer_init(&again, LIMIT_ATTEMPT);
    uint8_t mac[crypto_auth_BYTES];
    (void)crypto_auth(mac, data, size, key);
    buffer_put(&handle, mac, sizeof(mac));
    buffer_put(&handle, data, size);
    if (!handle.failed && attempt_take(buffer_span(&handle), key, &a) == 0) {
        must(strlen(a.profile) <= LIMIT_NAME && strlen(a.origin) < sizeof(a.origin) && strlen(a.jkt) < sizeof(a.jkt));
        attempt_put(&a, key, &again);
        must(!again.failed && attempt_take(buffer_span(&again), key, &b) == 0);
        must(memcmp(&a, &b, sizeof(a)) == 0);
    }
    buffer_free(&handle);
    buffer_free(&again);
    return 0;
}
