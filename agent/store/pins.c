/* See pins.h. */
#include "pins.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "dpop-agent pins 1"
#define COMMENT "# PINs that tokens refused, as salted hashes. To forget them, stop the agent and delete this file."
#define CHECKSUM_SIZE 32
#define NEXT_CORRUPT \
    "restore it, or delete it: then the refused PINs are forgotten, and a wrong one would be tried once more"

static void free_token(struct pins_token *t)
{
    if (t == NULL)
        return;
    free(t->id);
    wipe(t, sizeof(*t));
    free(t);
}

void pins_free(struct pins *pins)
{
    for (size_t i = 0; i < pins->count; i++)
        free_token(pins->tokens[i]);
    free(pins->tokens);
    *pins = (struct pins){0};
}

struct pins_token *pins_find(const struct pins *pins, struct span id)
{
    for (size_t i = 0; i < pins->count; i++)
        if (span_equal(span_of(pins->tokens[i]->id, pins->tokens[i]->id_len), id))
            return pins->tokens[i];
    return NULL;
}

enum status pins_add(struct pins *pins, struct span id, const uint8_t salt[PIN_SALT_SIZE], struct pins_token **out,
                     struct error *err)
{
    if (pins->count >= PINS_TOKENS_MAX)
        return error_set(err, STATUS_STORE_FAILED, "stop the agent and delete the file \"pins\" in its state folder",
                         "the agent remembers refused PINs of %d tokens, and cannot of more", PINS_TOKENS_MAX);
    struct pins_token **tokens = realloc(pins->tokens, (pins->count + 1) * sizeof(struct pins_token *));
    if (tokens != NULL)
        pins->tokens = tokens;
    struct pins_token *t = calloc(1, sizeof(*t));
    if (t != NULL)
        t->id = malloc(id.len + 1);
    if (tokens == NULL || t == NULL || t->id == NULL) {
        free_token(t);
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    if (id.len > 0)
        memcpy(t->id, id.data, id.len);
    t->id_len = id.len;
    memcpy(t->salt, salt, PIN_SALT_SIZE);
    tokens[pins->count++] = t;
    *out = t;
    return STATUS_OK;
}

static size_t find_verifier(const struct pins_verifiers *v, const uint8_t verifier[PIN_VERIFIER_SIZE])
{
    size_t i = 0;
    while (i < v->count && memcmp(v->items[i], verifier, PIN_VERIFIER_SIZE) != 0)
        i++;
    return i;
}

static void remove_at(struct pins_verifiers *v, size_t at)
{
    memmove(v->items[at], v->items[at + 1], (v->count - at - 1) * PIN_VERIFIER_SIZE);
    v->count--;
}

static bool remove_verifier(struct pins_verifiers *v, const uint8_t verifier[PIN_VERIFIER_SIZE])
{
    size_t at = find_verifier(v, verifier);
    if (at == v->count)
        return false;
    remove_at(v, at);
    return true;
}

static bool add_verifier(struct pins_verifiers *v, size_t max, const uint8_t verifier[PIN_VERIFIER_SIZE])
{
    if (find_verifier(v, verifier) < v->count)
        return false;
    if (v->count == max)
        remove_at(v, 0);
    memcpy(v->items[v->count++], verifier, PIN_VERIFIER_SIZE);
    return true;
}

bool pins_record(struct pins_token *token, const uint8_t verifier[PIN_VERIFIER_SIZE], enum pin_verdict verdict)
{
    bool changed = false;
    switch (verdict) {
    case PIN_TRYING:
        return add_verifier(&token->trying, PINS_VERIFIERS_MAX, verifier);
    case PIN_REFUSED:
        changed = remove_verifier(&token->trying, verifier);
        return add_verifier(&token->refused, PINS_VERIFIERS_MAX, verifier) || changed;
    case PIN_ACCEPTED:
        changed = remove_verifier(&token->trying, verifier);
        return remove_verifier(&token->refused, verifier) || changed;
    case PIN_UNKNOWN:
        return remove_verifier(&token->trying, verifier);
    case PIN_DOUBTED:
        changed = token->accepted.count > 0;
        token->accepted.count = 0;
        if (changed)
            (void)remove_verifier(&token->trying, verifier);
        return changed;
    }
    return false;
}

bool pins_accepted(struct pins_token *token, const uint8_t source[PIN_SOURCE_SIZE])
{
    _Static_assert(PIN_SOURCE_SIZE == PIN_VERIFIER_SIZE, "both are kept in the same kind of list");
    return add_verifier(&token->accepted, PINS_ACCEPTED_MAX, source);
}

static void put_hex(struct buffer *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++)
        buffer_put(out, (const char[]){digits[bytes[i] >> 4], digits[bytes[i] & 15]}, 2);
}

