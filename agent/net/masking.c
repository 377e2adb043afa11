/* See masking.h. */
#include "masking.h"

#include "form.h"
#include "text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void masking_init(struct masking *m)
{
    *m = (struct masking){.count = 0};
    buffer_init(&m->bytes, MASKING_BYTES_MAX);
}

void masking_free(struct masking *m)
{
    buffer_free(&m->bytes);
    free(m->secrets);
    masking_init(m);
}

static void add_one(struct masking *m, struct span secret)
{
    if (secret.len < MASKING_SECRET_MIN || secret.len > MASKING_SHOWN_MAX || m->blind)
        return;
    if (m->count == m->capacity) {
        size_t capacity = m->capacity == 0 ? 64 : 2 * m->capacity;
        struct masking_secret *secrets =
            capacity <= MASKING_SECRETS_MAX ? realloc(m->secrets, capacity * sizeof(*secrets)) : NULL;
        m->blind = secrets == NULL;
        if (m->blind)
            return;
        m->secrets = secrets;
        m->capacity = capacity;
    }
    m->secrets[m->count++] = (struct masking_secret){.at = m->bytes.len, .len = secret.len};
    buffer_put(&m->bytes, secret.data, secret.len);
    m->begins[secret.data[0]] = true;
    m->blind = m->bytes.failed;
}

/* A blank is '+' in a form and "%20" elsewhere; a '+' of the secret itself is "%2B" in both. */
static void add_percent_encoded(struct masking *m, struct span form_encoded, size_t room)
{
    struct buffer encoded;
    buffer_init(&encoded, room);
    for (size_t i = 0; i < form_encoded.len; i++)
        if (form_encoded.data[i] == '+')
            buffer_put_text(&encoded, "%20");
        else
            buffer_put(&encoded, form_encoded.data + i, 1);
    if (encoded.failed)
        m->blind = true;
    else if (encoded.len != form_encoded.len)
        add_one(m, buffer_span(&encoded));
    buffer_free(&encoded);
}

static void add_encoded(struct masking *m, struct span secret)
{
    struct buffer encoded;
    buffer_init(&encoded, 3 * secret.len);
    form_put_encoded(&encoded, secret);
    if (encoded.failed)
        m->blind = true;
    else if (memcmp(buffer_span(&encoded).data, secret.data, secret.len) != 0)
        add_one(m, buffer_span(&encoded));
    if (!m->blind)
        add_percent_encoded(m, buffer_span(&encoded), 3 * secret.len);
    buffer_free(&encoded);
}

static int append_json(const char *text, size_t size, void *buffer)
{
    buffer_put(buffer, text, size);
    return ((struct buffer *)buffer)->failed ? -1 : 0;
}

/* What is not UTF-8 stands in no JSON. */
static void add_json(struct masking *m, struct span secret)
{
    struct buffer text;
    json_t *string = json_stringn((const char *)secret.data, secret.len);
    buffer_init(&text, 6 * secret.len + 2);
    if (string != NULL && json_dump_callback(string, append_json, &text, JSON_ENCODE_ANY) != 0)
        m->blind = true;
    else if (string != NULL && text.len > secret.len + 2)
        add_one(m, span_of(buffer_span(&text).data + 1, text.len - 2));
    json_decref(string);
    buffer_free(&text);
}

/* Of what is written like a JWT, the part behind the second dot. */
static void add_signature(struct masking *m, struct span secret)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t dots = 0, last = 0;
    for (size_t i = 0; i < secret.len; i++) {
        if (secret.data[i] == '\0' || strchr(allowed, secret.data[i]) == NULL)
            return;
        if (secret.data[i] == '.') {
            dots++;
            last = i;
        }
    }
    if (dots == 2)
        add_one(m, span_of(secret.data + last + 1, secret.len - last - 1));
}

void masking_add(struct masking *m, struct span secret)
{
    m->any = m->any || secret.len >= MASKING_SECRET_MIN;
    if (secret.len < MASKING_SECRET_MIN || secret.len > MASKING_SHOWN_MAX)
        return;
    add_one(m, secret);
    add_encoded(m, secret);
    add_json(m, secret);
    add_signature(m, secret);
}

/* The length of the longest secret that `text` begins with; 0: of none. */
static size_t secret_at(const struct masking *m, struct span text)
{
    size_t longest = 0;
    if (!m->begins[text.data[0]])
        return 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct masking_secret *s = &m->secrets[i];
        if (s->len > longest && s->len <= text.len && memcmp(buffer_span(&m->bytes).data + s->at, text.data, s->len) == 0)
            longest = s->len;
    }
    return longest;
}

bool masking_finds(const struct masking *m, struct span text)
{
    if (m->blind || (m->any && text.len > MASKING_SHOWN_MAX))
        return true;
    for (size_t i = 0; i < text.len; i++)
        if (secret_at(m, span_of(text.data + i, text.len - i)) > 0)
            return true;
    return false;
}

void masking_put(const struct masking *m, struct buffer *out, struct span text)
{
    struct buffer line;
    size_t masked = 0; /* up to here */
    if (m->blind || text.len > MASKING_SHOWN_MAX) {
        masking_put_length(out, text);
        return;
    }
    buffer_init(&line, sizeof("(masked)") * (MASKING_SHOWN_MAX + 1));
    for (size_t i = 0; i < text.len; i++) {
        size_t end = i + secret_at(m, span_of(text.data + i, text.len - i));
        if (i >= masked && end > i)
            buffer_put_text(&line, "(masked)");
        masked = end > masked ? end : masked; /* they may overlap */
        if (i >= masked)
            buffer_put(&line, text.data[i] != '\0' ? (const char *)text.data + i : "?", 1);
    }
    buffer_put(&line, "", 1);
    if (!line.failed) {
        char *clean = (char *)line.data + line.start;
        text_clean(clean);
        buffer_put_text(out, clean);
    }
    buffer_free(&line);
}

void masking_put_length(struct buffer *out, struct span secret)
{
    char text[48];
    (void)snprintf(text, sizeof(text), "(masked, %zu bytes)", secret.len);
    buffer_put_text(out, text);
}
