/*
 * See metadata.h. An inquiry is somebody who wants a profile's metadata: it goes through one document or two (documents.h),
 * that of the resource first, where no issuer is named. Each profile has its own view of its document.
 */
#include "metadata.h"

#include "documents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000)
#define KEPT_FOR (3600 * SECOND)
#define FAULTY_KEPT_FOR (60 * SECOND) /* a document that breaks a profile's rules */
#define STAGE "discovery"

struct inquiry {
    struct metadata *all;
    const struct profile_config *profile; /* NULL: metadata_find, with the next four */
    char *issuer, *resource, *ca_file;
    bool allow_http_loopback;
    bool renew;
    uint64_t began, deadline;
    metadata_done done;
    void *context;
};

struct view {
    struct server_metadata server;
    bool known, faulty;
    uint64_t serial; /* of the document that it was made of */
};

struct metadata {
    struct front *front;
    struct view *views; /* one for each profile */
    struct documents *documents;
};

int metadata_open(struct front *f)
{
    struct metadata *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return -1;
    f->metadata = m;
    m->front = f;
    m->views = calloc(f->config->profile_count + 1, sizeof(*m->views));
    m->documents = documents_new(f);
    return m->views != NULL && m->documents != NULL ? 0 : -1;
}

void metadata_free(struct metadata *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; m->views != NULL && i < m->front->config->profile_count; i++)
        metadata_document_free_server(&m->views[i].server);
    documents_free(m->documents);
    free(m->views);
    free(m);
}

static struct view *view_of(const struct metadata *m, const struct profile_config *profile)
{
    return &m->views[profile - m->front->config->profiles];
}

/* --- the end of an inquiry --- */

static void free_inquiry(struct inquiry *q)
{
    free(q->issuer);
    free(q->resource);
    free(q->ca_file);
    free(q);
}

static void refuse(struct inquiry *q, const struct error *failure)
{
    struct error err = *failure;
    if (q->profile != NULL) {
        int n = snprintf(err.message, sizeof(err.message), "profile \"%s\": ", q->profile->name);
        error_put_text(err.message + n, sizeof(err.message) - (size_t)n, span_text(failure->message));
    }
    error_put_text(err.stage, sizeof(err.stage), span_text(STAGE));
    q->done(q->context, &err, NULL);
    free_inquiry(q);
}

/* Makes the profile's view anew if the document (NULL: none is looked up) is another than last time. */
static enum status see(struct inquiry *q, const struct metadata_document *d, uint64_t serial, struct error *err)
{
    struct view *v = view_of(q->all, q->profile);
    struct server_metadata server = {.issuer = NULL};
    if (v->known && v->serial == serial)
        return STATUS_OK;
    enum status status = d != NULL ? metadata_document_judge(d, q->profile, err) : STATUS_OK;
    v->faulty = status != STATUS_OK;
    if (status == STATUS_OK)
        status = metadata_document_use(d, q->profile, &server, err);
    if (status != STATUS_OK)
        return status;
    metadata_document_free_server(&v->server);
    *v = (struct view){.server = server, .known = true, .serial = serial};
    return STATUS_OK;
}

/* For metadata_renew, whose caller judges for itself; what everybody else uses is made anew on the way. */
static void show(struct inquiry *q, const struct metadata_document *d, uint64_t serial)
{
    struct server_metadata server = {.issuer = NULL};
    struct error err;
    (void)!see(q, d, serial, &err);
    if (metadata_document_use(d, q->profile, &server, &err) != STATUS_OK) {
        refuse(q, &err);
        return;
    }
    q->done(q->context, NULL, &server);
    metadata_document_free_server(&server);
    free_inquiry(q);
}

static void answer(struct inquiry *q, const struct metadata_document *d, uint64_t serial)
{
    struct error err;
    if (q->renew) {
        show(q, d, serial);
        return;
    }
    enum status status = q->profile != NULL ? see(q, d, serial, &err) : metadata_document_judge(d, NULL, &err);
    if (status != STATUS_OK) {
        refuse(q, &err);
        return;
    }
    q->done(q->context, NULL, q->profile != NULL ? &view_of(q->all, q->profile)->server : &d->server);
    free_inquiry(q);
}

/* --- its documents --- */

static void want(struct inquiry *q, bool of_resource, const char *subject);

static void on_server(void *context, const struct error *err, const struct metadata_document *d, uint64_t serial)
{
    if (err != NULL)
        refuse(context, err);
    else
        answer(context, d, serial);
}

