/* See reply.h. */
#include "reply.h"

static struct span absent_if_empty(struct span s)
{
    return s.len > 0 ? s : span_of(NULL, 0);
}

void reply_put(struct buffer *out, uint32_t request, uint16_t http_status, const struct headers *headers,
               const struct json_answer *json, struct span trace, time_t now)
{
    struct span nonces[HEADERS_LINES_MAX], challenges[HEADERS_LINES_MAX];
    struct fetch_answer answer = {
        .http_status = http_status,
        .sent = true,
        .date = headers_span(headers, &headers->date),
        .nonces = {.items = nonces, .count = headers->nonce_count},
        .challenges = {.items = challenges, .count = headers->challenge_count},
        .retry_after = headers_retry_after(headers, now),
        .members = {.items = json->members, .count = json->count},
        .json_error = span_text(json->error[0] != '\0' ? json->error : NULL),
        .jwt = json->is_jwt,
        .cnf_jkt = span_text(json->jwt.bound ? json->jwt.cnf_jkt : NULL),
        .lifetime = json->jwt.lifetime,
        .subject = span_text(json->jwt.subject[0] != '\0' ? json->jwt.subject : NULL),
        .id_token = json->has_id_token ? buffer_span(&json->id_token) : span_of(NULL, 0),
        .id_token_unreadable = json->id_token_unreadable,
        .trace = absent_if_empty(trace),
    };
    for (size_t i = 0; i < headers->nonce_count; i++)
        nonces[i] = headers_span(headers, &headers->nonces[i]);
    for (size_t i = 0; i < headers->challenge_count; i++)
        challenges[i] = headers_span(headers, &headers->challenges[i]);
    message_put_frame(out, INTERNAL_FETCH | OPERATION_ANSWER, request, &message_fetch_answer, &answer);
}

void reply_put_failure(struct buffer *out, uint32_t request, const struct error *err, bool sent, struct span trace)
{
    struct buffer failure;
    buffer_init(&failure, LIMIT_NESTED);
    messages_put_error(&failure, request, err);
    if (failure.failed) {
        out->failed = true;
    } else {
        struct span frame = buffer_span(&failure);
        struct fetch_answer answer = {
            .failure = span_of(frame.data + FRAME_HEADER_SIZE, frame.len - FRAME_HEADER_SIZE),
            .sent = sent,
            .trace = absent_if_empty(trace),
        };
        message_put_frame(out, INTERNAL_FETCH | OPERATION_ANSWER, request, &message_fetch_answer, &answer);
    }
    buffer_free(&failure);
}
