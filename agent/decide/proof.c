/* See proof.h. */
#include "proof.h"

#include "http_token.h"
#include "json_text.h"
#include "nonce.h"
#include "url.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define CLAIMS_ROOM 256 /* the payload without htu and nonce */

void proof_header_init(struct proof_header *header, const struct jwk *jwk)
{
    char key[JWK_JSON_SIZE], json[sizeof(header->text)];
    jwk_json(jwk, key);
    int len = snprintf(json, sizeof(json), "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":%s}", key);
    base64url_encode((const uint8_t *)json, (size_t)len, header->text);
    header->len = base64url_length((size_t)len);
}

static bool all_printable(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x20 || text.data[i] > 0x7e)
            return false;
    return true;
}

bool proof_ath_valid(struct span ath)
{
    uint8_t digest[JWK_DIGEST_SIZE];
    size_t len;
    return base64url_decode(ath, digest, sizeof(digest), &len) == 0 && len == sizeof(digest);
}

static enum status check_claims(const struct proof_claims *c, struct error *e)
{
    if (c->htm.len > PROOF_HTM_MAX || !http_token_valid(c->htm))
        return error_set(e, STATUS_INVALID_ARGUMENT, "give the method as it stands in the request, such as GET",
                         "the method (htm) is not an HTTP token of 1 to %d characters", PROOF_HTM_MAX);
    if (c->htu.len == 0 || c->htu.len > URL_SIZE || !all_printable(c->htu))
        return error_set(e, STATUS_INVALID_ARGUMENT, NULL, "the htu is empty, too long, or not a URL");
    if (c->ath.data != NULL && !proof_ath_valid(c->ath))
        return error_set(e, STATUS_INVALID_ARGUMENT, "give base64url(SHA-256(access token)), or the token itself",
                         "the ath is not 43 base64url characters that decode to 32 bytes");
    if (c->nonce.data != NULL && !nonce_valid(c->nonce))
        return error_set(e, STATUS_INVALID_ARGUMENT, "copy the value of DPoP-Nonce exactly",
                         "the nonce is empty, over %d characters, or has a character that RFC 9449 does not allow",
                         NONCE_MAX);
    if (c->iat < 0)
        return error_set(e, STATUS_INTERNAL, "set the clock of this machine", "the clock is before 1970");
    return STATUS_OK;
}

static void put_payload(struct buffer *out, const struct proof_claims *c)
{
    char jti[BASE64URL_LENGTH(PROOF_JTI_BYTES) + 1];
    base64url_encode(c->jti, sizeof(c->jti), jti);
    json_text_open(out);
    json_text_string(out, "jti", span_text(jti));
    json_text_string(out, "htm", c->htm);
    json_text_string(out, "htu", c->htu);
    json_text_number(out, "iat", c->iat);
    if (c->ath.data != NULL)
        json_text_string(out, "ath", c->ath);
    if (c->nonce.data != NULL)
        json_text_string(out, "nonce", c->nonce);
    json_text_close(out);
}

enum status proof_signing_input(const struct proof_header *header, const struct proof_claims *claims,
                                struct buffer *out, struct error *e)
{
    enum status status = check_claims(claims, e);
    if (status != STATUS_OK)
        return status;
    struct buffer payload;
    buffer_init(&payload, PROOF_MAX);
    (void)buffer_room(&payload, CLAIMS_ROOM + claims->htu.len + claims->nonce.len); /* one allocation, as a rule */
    put_payload(&payload, claims);
    size_t len = header->len + 1 + base64url_length(payload.len);
    if (payload.failed || buffer_room(out, len) == NULL) {
        buffer_free(&payload);
        return error_set(e, STATUS_NO_MEMORY, NULL, "no room for a proof of %zu bytes", len);
    }
    buffer_put(out, header->text, header->len);
    buffer_put(out, ".", 1);
    base64url_put(out, buffer_span(&payload));
    buffer_free(&payload);
    return STATUS_OK;
}

/* OpenSSL's one-shot. Fetching the digest costs it a fifth of the hash; keeping one would need global state. */
int proof_digest(struct span signing_input, uint8_t digest[JWK_DIGEST_SIZE])
{
    return SHA256(signing_input.data, signing_input.len, digest) != NULL ? 0 : -1;
}

void proof_append_signature(struct buffer *out, const uint8_t signature[JWK_SIGNATURE_SIZE])
{
    buffer_put(out, ".", 1);
    base64url_put(out, span_of(signature, JWK_SIGNATURE_SIZE));
}

int proof_ath(struct span access_token, char out[PROOF_ATH_SIZE])
{
    uint8_t digest[JWK_DIGEST_SIZE];
    if (access_token.len == 0 || !all_printable(access_token) ||
        SHA256(access_token.data, access_token.len, digest) == NULL)
        return -1;
    base64url_encode(digest, sizeof(digest), out);
    return 0;
}
