/* See seal_pin.h. */
#include "seal_pin.h"

#include <sodium.h>
#include <string.h>

#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES

_Static_assert(SEALED_PIN_MAX == LIMIT_PIN + NONCE_SIZE + TAG_SIZE, "the size of a sealed PIN");
_Static_assert(PIN_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "the size of the PIN key");

int seal_pin(const uint8_t key[PIN_KEY_SIZE], struct span token_id, const struct secret *pin,
             uint8_t out[SEALED_PIN_MAX],
             size_t *len)
{
    unsigned long long sealed;
    if (pin->len > LIMIT_PIN)
        return -1;
    randombytes_buf(out, NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(out + NONCE_SIZE, &sealed, pin->data, pin->len, token_id.data,
                                                     token_id.len, NULL, out, key);
    *len = NONCE_SIZE + (size_t)sealed;
    return 0;
}

struct secret *seal_pin_open(const uint8_t key[PIN_KEY_SIZE], struct span token_id, struct span sealed)
{
    static const uint8_t room[LIMIT_PIN];
    unsigned long long len;
    if (sealed.len < NONCE_SIZE + TAG_SIZE || sealed.len > SEALED_PIN_MAX)
        return NULL;
    struct secret *pin = secret_new(span_of(room, sealed.len - NONCE_SIZE - TAG_SIZE));
    if (pin != NULL && crypto_aead_xchacha20poly1305_ietf_decrypt(pin->data, &len, NULL, sealed.data + NONCE_SIZE,
                                                                  sealed.len - NONCE_SIZE, token_id.data, token_id.len,
                                                                  sealed.data, key) == 0)
        return pin;
    secret_free(pin);
    return NULL;
}
