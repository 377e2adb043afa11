/*
 * Metadata documents of servers: fetched, kept, shared by all who want the same one, and asked for again not more often
 * than backoff.h says. Who waits for a fetch does so until its own deadline.
 *
 * A document that cannot be renewed is used on; nobody waits for its renewal for longer than two seconds.
 */
#ifndef FRONT_DOCUMENTS_H
#define FRONT_DOCUMENTS_H

#include "metadata_document.h"

struct documents;

struct document_query {
    bool of_resource;
    const char *subject; /* issuer or resource */
    const char *ca_file; /* NULL: the system's */
    bool allow_http_loopback;
    const struct profile_config *profile; /* whose session log has the fetch; NULL: nobody's, and the document is not kept */
    uint64_t max_age;  /* microseconds */
    bool renew;        /* one that came after `began` is wanted, in spite of back-off, or the reason why there is none */
    uint64_t began;
    uint64_t deadline;
};

/* Called once. `err` NULL: the document, which lives during the call; `serial` is another for each that was fetched. */
typedef void (*document_done)(void *context, const struct error *err, const struct metadata_document *document, uint64_t serial);

struct documents *documents_new(struct front *f); /* NULL: out of memory */
void documents_free(struct documents *all);
void documents_get(struct documents *all, const struct document_query *query, document_done done, void *context);
void documents_tick(struct documents *all, uint64_t now);
bool documents_waiting(const struct documents *all);

#endif
