/* See sealed_login.h. */
#include "sealed_login.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define MAGIC "dpop-agent login\n"
#define VERSION 1
#define WHOSE_MAX (4 * LIMIT_URL)
#define HASH_SIZE 16

_Static_assert(SEALED_LOGIN_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "the size of a nonce");
_Static_assert(DATA_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "the size of a data key");

void sealed_login_file_name(struct span profile, char out[SEALED_LOGIN_NAME_SIZE])
{
    uint8_t hash[HASH_SIZE];
    char hex[2 * HASH_SIZE + 1];
    (void)crypto_generichash(hash, sizeof(hash), profile.data, profile.len, NULL, 0);
    (void)snprintf(out, SEALED_LOGIN_NAME_SIZE, "login-%s", sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash)));
}

static void put_associated(const struct login_name *whose, struct buffer *out)
{
    const struct span parts[] = {whose->profile, whose->issuer, whose->client_id, whose->jkt};
    buffer_put_u16(out, VERSION);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buffer_put_u32(out, (uint32_t)parts[i].len);
        buffer_put(out, parts[i].data, parts[i].len);
    }
}

enum status sealed_login_seal(const uint8_t key[DATA_KEY_SIZE], const struct login_name *whose,
                              const uint8_t nonce[SEALED_LOGIN_NONCE_SIZE], struct span record, struct buffer *out,
                              struct error *err)
{
    struct buffer associated;
    unsigned long long len = 0;
    if (record.len > SEALED_LOGIN_RECORD_MAX)
        return error_set(err, STATUS_TOO_LARGE, NULL, "the login of profile \"%.*s\" has %zu bytes, too many",
                         (int)whose->profile.len, (const char *)whose->profile.data, record.len);
    buffer_init(&associated, WHOSE_MAX);
    put_associated(whose, &associated);
    buffer_put(out, MAGIC, strlen(MAGIC));
    buffer_put_u16(out, VERSION);
    buffer_put(out, nonce, SEALED_LOGIN_NONCE_SIZE);
    uint8_t *room = buffer_room(out, record.len + crypto_aead_xchacha20poly1305_ietf_ABYTES);
    bool good = room != NULL && !associated.failed &&
                crypto_aead_xchacha20poly1305_ietf_encrypt(room, &len, record.data, record.len,
                                                           buffer_span(&associated).data, associated.len, NULL, nonce,
                                                           key) == 0;
    if (good)
        buffer_added(out, (size_t)len);
    buffer_free(&associated);
    return good ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

static enum status does_not_open(const struct login_name *whose, const char *path, const char *why, struct error *err)
{
    char next[128];
    (void)snprintf(next, sizeof(next), "log in again: dpop login %.*s", (int)whose->profile.len,
                   (const char *)whose->profile.data);
    return error_set(err, STATUS_LOGIN_REQUIRED, next, "the login of profile \"%.*s\" in %s does not open: %s",
                     (int)whose->profile.len, (const char *)whose->profile.data, path, why);
}

static bool decrypt(const uint8_t *key, const struct login_name *whose, struct span nonce, struct span sealed,
                    uint8_t *out, size_t *len)
{
    struct buffer associated;
    unsigned long long out_len = 0;
    buffer_init(&associated, WHOSE_MAX);
    put_associated(whose, &associated);
    bool good = !associated.failed &&
                crypto_aead_xchacha20poly1305_ietf_decrypt(out, &out_len, NULL, sealed.data, sealed.len,
                                                           buffer_span(&associated).data, associated.len, nonce.data,
                                                           key) == 0;
    buffer_free(&associated);
    *len = (size_t)out_len;
    return good;
}

enum status sealed_login_open(const uint8_t key[DATA_KEY_SIZE], const struct login_name *whose, struct span file,
                              const char *path, uint8_t **record, size_t *len, struct error *err)
{
    struct span magic, nonce;
    uint16_t version;
    size_t plain_len;
    if (span_take(&file, strlen(MAGIC), &magic) != 0 || !span_is(magic, MAGIC) || span_take_u16(&file, &version) != 0)
        return does_not_open(whose, path, "the file is no login record", err);
    if (version != VERSION)
        return does_not_open(whose, path, "another version of the agent wrote it", err);
    if (span_take(&file, SEALED_LOGIN_NONCE_SIZE, &nonce) != 0 || file.len < crypto_aead_xchacha20poly1305_ietf_ABYTES)
        return does_not_open(whose, path, "the file is cut short", err);
    uint8_t *plain = sodium_malloc(file.len);
    if (plain == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    if (!decrypt(key, whose, nonce, file, plain, &plain_len)) {
        sodium_free(plain);
        return does_not_open(whose, path,
                             "issuer, client-id, key or token is another than at the login, or the file was changed",
                             err);
    }
    *record = plain;
    *len = plain_len;
    return STATUS_OK;
}
