/*
 * PKCS#11 URIs (RFC 7512), strict: they choose the key, so nothing in them is guessed or overlooked.
 *
 * p11-kit parses; it accepts duplicate attributes, empty values, unknown attributes and blanks, so the text is scanned
 * first and those are refused. Beyond the RFC: the URI must name its module (an absolute module-path, or the
 * module-name of one that is registered with p11-kit), pin-value is refused, and pin-source must be a file.
 */
#ifndef KEY_URI_H
#define KEY_URI_H

#include "error.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

#define URI_MAX 4096

struct uri {
    P11KitUri *parsed;
    const char *module_path, *module_name; /* exactly one; they and pin_file live as long as `parsed` */
    const char *pin_file;                  /* pin-source, absolute; NULL: none */
};

enum status uri_parse(const char *text, struct uri *out, struct error *err) MUST_CHECK;
void uri_free(struct uri *uri);

/* For checks of the configuration: parses, and loads nothing. */
enum status uri_check(const char *text, struct error *err) MUST_CHECK;

/* Appends `text` percent-encoded as a path attribute's value, or as a query attribute's ('/' stays). */
void uri_put_value(struct buffer *out, const char *text, bool query);

#endif
