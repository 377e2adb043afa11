/* See uri.h. */
#include "uri.h"

#include <ctype.h>
#include <string.h>

#define SCHEME "pkcs11:"
#define HOW "see RFC 7512; for example pkcs11:token=dpop-agent;object=work?module-path=/usr/lib/softhsm/libsofthsm2.so"

enum part { PATH, QUERY };

/* What p11-kit 0.24 understands, which is what RFC 7512 lists. */
static const struct {
    const char *name;
    enum part part;
} known[] = {
    {"token", PATH},           {"manufacturer", PATH},    {"serial", PATH},
    {"model", PATH},           {"object", PATH},          {"type", PATH},
    {"id", PATH},              {"slot-id", PATH},         {"slot-description", PATH},
    {"slot-manufacturer", PATH}, {"library-manufacturer", PATH}, {"library-description", PATH},
    {"library-version", PATH}, {"module-path", QUERY},    {"module-name", QUERY},
    {"pin-source", QUERY},     {"pin-value", QUERY},
};

static int find_known(struct span name, enum part part)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].part == part && span_is(name, known[i].name))
            return (int)i;
    return -1;
}

static bool allowed(char c, enum part part)
{
    if (isalnum((unsigned char)c))
        return true;
    return c != '\0' && strchr(part == PATH ? "-._~:[]@!$'()*+,=&" : "-._~:[]@!$'()*+,=/?|", c) != NULL;
}

/* RFC 7512 section 2.3's characters; an encoded NUL only in an id, where it cannot cut a text. */
static enum status check_value(struct span name, struct span value, enum part part, struct error *err)
{
    int name_len = (int)name.len;
    const char *n = (const char *)name.data, *v = (const char *)value.data;
    if (value.len == 0)
        return error_set(err, STATUS_CONFIGURATION, HOW, "uri: attribute \"%.*s\" is empty", name_len, n);
    for (size_t i = 0; i < value.len; i++) {
        if (v[i] == '%' && i + 2 < value.len && isxdigit((unsigned char)v[i + 1]) &&
            isxdigit((unsigned char)v[i + 2])) {
            if (v[i + 1] == '0' && v[i + 2] == '0' && !span_is(name, "id"))
                return error_set(err, STATUS_CONFIGURATION, HOW, "uri: attribute \"%.*s\" holds %%00", name_len, n);
            i += 2;
        } else if (!allowed(v[i], part)) {
            return error_set(err, STATUS_CONFIGURATION, "write it as % and two hexadecimal digits",
                             "uri: attribute \"%.*s\" holds the byte 0x%02x, which must be encoded", name_len, n,
                             (unsigned int)(unsigned char)v[i]);
        }
    }
    return STATUS_OK;
}

static enum status check_attribute(struct span attribute, enum part part, uint32_t *seen, struct error *err)
{
    const uint8_t *equals = attribute.len > 0 ? memchr(attribute.data, '=', attribute.len) : NULL;
    if (equals == NULL)
        return error_set(err, STATUS_CONFIGURATION, HOW, "uri: \"%.*s\" is not NAME=VALUE", (int)attribute.len,
                         (const char *)attribute.data);
    size_t name_len = (size_t)(equals - attribute.data);
    struct span name = span_of(attribute.data, name_len);
    struct span value = span_of(equals + 1, attribute.len - name_len - 1);
    int index = find_known(name, part);
    if (index < 0)
        return error_set(err, STATUS_CONFIGURATION, HOW,
                         find_known(name, part == PATH ? QUERY : PATH) >= 0
                             ? "uri: attribute \"%.*s\" is on the wrong side of the question mark"
                             : "uri: unknown attribute \"%.*s\"",
                         (int)name.len, (const char *)name.data);
    if (*seen & (1U << index))
        return error_set(err, STATUS_CONFIGURATION, "keep one of them", "uri: attribute \"%s\" is given twice",
                         known[index].name);
    *seen |= 1U << index;
    /* The value stays out of the message: it is a PIN. */
    if (span_is(name, "pin-value"))
        return error_set(err, STATUS_CONFIGURATION,
                         "remove it, and put the PIN into a file of mode 0600: pin-file = FILE",
                         "uri: pin-value puts a PIN into the configuration");
    return check_value(name, value, part, err);
}

static enum status check_part(struct span rest, enum part part, uint32_t *seen, struct error *err)
{
    char separator = part == PATH ? ';' : '&';
    for (;;) {
        const uint8_t *end = rest.len > 0 ? memchr(rest.data, separator, rest.len) : NULL;
        size_t len = end != NULL ? (size_t)(end - rest.data) : rest.len;
        enum status status = check_attribute(span_of(rest.data, len), part, seen, err);
        if (status != STATUS_OK || end == NULL)
            return status;
        rest = span_of(end + 1, rest.len - len - 1);
    }
}