static void put_hex_line(struct buffer *out, const char *word, const uint8_t *bytes, size_t n)
{
    buffer_put_text(out, word);
    buffer_put_text(out, " ");
    put_hex(out, bytes, n);
    buffer_put_text(out, "\n");
}

/* A token's id on one line: what is not printable ASCII, and '%', is written as '%' and two hex digits. */
static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '%';
}

static void put_id(struct buffer *out, const struct pins_token *t)
{
    for (size_t i = 0; i < t->id_len; i++) {
        if (is_plain(t->id[i])) {
            buffer_put(out, &t->id[i], 1);
        } else {
            buffer_put_text(out, "%");
            put_hex(out, &t->id[i], 1);
        }
    }
}

static void checksum(struct span text, uint8_t out[CHECKSUM_SIZE])
{
    (void)crypto_generichash(out, CHECKSUM_SIZE, text.data, text.len, NULL, 0);
}

void pins_write(const struct pins *pins, struct buffer *out)
{
    uint8_t sum[CHECKSUM_SIZE];
    size_t begin = out->len;

    buffer_put_text(out, FIRST_LINE "\n" COMMENT "\n");
    for (size_t i = 0; i < pins->count; i++) {
        const struct pins_token *t = pins->tokens[i];
        buffer_put_text(out, "token ");
        put_id(out, t);
        buffer_put_text(out, "\n");
        put_hex_line(out, "salt", t->salt, PIN_SALT_SIZE);
        for (size_t j = 0; j < t->refused.count; j++)
            put_hex_line(out, "refused", t->refused.items[j], PIN_VERIFIER_SIZE);
        for (size_t j = 0; j < t->trying.count; j++)
            put_hex_line(out, "trying", t->trying.items[j], PIN_VERIFIER_SIZE);
        for (size_t j = 0; j < t->accepted.count; j++)
            put_hex_line(out, "accepted", t->accepted.items[j], PIN_VERIFIER_SIZE);
    }
    if (out->failed)
        return;
    struct span text = buffer_span(out);
    checksum(span_of(text.data + begin, text.len - begin), sum);
    put_hex_line(out, "checksum", sum, sizeof(sum));
}

