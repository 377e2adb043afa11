/* A certificate's subject from its text (see x509.h), which is RFC 4514 without its rarer forms. */
#ifndef DECIDE_X509_SUBJECT_H
#define DECIDE_X509_SUBJECT_H

#include "error.h"

#include <openssl/x509.h>

/* The caller frees *out with X509_NAME_free. STATUS_INVALID_ARGUMENT: the text, or a part's value, is not right. */
enum status x509_subject(const char *text, X509_NAME **out, struct error *e) MUST_CHECK;

#endif
