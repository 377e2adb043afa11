/* See init_known.h. */
#include "init_known.h"

#include "init_probe.h"
#include "uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED 8

/* The tokens that are meant. */
struct selection {
    const struct init_probe_token *tokens[LISTED];
    size_t count; /* may be more than are listed */
};

typedef bool selects(const struct init_probe_token *t, const void *context);

static struct selection select_tokens(const struct init_probe *p, selects *is_meant, const void *context)
{
    struct selection s = {.count = 0};
    for (size_t i = 0; i < p->count; i++) {
        if (!is_meant(&p->tokens[i], context))
            continue;
        if (s.count < LISTED)
            s.tokens[s.count] = &p->tokens[i];
        s.count++;
    }
    return s;
}

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

/* The fields of PKCS#11, padded with blanks; a NUL inside ends them. */
static void put_attribute(struct buffer *b, const char *name, const CK_UTF8CHAR *field, size_t size)
{
    char value[65] = "";
    while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
        size--;
    memcpy(value, field, size < sizeof(value) ? size : sizeof(value) - 1);
    if (value[0] == '\0')
        return;
    struct span now = buffer_span(b);
    buffer_put_text(b, now.len > 0 && now.data[now.len - 1] == ':' ? "" : ";");
    buffer_put_text(b, name);
    buffer_put_text(b, "=");
    uri_put_value(b, value, false);
}

static void put_module(struct buffer *b, const struct init_probe_module *m)
{
    bool by_path = m->path[0] != '\0';
    buffer_put_text(b, by_path ? "module-path=" : "module-name=");
    uri_put_value(b, by_path ? m->path : m->name, true);
}

static char *take_text(struct buffer *b)
{
    char *text = b->failed ? NULL : span_dup(buffer_span(b));
    buffer_free(b);
    return text;
}

static char *uri_of(const struct init_probe_token *t)
{
    struct buffer b;
    buffer_init(&b, URI_MAX);
    buffer_put_text(&b, "pkcs11:");
    put_attribute(&b, "token", t->info.label, sizeof(t->info.label));
    put_attribute(&b, "manufacturer", t->info.manufacturerID, sizeof(t->info.manufacturerID));
    put_attribute(&b, "serial", t->info.serialNumber, sizeof(t->info.serialNumber));
    buffer_put_text(&b, "?");
    put_module(&b, &t->module);
    return take_text(&b);
}

static enum status too_many(const struct selection *s, const char *next, struct error *err)
{
    char all[440] = "";
    for (size_t i = 0; i < s->count && i < LISTED; i++) {
        char *uri = uri_of(s->tokens[i]);
        size_t len = strlen(all);
        if (uri == NULL)
            return no_memory(err);
        (void)snprintf(all + len, sizeof(all) - len, "%s%s", len > 0 ? " " : "", uri);
        free(uri);
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, next, "%zu tokens can be meant: %s", s->count, all);
}

static bool can_make_keys(const struct init_probe_token *t, const void *context)
{
    (void)context;
    return !(t->info.flags & CKF_WRITE_PROTECTED) && t->makes_keys && t->signs;
}

static void put_note(struct init_known *k, const char *what, const struct init_probe *p)
{
    (void)snprintf(k->note, sizeof(k->note), "%s%s%s%s", what, p->trouble[0] != '\0' ? " (no answer from " : "",
                   p->trouble, p->trouble[0] != '\0' ? ")" : "");
}

enum status init_known_only(struct init_known *out, struct error *err)
{
    static const char *const skipped[] = {"tpm2_pkcs11",   "libsofthsm",    "softhsm2",
                                          "p11-kit-trust", "p11-kit-proxy", NULL};
    struct init_known k = {0};
    struct init_probe p;
    enum status status = init_probe_run(skipped, &p, err);
    if (status != STATUS_OK)
        return status;
    struct selection s = select_tokens(&p, can_make_keys, NULL);
    if (s.count > 1) {
        status = too_many(&s, "choose one with --token URI; or choose --softhsm", err);
    } else if (s.count == 1) {
        put_note(&k, "one token in p11-kit's configuration can make a P-256 key", &p);
        k.uri = uri_of(s.tokens[0]);
        status = k.uri != NULL ? STATUS_OK : no_memory(err);
    } else {
        put_note(&k,
                 p.count > 0 ? "no token in p11-kit's configuration can make a P-256 key"
                             : "no PKCS#11 token in p11-kit's configuration",
                 &p);
    }
    init_probe_free(&p);
    if (status == STATUS_OK)
        *out = k;
    return status;
}

static bool is_named(const struct init_probe_token *t, const void *context)
{
    return p11_kit_uri_match_token_info(context, &t->info) == 1;
}

static enum status complete(struct span uri, const struct selection *s, const struct init_probe *p,
                            struct init_known *out, struct error *err)
{
    struct buffer b;
    if (s->count > 1)
        return too_many(s, "give the whole URI of one", err);
    if (s->count == 0)
        return error_set(err, STATUS_KEY_ABSENT, "plug it in, or name its module: ?module-path=/PATH/OF/MODULE.so",
                         "no token in p11-kit's configuration fits the URI%s%s%s",
                         p->trouble[0] != '\0' ? " (no answer from " : "", p->trouble,
                         p->trouble[0] != '\0' ? ")" : "");
    buffer_init(&b, URI_MAX);
    buffer_put(&b, uri.data, uri.len);
    buffer_put_text(&b, memchr(uri.data, '?', uri.len) != NULL ? "&" : "?");
    put_module(&b, &s->tokens[0]->module);
    out->uri = take_text(&b);
    return out->uri != NULL ? STATUS_OK
                            : error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the URI is longer than %d bytes", URI_MAX);
}

enum status init_known_complete(struct span uri, struct init_known *out, struct error *err)
{
    static const char *const skipped[] = {"p11-kit-trust", "p11-kit-proxy", NULL};
    struct init_known k = {0};
    struct init_probe p;
    P11KitUri *parsed = p11_kit_uri_new();
    char *text = span_dup(uri);
    enum status status = parsed != NULL && text != NULL ? STATUS_OK : no_memory(err);
    if (status == STATUS_OK && p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, parsed) != P11_KIT_URI_OK)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "see RFC 7512; for example pkcs11:token=mine",
                           "\"%.100s\" is no PKCS#11 URI", text);
    if (status == STATUS_OK)
        status = init_probe_run(skipped, &p, err);
    if (status == STATUS_OK) {
        struct selection s = select_tokens(&p, is_named, parsed);
        status = complete(uri, &s, &p, &k, err);
        init_probe_free(&p);
    }
    free(text);
    p11_kit_uri_free(parsed);
    if (status == STATUS_OK)
        *out = k;
    return status;
}

void init_known_free(struct init_known *k)
{
    free(k->uri);
    *k = (struct init_known){0};
}
