/* See pkce.h. */
#include "pkce.h"

#include <openssl/sha.h>
#include <string.h>

#define VERIFIER_MIN 43
#define VERIFIER_MAX 128

void pkce_verifier(const uint8_t random[PKCE_RANDOM_SIZE], char out[PKCE_SIZE])
{
    base64url_encode(random, PKCE_RANDOM_SIZE, out);
}

static bool is_unreserved(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c) != NULL);
}

int pkce_challenge(struct span verifier, char out[PKCE_SIZE])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    if (verifier.len < VERIFIER_MIN || verifier.len > VERIFIER_MAX)
        return -1;
    for (size_t i = 0; i < verifier.len; i++)
        if (!is_unreserved(verifier.data[i]))
            return -1;
    if (SHA256(verifier.data, verifier.len, digest) == NULL)
        return -1;
    base64url_encode(digest, sizeof(digest), out);
    return 0;
}
