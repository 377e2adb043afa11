/*
 * Any bytes as what comes back from a login: the redirect's query, a Date header, an id_token's claims (a line each: iss,
 * sub, nonce, azp, then the audiences), and a form behind an authorization endpoint. No crash; what is read is text
 * within its limits, and comes out the same when it is encoded and read once more; nothing is believed without the state; an
 * id_token that passes is for us.
 */
#include "authorization_url.h"
#include "form.h"
#include "id_token.h"
#include "redirect.h"
#include "skew.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

#define LINES 8
#define NOW 1795262400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void put(struct buffer *query, const char *name, const char *value)
{
    must(value == NULL || (value[0] != '\0' && text_valid(span_text(value))));
    if (value != NULL)
        form_put(query, name, span_text(value));
}

static void same(const char *a, const char *b)
{
    must(a == NULL ? b == NULL : b != NULL && strcmp(a, b) == 0);
}

static void check(const struct redirect *r)
{
    struct redirect_expected expected = {.state = "state", .issuer = "https://as.example", .where = "fuzz"};
    struct error err = {0};
    enum status status = redirect_check(r, &expected, &err);
    bool ours = r->state != NULL && strcmp(r->state, "state") == 0;
    must(r->code == NULL || strlen(r->code) <= REDIRECT_CODE_MAX);
    must(status == STATUS_OK || (err.status == status && err.message[0] != '\0'));
    must(ours || status == STATUS_SERVER_MISBEHAVED);
    must(status != STATUS_OK || (r->code != NULL && r->error == NULL));
    must(status != STATUS_SERVER_REFUSED || r->error != NULL);
    must(status == STATUS_SERVER_MISBEHAVED || r->iss == NULL || strcmp(r->iss, expected.issuer) == 0);
}

static void fuzz_redirect(struct span query)
{
    struct redirect redirect, again;
    struct error err = {0};
    struct buffer encoded;
    if (redirect_read(query, &redirect, &err) != STATUS_OK) {
        must(err.message[0] != '\0' && err.status != STATUS_OK);
        return;
    }
    check(&redirect);
    buffer_init(&encoded, 4 * REDIRECT_QUERY_MAX);
    put(&encoded, "code", redirect.code);
    put(&encoded, "state", redirect.state);
    put(&encoded, "iss", redirect.iss);
    put(&encoded, "error", redirect.error);
    put(&encoded, "error_description", redirect.error_description);
    put(&encoded, "error_uri", redirect.error_uri);
    must(!encoded.failed);
    if (encoded.len <= REDIRECT_QUERY_MAX) { /* encoding may lengthen it */
        must(redirect_read(buffer_span(&encoded), &again, &err) == STATUS_OK);
        same(redirect.code, again.code);
        same(redirect.state, again.state);
        same(redirect.iss, again.iss);
        same(redirect.error, again.error);
        same(redirect.error_description, again.error_description);
        same(redirect.error_uri, again.error_uri);
        redirect_free(&again);
    }
    buffer_free(&encoded);
    redirect_free(&redirect);
}

static void fuzz_date(struct span date)
{
    int64_t seconds = 0;
    struct skew_table *table = skew_table_new(1, 3600);
    must(table != NULL);
    bool read = skew_parse_date(date, &seconds) == 0;
    bool learned = skew_learn(table, "https://as.example", date, NOW, 0);
    int64_t skew = skew_get(table, "https://as.example");
    must(!learned || (read && skew == seconds - NOW));
    must(learned == (skew != 0) && skew >= -3600 && skew <= 3600);
    must(!read || (date.len >= 24 && date.len <= 33));
    skew_table_free(table);
}

static void fuzz_id_token(struct span text)
{
    struct span lines[LINES] = {{0}};
    size_t count = 0;
    for (size_t at = 0; at < text.len && count < LINES;) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = (end != NULL ? (size_t)(end - text.data) : text.len) - at;
        lines[count++] = span_of(text.data + at, len);
        at += len + 1;
    }
    struct id_token_claims claims = {.iss = lines[0], .sub = lines[1], .nonce = lines[2], .azp = lines[3]};
    claims.aud = (struct list){.items = lines + 4, .count = count > 4 ? count - 4 : 0};
    claims.has_exp = claims.has_iat = true;
    claims.exp = NOW;
    struct id_token_expected expected = {.issuer = span_text("https://as.example"), .client_id = span_text("app"),
                                         .nonce = span_text("n"), .now = NOW, .where = "fuzz"};
    struct error err = {0};
    enum status status = id_token_check(&claims, &expected, &err);
    must(status == STATUS_OK || (status == STATUS_SERVER_MISBEHAVED && text_valid(span_text(err.message))));
    if (status == STATUS_OK) {
        must(span_is(lines[0], "https://as.example") && lines[1].len > 0 && span_is(lines[2], "n"));
        must(lines[3].data == NULL || span_is(lines[3], "app"));
        must(claims.aud.count > 0 && (claims.aud.count == 1 || span_is(lines[3], "app")));
    }
}

static void fuzz_url(struct span form)
{
    static char out[AUTHORIZATION_URL_SIZE];
    static const char endpoint[] = "https://as.example/auth?code=1";
    if (authorization_url(endpoint, form, out, sizeof(out)) == 0)
        must(strncmp(out, endpoint, strlen(endpoint)) == 0 && (form.len < 5 || memcmp(form.data, "code=", 5) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1); /* of its own, so that a read behind the end is seen */
    must(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    struct span text = span_of(copy, size);
    fuzz_redirect(text);
    fuzz_date(text);
    fuzz_id_token(text);
    fuzz_url(text);
    free(copy);
    return 0;
}
