/* See assertion.h. */
#include "assertion.h"

#include "json_text.h"
#include "text.h"

static bool is_name(struct span text)
{
    return text.len > 0 && text.len <= ASSERTION_TEXT_MAX && text_valid(text);
}

static enum status check_claims(const struct assertion_claims *c, struct error *e)
{
    const char *bad = NULL;
    if (!is_name(c->issuer))
        bad = "issuer";
    else if (!is_name(c->subject))
        bad = "subject";
    else if (!is_name(c->audience))
        bad = "audience";
    else if (c->kid.data != NULL && !is_name(c->kid))
        bad = "kid";
    if (bad != NULL)
        return error_set(e, STATUS_CONFIGURATION, "correct it in the profile",
                         "the %s of an assertion is not 1 to %d bytes of text", bad, ASSERTION_TEXT_MAX);
    if (c->lifetime == 0 || c->lifetime > ASSERTION_LIFETIME_MAX)
        return error_set(e, STATUS_INTERNAL, NULL, "the lifetime of an assertion is not 1 to %d seconds",
                         ASSERTION_LIFETIME_MAX);
    if (c->iat < 0 || c->iat > INT64_MAX - ASSERTION_LIFETIME_MAX)
        return error_set(e, STATUS_INTERNAL, "set the clock of this machine", "the clock is before 1970");
    return STATUS_OK;
}

static void put_header(struct buffer *out, struct span kid, bool grant)
{
    json_text_open(out);
    json_text_string(out, "typ", span_text(grant ? "authorization-grant+jwt" : "client-authentication+jwt"));
    json_text_string(out, "alg", span_text("ES256"));
    json_text_string(out, "kid", kid);
    json_text_close(out);
}

static void put_payload(struct buffer *out, const struct assertion_claims *c)
{
    char jti[BASE64URL_LENGTH(ASSERTION_JTI_BYTES) + 1];
    base64url_encode(c->jti, sizeof(c->jti), jti);
    json_text_open(out);
    json_text_string(out, "iss", c->issuer);
    json_text_string(out, "sub", c->subject);
    json_text_string(out, "aud", c->audience);
    json_text_string(out, "jti", span_text(jti));
    json_text_number(out, "iat", c->iat);
    json_text_number(out, "exp", c->iat + c->lifetime);
    json_text_close(out);
}

enum status assertion_signing_input(const struct jwk *jwk, const struct assertion_claims *claims, struct buffer *out,
                                    struct error *e)
{
    char thumbprint[JWK_THUMBPRINT_SIZE];
    struct span kid = claims->kid;
    enum status status = check_claims(claims, e);
    if (status != STATUS_OK)
        return status;
    if (kid.data == NULL) {
        if (jwk_thumbprint(jwk, thumbprint) != 0)
            return error_set(e, STATUS_INTERNAL, NULL, "SHA-256 of the public key failed");
        kid = span_text(thumbprint);
    }
    struct buffer header, payload;
    buffer_init(&header, ASSERTION_MAX);
    buffer_init(&payload, ASSERTION_MAX);
    put_header(&header, kid, claims->grant);
    put_payload(&payload, claims);
    size_t len = base64url_length(header.len) + 1 + base64url_length(payload.len);
    if (header.failed || payload.failed || buffer_room(out, len) == NULL) {
        status = error_set(e, STATUS_NO_MEMORY, NULL, "no room for an assertion of %zu bytes", len);
        goto out;
    }
    base64url_put(out, buffer_span(&header));
    buffer_put(out, ".", 1);
    base64url_put(out, buffer_span(&payload));
out:
    buffer_free(&header);
    buffer_free(&payload);
    return status;
}