static void on_resource(void *context, const struct error *err, const struct metadata_document *d, uint64_t serial)
{
    (void)serial;
    if (err != NULL)
        refuse(context, err);
    else
        want(context, false, d->server.issuer);
}

static void want(struct inquiry *q, bool of_resource, const char *subject)
{
    const struct profile_config *p = q->profile;
    bool faulty = p != NULL && !of_resource && view_of(q->all, p)->faulty;
    struct document_query query = {.of_resource = of_resource,
                                   .subject = subject,
                                   .ca_file = p != NULL ? p->ca_file : q->ca_file,
                                   .allow_http_loopback = p != NULL ? p->allow_http_loopback : q->allow_http_loopback,
                                   .profile = p,
                                   .max_age = faulty ? FAULTY_KEPT_FOR : KEPT_FOR,
                                   .renew = q->renew,
                                   .began = q->began,
                                   .deadline = q->deadline};
    documents_get(q->all->documents, &query, of_resource ? on_resource : on_server, q);
}

/* --- the beginning --- */

/* Must something be looked up for this profile? */
static bool is_configured(const struct profile_config *p)
{
    if (p->issuer == NULL)
        return p->token_endpoint != NULL;
    return !p->fapi2 && p->token_endpoint != NULL &&
           (p->grant != GRANT_AUTHORIZATION_CODE || p->authorization_endpoint != NULL) &&
           (p->grant != GRANT_DEVICE_CODE || p->device_authorization_endpoint != NULL);
}

static struct inquiry *begin(struct metadata *m, uint64_t deadline, metadata_done done, void *context)
{
    struct inquiry *q = calloc(1, sizeof(*q));
    struct error err;
    if (q == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL);
        return NULL;
    }
    *q = (struct inquiry){.all = m, .began = front_now(m->front), .deadline = deadline, .done = done, .context = context};
    return q;
}

static void inquire(struct metadata *m, const struct profile_config *profile, bool renew, uint64_t deadline, metadata_done done,
                    void *context)
{
    struct inquiry *q = begin(m, deadline, done, context);
    struct error err;
    if (q == NULL)
        return;
    q->profile = profile;
    q->renew = renew;
    if (is_configured(profile)) {
        answer(q, NULL, 0);
    } else if (profile->issuer != NULL) {
        want(q, false, profile->issuer);
    } else if (profile->resources.count > 0) {
        want(q, true, profile->resources.items[0]);
    } else {
        (void)error_set(&err, STATUS_CONFIGURATION, "add issuer", "it names neither issuer nor resource nor token-endpoint");
        refuse(q, &err);
    }
}

void metadata_get(struct metadata *m, const struct profile_config *profile, uint64_t deadline, metadata_done done, void *context)
{
    inquire(m, profile, false, deadline, done, context);
}

void metadata_renew(struct metadata *m, const struct profile_config *profile, uint64_t deadline, metadata_done done, void *context)
{
    inquire(m, profile, true, deadline, done, context);
}

const struct server_metadata *metadata_known(const struct metadata *m, const struct profile_config *profile)
{
    const struct view *v = view_of(m, profile);
    return v->known ? &v->server : NULL;
}

static int copy_text(const char *from, char **to)
{
    *to = from != NULL ? strdup(from) : NULL;
    return from == NULL || *to != NULL ? 0 : -1;
}

void metadata_find(struct metadata *m, const struct metadata_query *query, uint64_t deadline, metadata_done done, void *context)
{
    struct inquiry *q = begin(m, deadline, done, context);
    struct error err;
    if (q == NULL)
        return;
    q->allow_http_loopback = query->allow_http_loopback;
    if (copy_text(query->issuer, &q->issuer) != 0 || copy_text(query->resource, &q->resource) != 0 ||
        copy_text(query->ca_file, &q->ca_file) != 0) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        refuse(q, &err);
    } else if (q->issuer == NULL && q->resource == NULL) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, "give an issuer or an API's URL", "no server is named");
        refuse(q, &err);
    } else {
        want(q, q->issuer == NULL, q->issuer != NULL ? q->issuer : q->resource);
    }
}

void metadata_tick(struct metadata *m, uint64_t now)
{
    documents_tick(m->documents, now);
}

bool metadata_waiting(const struct metadata *m)
{
    return documents_waiting(m->documents);
}
