/* See x509_subject.h. */
#include "x509_subject.h"

#include "text.h"
#include "x509.h"

#include <openssl/objects.h>
#include <string.h>
#include <strings.h>

#define NEXT "write the subject as CN=name,O=organisation,C=DE, with \\ before a comma that is part of a name"

/* RFC 4514 section 3 names the first nine; the others are common. The lengths that X.520 allows OpenSSL knows. */
static const struct {
    const char *name;
    int nid;
} attributes[] = {
    {"CN", NID_commonName},
    {"L", NID_localityName},
    {"ST", NID_stateOrProvinceName},
    {"O", NID_organizationName},
    {"OU", NID_organizationalUnitName},
    {"C", NID_countryName},
    {"STREET", NID_streetAddress},
    {"DC", NID_domainComponent},
    {"UID", NID_userId},
    {"serialNumber", NID_serialNumber},
    {"emailAddress", NID_pkcs9_emailAddress},
};

static enum status refuse(struct error *e, const char *name, const char *what)
{
    return error_set(e, STATUS_INVALID_ARGUMENT, NEXT, "the subject%s%s %s", name != NULL ? "'s " : "",
                     name != NULL ? name : "", what);
}

/* Reads `NAME=` and moves behind it: the index in `attributes`, -1 for none. */
static int take_attribute(const char **at)
{
    const char *start = *at + strspn(*at, " ");
    const char *equals = strchr(start, '=');
    size_t len = equals != NULL ? (size_t)(equals - start) : 0;
    while (len > 0 && start[len - 1] == ' ')
        len--;
    for (size_t i = 0; len > 0 && i < sizeof(attributes) / sizeof(attributes[0]); i++)
        if (strlen(attributes[i].name) == len && strncasecmp(start, attributes[i].name, len) == 0) {
            *at = equals + 1;
            return (int)i;
        }
    return -1;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* What stands behind a backslash: the character, and in *used how much text it took; -1: no escape of RFC 4514. */
static int escaped(const char *at, size_t *used)
{
    int high = hex_digit(at[0]), low = high >= 0 ? hex_digit(at[1]) : -1;
    *used = low >= 0 ? 2 : 1;
    if (low >= 0)
        return high << 4 | low;
    return at[0] != '\0' && strchr(" \"#+,;<=>\\", at[0]) != NULL ? at[0] : -1;
}

/* Reads a value up to its comma or the end, without the blanks around it. NULL: all is well; otherwise what is not. */
static const char *take_value(const char **at, char out[X509_SUBJECT_MAX], size_t *out_len)
{
    size_t len = 0, keep = 0, used; /* keep: blanks behind it are dropped */
    const char *c = *at + strspn(*at, " ");
    if (*c == '#')
        return "begins with #: values in hexadecimal are not read";
    for (; *c != '\0' && *c != ','; c++) {
        int byte = (uint8_t)*c;
        if (byte == '\\') {
            byte = escaped(c + 1, &used);
            c += used;
            if (byte <= 0)
                return "has a backslash that escapes nothing";
            keep = len + 1;
        } else if (strchr("\"+;<>", byte) != NULL) {
            return "has one of \" + ; < > without a backslash before it";
        } else if (byte != ' ') {
            keep = len + 1;
        }
        out[len++] = (char)byte;
    }
    *at = c;
    *out_len = keep;
    if (keep == 0)
        return "is empty";
    return text_valid(span_of(out, keep)) ? NULL : "is not UTF-8, or has control characters";
}

static enum status take_part(const char **at, X509_NAME *name, struct error *e)
{
    char value[X509_SUBJECT_MAX];
    size_t len;
    int i = take_attribute(at);
    if (i < 0)
        return refuse(e, NULL,
                      "has a part that does not begin with CN=, L=, ST=, O=, OU=, C=, STREET=, DC=, UID=, "
                      "serialNumber= or emailAddress=");
    const char *wrong = take_value(at, value, &len);
    if (wrong != NULL)
        return refuse(e, attributes[i].name, wrong);
    /* At the front: the text has the most specific part first, the name has it last (RFC 4514 section 2.1). */
    if (X509_NAME_add_entry_by_NID(name, attributes[i].nid, MBSTRING_UTF8, (const unsigned char *)value, (int)len, 0,
                                   0) != 1)
        return refuse(e, attributes[i].name,
                      "is too long, too short, or has characters that X.520 does not allow in it");
    return STATUS_OK;
}

enum status x509_subject(const char *text, X509_NAME **out, struct error *e)
{
    if (text[0] == '\0')
        return refuse(e, NULL, "is empty");
    if (strlen(text) >= X509_SUBJECT_MAX)
        return refuse(e, NULL, "is longer than 1 KiB");
    X509_NAME *name = X509_NAME_new();
    if (name == NULL)
        return error_set(e, STATUS_NO_MEMORY, NULL, "no memory for a subject");
    enum status status;
    for (const char *at = text;; at++) { /* over the comma */
        status = take_part(&at, name, e);
        if (status != STATUS_OK || *at == '\0')
            break;
    }
    if (status != STATUS_OK) {
        X509_NAME_free(name);
        return status;
    }
    *out = name;
    return STATUS_OK;
}
