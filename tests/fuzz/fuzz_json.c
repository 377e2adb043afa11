/* Any bytes as a server's body: no crash, and what comes out is either members that decode, or an error and none. */
#include "json_answer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_answer answer;
    struct json_member m;
    struct error err;

    json_answer_read(span_of(data, size), span_of(data, size < 80 ? size : 80), &answer);
    if (answer.error[0] != '\0' && (answer.count > 0 || answer.is_jwt))
        abort();
    for (size_t i = 0; i < answer.count; i++)
        if (message_take(answer.members[i], &message_json_member, &m, sizeof(m), &err) != STATUS_OK)
            abort();
    json_answer_free(&answer);
    return 0;
}
