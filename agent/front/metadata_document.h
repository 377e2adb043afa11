/*
 * A server's metadata document as it came: an authorization server's (RFC 8414, OpenID Connect Discovery) or a protected
 * resource's (RFC 9728). Where it stands, what it says, and what a profile demands of it. Pure: no fetch, no clock.
 */
#ifndef FRONT_METADATA_DOCUMENT_H
#define FRONT_METADATA_DOCUMENT_H

#include "internal.h"
#include "internal.h"
#include "metadata.h"
#include "url.h"

#define METADATA_ENDPOINTS 7

enum metadata_form {
    METADATA_OAUTH,    /* RFC 8414 section 3.1: the well-known part between host and path */
    METADATA_OPENID,   /* OpenID Connect: behind the path */
    METADATA_RESOURCE, /* RFC 9728 section 3.1: between host and path of the resource */
};

struct metadata_document {
    struct server_metadata server;       /* as the document has it; of a resource's: the issuer alone */
    char *aliases[METADATA_ENDPOINTS];   /* mtls_endpoint_aliases (RFC 8705 section 5); NULL: none */
    bool lists_dpop_algorithms;          /* the list may be empty */
};

/* `subject`: an issuer or a resource. -1: the URL would be too long. */
int metadata_document_url(enum metadata_form form, const char *subject, char out[URL_SIZE]) MUST_CHECK;

/* Fills `out`, which is empty, from an answer with status 200; on failure it stays empty. `err` has no profile in it. */
enum status metadata_document_read(const struct fetch_answer *a, const char *issuer, bool allow_http_loopback,
                                   struct metadata_document *out, struct error *err) MUST_CHECK;
enum status metadata_document_read_resource(const struct fetch_answer *a, const char *resource, bool allow_http_loopback,
                                            struct metadata_document *out, struct error *err) MUST_CHECK;
void metadata_document_free(struct metadata_document *d); /* leaves it empty */

/* What a profile (NULL: one that is not there yet) uses: the document (NULL: none is looked up), aliases in their places,
   and what the configuration names over all. *out is empty before, and after a failure. */
enum status metadata_document_use(const struct metadata_document *d, const struct profile_config *p, struct server_metadata *out,
                                  struct error *err) MUST_CHECK;
/* The rules that a document may break for one profile and keep for another. */
enum status metadata_document_judge(const struct metadata_document *d, const struct profile_config *p,
                                    struct error *err) MUST_CHECK;
void metadata_document_free_server(struct server_metadata *server); /* leaves it empty */

#endif
