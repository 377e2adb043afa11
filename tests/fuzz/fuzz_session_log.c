/*
 * A form, an answer's header and its body made of any bytes, with secrets that the answer repeats: no crash, a text within its
 * limit whose lines are plain text, and no secret in it.
 */
#include "session_log.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

#define SECRET "S3cret-of-the-client"
#define CODE "c0de-from-the-redirect"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input's part up to the next 0xff byte; SECRET and CODE stand in it for the bytes 0x01 and 0x02. */
static void take_part(struct span *rest, struct buffer *out)
{
    const uint8_t *end = rest->len > 0 ? memchr(rest->data, 0xff, rest->len) : NULL;
    size_t n = end != NULL ? (size_t)(end - rest->data) : rest->len;
    for (size_t i = 0; i < n; i++)
        if (rest->data[i] == 1)
            buffer_put_text(out, SECRET);
        else if (rest->data[i] == 2)
            buffer_put_text(out, CODE);
        else
            buffer_put(out, rest->data + i, 1);
    n += end != NULL;
    *rest = span_of(rest->data + n, rest->len - n);
}

static void check(struct span text)
{
    if (text.len > LIMIT_TRACE || memmem(text.data, text.len, SECRET, strlen(SECRET)) != NULL ||
        memmem(text.data, text.len, CODE, strlen(CODE)) != NULL)
        abort();
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        if (end == NULL || !text_valid(span_of(text.data, (size_t)(end - text.data))))
            abort();
        text = span_of(end + 1, text.len - (size_t)(end + 1 - text.data));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of(data, size);
    struct buffer header, body, text, form;
    struct json_answer json;

    buffer_init(&header, 1 << 22);
    buffer_init(&body, 1 << 22);
    buffer_init(&form, 1 << 22);
    buffer_init(&text, 2 * LIMIT_TRACE);
    buffer_put_text(&form, "code=" CODE "&client_secret=" SECRET "&x=");
    for (size_t i = 0; i < size && i < 64; i++)
        buffer_put(&form, data + i, data[i] > ' ' ? 1 : 0);
    take_part(&rest, &header);
    take_part(&rest, &body);
    if (header.failed || body.failed || form.failed)
        abort();
    json_answer_read(buffer_span(&body), span_of(NULL, 0), &json);
    struct session_request request = {
        .method = "POST", .url = "https://as.example/token", .host = span_text("as.example"), .body_kind = SESSION_FORM,
        .body = buffer_span(&form), .client_secret = span_text(SECRET),
    };
    struct session_connection connection = {.total = 1};
    struct session_answer answer = {.header = buffer_span(&header), .json = &json, .sent = true};
    session_log_put(&request, &connection, &answer, &text);
    check(buffer_span(&text));
    json_answer_free(&json);
    buffer_free(&header);
    buffer_free(&body);
    buffer_free(&form);
    buffer_free(&text);
    return 0;
}
