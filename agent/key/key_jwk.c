/* See key_jwk.h. */
#include "key_jwk.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>

#define NEXT_JWK "give one private JWK: {\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":…,\"y\":…,\"d\":…}"

bool key_jwk_recognise(struct span file)
{
    size_t i = 0;
    while (i < file.len && memchr(" \t\r\n", file.data[i], 4) != NULL)
        i++;
    return i < file.len && file.data[i] == '{';
}

static const char *text_of(const json_t *jwk, const char *name)
{
    return json_string_value(json_object_get(jwk, name)); /* NULL: absent, or another type */
}

/* jansson's own messages may hold a piece of the text, and so of the key. */
static enum status not_json(const json_error_t *e, struct error *err)
{
    if (json_error_code(e) == json_error_duplicate_key)
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT_JWK, "the JWK has a member twice (line %d)", e->line);
    return error_set(err, STATUS_INVALID_ARGUMENT, NEXT_JWK, "the file begins like a JWK, and is no JSON (line %d)",
                     e->line);
}

static enum status check_kind(const json_t *jwk, struct error *err)
{
    const char *kty = text_of(jwk, "kty"), *crv = text_of(jwk, "crv");
    if (json_object_get(jwk, "keys") != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "write one key into a file of its own: jq '.keys[0]' FILE",
                         "the file holds a set of keys (JWKS)");
    if (json_object_get(jwk, "ciphertext") != NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "decrypt it first", "the file holds an encrypted JWK (JWE)");
    if (kty == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT_JWK, "the JSON in the file is no JWK: it has no \"kty\"");
    if (strcmp(kty, "EC") != 0)
        return private_key_other("of the type", kty, err);
    if (crv == NULL || strcmp(crv, "P-256") != 0)
        return private_key_other("on the curve", crv != NULL ? crv : "(none)", err);
    if (json_object_get(jwk, "d") == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "give the private JWK, with its member \"d\"",
                         "the JWK holds a public key only");
    return STATUS_OK;
}

/* RFC 7517 sections 4.2 to 4.4: all three are optional. */
static enum status check_use(const json_t *jwk, struct error *err)
{
    const json_t *use = json_object_get(jwk, "use"), *alg = json_object_get(jwk, "alg"),
                 *operations = json_object_get(jwk, "key_ops"), *operation;
    bool signs = operations == NULL;
    size_t i;
    json_array_foreach(operations, i, operation)
        signs = signs || (json_is_string(operation) && strcmp(json_string_value(operation), "sign") == 0);
    if ((use != NULL && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0)) || !signs)
        return error_set(err, STATUS_KEY_UNFIT, "import a key that is for signatures",
                         "the JWK is not for signatures: its \"%s\" says so", signs ? "use" : "key_ops");
    if (alg != NULL && (!json_is_string(alg) || strcmp(json_string_value(alg), "ES256") != 0))
        return error_set(err, STATUS_KEY_UNFIT, "import a key that is for ES256",
                         "the JWK is for another algorithm than ES256: its \"alg\" says so");
    return STATUS_OK;
}

static enum status read_number(const json_t *jwk, const char *name, uint8_t out[PRIVATE_KEY_SIZE], struct error *err)
{
    const json_t *member = json_object_get(jwk, name);
    size_t len;
    if (!json_is_string(member) ||
        base64url_decode(span_of(json_string_value(member), json_string_length(member)), out, PRIVATE_KEY_SIZE,
                         &len) != 0 ||
        len != PRIVATE_KEY_SIZE)
        return error_set(err, STATUS_INVALID_ARGUMENT, NEXT_JWK,
                         "the JWK's member \"%s\" is not %d bytes in base64url without padding", name,
                         PRIVATE_KEY_SIZE);
    return STATUS_OK;
}

static enum status read_members(const json_t *jwk, uint8_t *d, struct private_key *out, struct error *err)
{
    struct jwk said;
    enum status status = check_kind(jwk, err);
    if (status == STATUS_OK)
        status = check_use(jwk, err);
    if (status == STATUS_OK)
        status = read_number(jwk, "x", said.x, err);
    if (status == STATUS_OK)
        status = read_number(jwk, "y", said.y, err);
    if (status == STATUS_OK)
        status = read_number(jwk, "d", d, err);
    return status == STATUS_OK ? private_key_from_bytes(d, &said, out, err) : status;
}

enum status key_jwk_read(struct span file, struct private_key *out, struct error *err)
{
    json_error_t e;
    json_t *jwk = json_loadb((const char *)file.data, file.len, JSON_REJECT_DUPLICATES, &e);
    if (jwk == NULL) {
        enum status status = not_json(&e, err);
        wipe(&e, sizeof(e));
        return status;
    }
    uint8_t *d = sodium_malloc(PRIVATE_KEY_SIZE);
    enum status status = d != NULL ? read_members(jwk, d, out, err)
                                   : error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    sodium_free(d);
    json_decref(jwk);
    return status;
}
