/* See request_sink.h. */
#include "request_sink.h"

#include "base64.h"

#include <errno.h>
#include <string.h>

#define MOST_HEAD 65536
#define MOST_BODY (16U << 20)

void request_sink_init(struct request_sink *s, const char *path, bool json, bool include)
{
    *s = (struct request_sink){.path = path, .json = json, .include = include};
    buffer_init(&s->head, MOST_HEAD);
    buffer_init(&s->body, MOST_BODY);
}

void request_sink_free(struct request_sink *s)
{
    if (s->file != NULL && s->file != stdout)
        (void)fclose(s->file);
    s->file = NULL;
    buffer_free(&s->head);
    buffer_free(&s->body);
}

static int refused(struct request_sink *s)
{
    (void)snprintf(s->failure, sizeof(s->failure), "%s cannot be written: %s",
                   s->path != NULL ? s->path : "standard output", strerror(errno));
    s->next =
        s->path != NULL ? "check that the folder exists and may be written to, or name another file with -o" : NULL;
    return -1;
}

static int put(struct request_sink *s, const void *data, size_t len)
{
    if (s->file == NULL)
        s->file = s->path != NULL ? fopen(s->path, "we") : stdout;
    if (s->file == NULL || fwrite(data, 1, len, s->file) != len)
        return refused(s);
    return 0;
}

static int keep(struct request_sink *s, struct buffer *b, const void *data, size_t len)
{
    buffer_put(b, data, len);
    if (b->failed)
        (void)snprintf(s->failure, sizeof(s->failure),
                       "the answer is too large for --json; write it to a file with -o");
    return b->failed ? -1 : 0;
}

size_t request_sink_header(char *data, size_t one, size_t len, void *sink)
{
    struct request_sink *s = sink;
    int result = 0;
    if (s->json)
        result = keep(s, &s->head, data, one * len);
    else if (s->include)
        result = put(s, data, one * len);
    return result == 0 ? one * len : 0;
}

size_t request_sink_body(char *data, size_t one, size_t len, void *sink)
{
    struct request_sink *s = sink;
    int result = s->json && s->path == NULL ? keep(s, &s->body, data, one * len) : put(s, data, one * len);
    return result == 0 ? one * len : 0;
}

int request_sink_finish(struct request_sink *s)
{
    FILE *file = s->file;
    s->file = NULL;
    if (file != NULL && (file == stdout ? fflush(file) : fclose(file)) != 0)
        return refused(s);
    return s->failure[0] == '\0' ? 0 : -1;
}

static struct span trim(struct span s)
{
    while (s.len > 0 && strchr(" \t\r", s.data[0]) != NULL) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && strchr(" \t\r", s.data[s.len - 1]) != NULL)
        s.len--;
    return s;
}

static void put_headers(struct json *j, struct span head)
{
    json_open(j, "headers", '[');
    while (head.len > 0) {
        const uint8_t *end = memchr(head.data, '\n', head.len);
        struct span line = span_of(head.data, end != NULL ? (size_t)(end - head.data) : head.len);
        const uint8_t *colon = memchr(line.data, ':', line.len);
        size_t used = line.len + (end != NULL);
        head = span_of(head.data + used, head.len - used);
        if (colon == NULL)
            continue;
        size_t name = (size_t)(colon - line.data);
        json_open(j, NULL, '{');
        json_span(j, "name", span_of(line.data, name));
        json_span(j, "value", trim(span_of(colon + 1, line.len - name - 1)));
        json_close(j, '}');
    }
    json_close(j, ']');
}

void request_sink_json(const struct request_sink *s, struct json *j)
{
    struct buffer text;
    put_headers(j, buffer_span(&s->head));
    if (s->path != NULL)
        return;
    if (json_can_hold(buffer_span(&s->body))) {
        json_span(j, "body", buffer_span(&s->body));
        return;
    }
    buffer_init(&text, 2 * MOST_BODY);
    base64_put(&text, buffer_span(&s->body));
    json_span(j, "body_base64", buffer_span(&text));
    buffer_free(&text);
}
