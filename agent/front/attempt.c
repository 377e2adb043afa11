/* See attempt.h. A handle is a MAC of 32 bytes and a message of the fields. */
#include "attempt.h"

#include <sodium.h>
#include <string.h>

#define MAC_SIZE crypto_auth_BYTES

struct attempt_message {
    struct span profile, origin, jkt;
    uint64_t token_serial;
    struct span nonce;
    uint16_t sends, nonce_retries, refreshes;
    uint64_t skew; /* two's complement */
    uint16_t clock_retries;
};

#define F(tag, type, max, member) {tag, FIELD_##type, 0, max, offsetof(struct attempt_message, member), #member}
static const struct field fields[] = {
    F(1, TEXT, LIMIT_NAME, profile),
    F(2, TEXT, URL_ORIGIN_SIZE - 1, origin),
    F(3, TEXT, JWK_THUMBPRINT_SIZE - 1, jkt),
    F(4, U64, 0, token_serial),
    F(5, BYTES, NONCE_DIGEST_SIZE, nonce),
    F(6, U16, 0, sends),
    F(7, U16, 0, nonce_retries),
    F(8, U16, 0, refreshes),
    F(9, U64, 0, skew),
    F(10, U16, 0, clock_retries),
};
static const struct message message_attempt = {"attempt", fields, sizeof(fields) / sizeof(fields[0])};

void attempt_put(const struct attempt *a, const uint8_t key[ATTEMPT_KEY_SIZE], struct buffer *out)
{
    struct buffer body;
    uint8_t mac[MAC_SIZE];
    struct attempt_message m = {.profile = span_text(a->profile),
                                .origin = span_text(a->origin),
                                .jkt = span_text(a->jkt),
                                .token_serial = a->token_serial,
                                .nonce = span_of(a->has_nonce ? a->nonce : NULL, a->has_nonce ? sizeof(a->nonce) : 0),
                                .sends = a->sends,
                                .nonce_retries = a->nonce_retries,
                                .refreshes = a->refreshes,
                                .skew = (uint64_t)a->skew,
                                .clock_retries = a->clock_retries};
    buffer_init(&body, LIMIT_ATTEMPT);
    message_put(&body, &message_attempt, &m);
    struct span bytes = buffer_span(&body);
    (void)crypto_auth(mac, bytes.data, bytes.len, key);
    buffer_put(out, mac, sizeof(mac));
    buffer_put(out, bytes.data, bytes.len);
    buffer_free(&body);
}

int attempt_take(struct span handle, const uint8_t key[ATTEMPT_KEY_SIZE], struct attempt *out)
{
    struct attempt_message m;
    struct attempt a = {0};
    struct error err;
    struct span mac;
    if (span_take(&handle, MAC_SIZE, &mac) != 0 || crypto_auth_verify(mac.data, handle.data, handle.len, key) != 0 ||
        message_take(handle, &message_attempt, &m, sizeof(m), &err) != STATUS_OK ||
        span_copy(m.profile, a.profile, sizeof(a.profile)) != 0 || span_copy(m.origin, a.origin, sizeof(a.origin)) != 0 ||
        span_copy(m.jkt, a.jkt, sizeof(a.jkt)) != 0)
        return -1;
    a.token_serial = m.token_serial;
    a.has_nonce = m.nonce.len == sizeof(a.nonce);
    if (a.has_nonce)
        memcpy(a.nonce, m.nonce.data, sizeof(a.nonce));
    a.sends = m.sends;
    a.nonce_retries = m.nonce_retries;
    a.refreshes = m.refreshes;
    a.skew = (int64_t)m.skew;
    a.clock_retries = m.clock_retries;
    *out = a;
    return 0;
}