struct reader {
    struct span whole, rest;
    unsigned int number; /* of the line */
    struct pins *pins;
    struct pins_token *token; /* the last one; NULL before the first */
    bool salted;              /* it has its salt */
    struct error *err;
};

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int take_hex(struct span text, uint8_t *out, size_t n)
{
    if (text.len != 2 * n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text.data[2 * i]), low = hex_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return -1;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static int take_id(struct span text, struct buffer *out)
{
    while (text.len > 0) {
        uint8_t c = text.data[0];
        size_t used = 1;
        if (c == '%') {
            used = 3;
            if (text.len < used || take_hex(span_of(text.data + 1, 2), &c, 1) != 0 || is_plain(c))
                return -1;
        } else if (!is_plain(c)) {
            return -1;
        }
        buffer_put(out, &c, 1);
        text = span_of(text.data + used, text.len - used);
    }
    return out->failed ? -1 : 0;
}

static const char *take_token(struct reader *r, struct span value)
{
    static const uint8_t no_salt[PIN_SALT_SIZE];
    const char *wrong = NULL;
    struct buffer id;

    if (r->token != NULL && !r->salted)
        return "the token before has no salt";
    buffer_init(&id, LIMIT_URL);
    if (take_id(value, &id) != 0)
        wrong = "the token's name is not written as it should be";
    else if (pins_find(r->pins, buffer_span(&id)) != NULL)
        wrong = "the token stands twice";
    else if (pins_add(r->pins, buffer_span(&id), no_salt, &r->token, r->err) != STATUS_OK)
        wrong = "too many tokens, or out of memory";
    buffer_free(&id);
    r->salted = false;
    return wrong;
}

static const char *take_verifier(const struct reader *r, struct span value, struct pins_verifiers *v, size_t max)
{
    uint8_t verifier[PIN_VERIFIER_SIZE];
    if (!r->salted)
        return "a verifier stands before its salt";
    if (take_hex(value, verifier, sizeof(verifier)) != 0)
        return "a verifier is not 64 hex digits";
    if (v->count == max || !add_verifier(v, max, verifier))
        return "a verifier too many, or twice";
    return NULL;
}

static bool take_word(struct span *line, const char *word)
{
    size_t n = strlen(word);
    if (line->len <= n || memcmp(line->data, word, n) != 0 || line->data[n] != ' ')
        return false;
    *line = span_of(line->data + n + 1, line->len - n - 1);
    return true;
}

/* Takes one line into the model. NULL, or what is wrong with it. */
static const char *take_line(struct reader *r, struct span line)
{
    if (r->number == 1)
        return span_is(line, FIRST_LINE) ? NULL : "the first line is not \"" FIRST_LINE "\"";
    if (line.len > 0 && line.data[0] == '#')
        return NULL;
    if (take_word(&line, "token"))
        return take_token(r, line);
    if (r->token == NULL)
        return "a line stands before the first token";
    if (take_word(&line, "salt")) {
        if (r->salted || take_hex(line, r->token->salt, PIN_SALT_SIZE) != 0)
            return "a salt is not 32 hex digits, or stands twice";
        r->salted = true;
        return NULL;
    }
    if (take_word(&line, "refused"))
        return take_verifier(r, line, &r->token->refused, PINS_VERIFIERS_MAX);
    if (take_word(&line, "trying"))
        return take_verifier(r, line, &r->token->trying, PINS_VERIFIERS_MAX);
    if (take_word(&line, "accepted"))
        return take_verifier(r, line, &r->token->accepted, PINS_ACCEPTED_MAX);
    return "the line is not known";
}

/* The last line: nothing may follow it. */
static const char *take_checksum(const struct reader *r, struct span value, size_t covered)
{
    uint8_t expected[CHECKSUM_SIZE], found[CHECKSUM_SIZE];
    if (r->token != NULL && !r->salted)
        return "the last token has no salt";
    if (r->rest.len > 0)
        return "something stands behind the checksum";
    checksum(span_of(r->whole.data, covered), expected);
    if (take_hex(value, found, sizeof(found)) != 0 || memcmp(expected, found, sizeof(found)) != 0)
        return "the checksum does not fit what stands before it";
    return NULL;
}

static const char *take_text(struct reader *r)
{
    for (;;) {
        size_t covered = r->whole.len - r->rest.len;
        const uint8_t *end = r->rest.len > 0 ? memchr(r->rest.data, '\n', r->rest.len) : NULL;
        r->number++;
        if (end == NULL)
            return "the file ends without its checksum";
        struct span line = span_of(r->rest.data, (size_t)(end - r->rest.data));
        r->rest = span_of(end + 1, r->rest.len - line.len - 1);
        if (r->number > 1 && take_word(&line, "checksum"))
            return take_checksum(r, line, covered);
        const char *wrong = take_line(r, line);
        if (wrong != NULL)
            return wrong;
    }
}

enum status pins_read(struct span text, const char *path, struct pins *out, struct error *err)
{
    struct pins pins = {0};
    struct error add_error;
    struct reader r = {.whole = text, .rest = text, .pins = &pins, .err = &add_error};
    const char *wrong = take_text(&r);
    if (wrong != NULL) {
        pins_free(&pins);
        return error_set(err, STATUS_STORE_FAILED, NEXT_CORRUPT, "%s:%u: %s: the file is not used", path, r.number,
                         wrong);
    }
    *out = pins;
    return STATUS_OK;
}