static enum status check_text(const char *text, struct error *err)
{
    uint32_t seen = 0;
    if (strlen(text) > URI_MAX)
        return error_set(err, STATUS_CONFIGURATION, NULL, "uri: longer than %d bytes", URI_MAX);
    if (strncmp(text, SCHEME, strlen(SCHEME)) != 0)
        return error_set(err, STATUS_CONFIGURATION, HOW, "uri: does not begin with \"" SCHEME "\"");
    text += strlen(SCHEME);
    const char *query = strchr(text, '?');
    size_t path_len = query != NULL ? (size_t)(query - text) : strlen(text);
    enum status status = path_len == 0 ? STATUS_OK : check_part(span_of(text, path_len), PATH, &seen, err);
    if (status == STATUS_OK && query != NULL)
        status = check_part(span_text(query + 1), QUERY, &seen, err);
    return status;
}

static enum status check_module(struct uri *uri, struct error *err)
{
    uri->module_path = p11_kit_uri_get_module_path(uri->parsed);
    uri->module_name = p11_kit_uri_get_module_name(uri->parsed);
    if (uri->module_path == NULL && uri->module_name == NULL)
        return error_set(err, STATUS_CONFIGURATION, HOW, "uri: names no module: module-path is missing");
    if (uri->module_path != NULL && uri->module_name != NULL)
        return error_set(err, STATUS_CONFIGURATION, "keep one of them", "uri: names both module-path and module-name");
    if (uri->module_path != NULL && uri->module_path[0] != '/')
        return error_set(err, STATUS_CONFIGURATION, "write the whole path", "uri: module-path \"%s\" is not absolute",
                         uri->module_path);
    return STATUS_OK;
}

/* RFC 7512 section 2.4: a file: URI, or a path; we run no program ("|…") for it. */
static enum status check_pin_source(struct uri *uri, struct error *err)
{
    const char *source = p11_kit_uri_get_pin_source(uri->parsed);
    if (source == NULL)
        return STATUS_OK;
    if (strncmp(source, "file:", 5) == 0)
        source += strncmp(source, "file:///", 8) == 0 ? 7 : 5;
    if (source[0] != '/' || source[1] == '/')
        return error_set(err, STATUS_CONFIGURATION, "write file:/PATH, or use pin-file = PATH",
                         "uri: pin-source is not the absolute path of a file");
    uri->pin_file = source;
    return STATUS_OK;
}

static enum status check_type(const struct uri *uri, struct error *err)
{
    CK_ATTRIBUTE *class = p11_kit_uri_get_attribute(uri->parsed, CKA_CLASS);
    CK_OBJECT_CLASS value;
    if (class == NULL)
        return STATUS_OK;
    memcpy(&value, class->pValue, sizeof(value));
    if (value != CKO_PRIVATE_KEY)
        return error_set(err, STATUS_CONFIGURATION, "write type=private, or leave it out",
                         "uri: its type is not that of a private key");
    return STATUS_OK;
}

enum status uri_parse(const char *text, struct uri *out, struct error *err)
{
    struct uri uri = {0};
    enum status status = check_text(text, err);
    if (status != STATUS_OK)
        return status;
    uri.parsed = p11_kit_uri_new();
    if (uri.parsed == NULL)
        return error_set(err, STATUS_NO_MEMORY, NULL, "uri: out of memory");
    int result = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri.parsed);
    if (result != P11_KIT_URI_OK)
        status = error_set(err, STATUS_CONFIGURATION, HOW, "uri: %s", p11_kit_uri_message(result));
    else if (p11_kit_uri_any_unrecognized(uri.parsed))
        status = error_set(err, STATUS_CONFIGURATION, HOW, "uri: an attribute has a value that no token can have");
    if (status == STATUS_OK)
        status = check_module(&uri, err);
    if (status == STATUS_OK)
        status = check_pin_source(&uri, err);
    if (status == STATUS_OK)
        status = check_type(&uri, err);
    if (status != STATUS_OK) {
        uri_free(&uri);
        return status;
    }
    *out = uri;
    return STATUS_OK;
}

void uri_free(struct uri *uri)
{
    if (uri->parsed != NULL)
        p11_kit_uri_free(uri->parsed);
    *uri = (struct uri){0};
}

enum status uri_check(const char *text, struct error *err)
{
    struct uri uri;
    enum status status = uri_parse(text, &uri, err);
    if (status == STATUS_OK)
        uri_free(&uri);
    return status;
}

void uri_put_value(struct buffer *out, const char *text, bool query)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *text != '\0'; text++) {
        uint8_t c = (uint8_t)*text;
        char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
        bool plain = isalnum(c) || strchr("-._~", (char)c) != NULL || (query && c == '/');
        buffer_put(out, plain ? (const void *)text : escape, plain ? 1 : sizeof(escape));
    }
}
