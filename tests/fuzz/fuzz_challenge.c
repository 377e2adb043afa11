/*
 * Any bytes as WWW-Authenticate headers, one to a line: no crash, every text ends and is plain, a value that adds nothing
 * changes nothing, and a nonce is asked for only by bytes that have the words in them.
 */
#include "challenge.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void check(const struct challenge_result *r)
{
    must(memchr(r->error, '\0', sizeof(r->error)) != NULL && text_valid(span_text(r->error)));
    must(memchr(r->description, '\0', sizeof(r->description)) != NULL && text_valid(span_text(r->description)));
    must(memchr(r->scope, '\0', sizeof(r->scope)) != NULL && text_valid(span_text(r->scope)));
    must(!r->use_dpop_nonce || r->has_dpop);
    must(r->has_dpop || r->has_bearer || (!r->invalid_token && !r->invalid_dpop_proof && !r->insufficient_scope));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct challenge_result result = {0};
    for (size_t i = 0; i <= size;) {
        const uint8_t *end = i < size ? memchr(data + i, '\n', size - i) : NULL;
        size_t len = (end != NULL ? (size_t)(end - data) : size) - i;
        uint8_t *copy = malloc(len + 1); /* so that a read behind the end is seen */
        must(copy != NULL);
        if (len > 0)
            memcpy(copy, data + i, len);
        struct challenge_result before = result;
        enum challenge_verdict verdict = challenge_read(span_of(copy, len), &result);
        check(&result);
        must(verdict <= CHALLENGE_OTHER);
        if (len > CHALLENGE_MAX)
            must(memcmp(&before, &result, sizeof(result)) == 0);
        free(copy);
        i += len + 1;
    }
    return 0;
}
