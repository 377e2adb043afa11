/* See documents.h. */
#include "documents.h"

#include "answer.h"
#include "backoff.h"
#include "children.h"
#include "log.h"
#include "trace.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000)
#define STALE_PATIENCE (2 * SECOND) /* for the renewal of a document that could be used on */
#define NET_GRACE SECOND            /* for the net process's own words about a time-out */
#define SERVERS_MAX 1024
#define KEY_SIZE (URL_SIZE + LIMIT_TEXT + sizeof("document  "))

struct waiter {
    struct waiter *next;
    bool renew;
    uint64_t until;
    document_done done;
    void *context;
};

/* Shared by those for whom the first four are the same; or, for a query without a profile, gone with its one waiter. */
struct document {
    struct document *next;
    struct documents *all;
    bool of_resource;
    char *subject;
    char *ca_file;
    bool allow_http_loopback;
    bool passing; /* not kept */
    bool known;
    struct metadata_document content;
    uint64_t fetched, serial; /* of the content */
    struct error failure;     /* of the last fetch */
    bool fetching;
    enum metadata_form form;
    uint64_t sent_at, deadline;
    const struct profile_config *asker;
    struct waiter *waiters;
};

struct documents {
    struct front *front;
    struct document *first;
    uint64_t last_serial;
    struct backoff_table *backoff; /* servers that do not answer, and documents that are no good */
};

static void fetch(struct document *d);

struct documents *documents_new(struct front *f)
{
    struct documents *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return NULL;
    all->front = f;
    all->backoff = backoff_table_new(SERVERS_MAX);
    if (all->backoff != NULL)
        return all;
    free(all);
    return NULL;
}

static void free_document(struct document *d)
{
    metadata_document_free(&d->content);
    free(d->subject);
    free(d->ca_file);
    free(d);
}

/* Who waits has been told by then: the calls to the net process ended before (children_end). */
void documents_free(struct documents *all)
{
    if (all == NULL)
        return;
    while (all->first != NULL) {
        struct document *d = all->first;
        all->first = d->next;
        free_document(d);
    }
    backoff_table_free(all->backoff);
    free(all);
}

static void remove_document(struct document *d)
{
    struct document **p = &d->all->first;
    while (*p != d)
        p = &(*p)->next;
    *p = d->next;
    free_document(d);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static struct document *find_or_add(struct documents *all, const struct document_query *q)
{
    for (struct document *d = all->first; d != NULL && q->profile != NULL; d = d->next)
        if (!d->passing && d->of_resource == q->of_resource && strcmp(d->subject, q->subject) == 0 &&
            d->allow_http_loopback == q->allow_http_loopback && same_text(d->ca_file, q->ca_file))
            return d;
    struct document *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    *d = (struct document){.next = all->first, .all = all, .of_resource = q->of_resource, .subject = strdup(q->subject),
                           .allow_http_loopback = q->allow_http_loopback, .passing = q->profile == NULL};
    d->ca_file = q->ca_file != NULL ? strdup(q->ca_file) : NULL;
    if (d->subject == NULL || (q->ca_file != NULL && d->ca_file == NULL)) {
        free_document(d);
        return NULL;
    }
    all->first = d;
    return d;
}

/* --- waiters: what they do may bring new ones --- */

static void give(const struct document *d, struct waiter *w, const struct error *err)
{
    bool usable = err == NULL || (d->known && !w->renew);
    w->done(w->context, usable ? NULL : err, usable ? &d->content : NULL, d->serial);
    free(w);
}

static void tell(struct document *d, const struct error *err)
{
    struct waiter *waiters = d->waiters;
    bool passing = d->passing;
    d->waiters = NULL;
    d->fetching = false;
    while (waiters != NULL) {
        struct waiter *w = waiters;
        waiters = w->next;
        give(d, w, err);
    }
    if (passing)
        remove_document(d);
}

static void expire(struct document *d, uint64_t now)
{
    struct waiter *due = NULL;
    struct error err;
    for (struct waiter **p = &d->waiters; *p != NULL;) {
        struct waiter *w = *p;
        if (now < w->until) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->next = due;
        due = w;
    }
    (void)error_set(&err, STATUS_TIMEOUT, "try again", "the metadata of %s have not come in time", d->subject);
    while (due != NULL) {
        struct waiter *w = due;
        due = w->next;
        give(d, w, &err);
    }
}

void documents_tick(struct documents *all, uint64_t now)
{
    for (struct document *d = all->first; d != NULL; d = d->next)
        expire(d, now); /* documents come in front of the list, and one that has a fetch under way does not go */
}

bool documents_waiting(const struct documents *all)
{
    for (const struct document *d = all->first; d != NULL; d = d->next)
        if (d->waiters != NULL)
            return true;
    return false;
}

/* --- back-off --- */

/* What failures are counted by: the server, and the document. The CA belongs to both, since one that does not fit is no
   trouble of others. */
static const char *key_of(const struct document *d, bool of_server, char out[KEY_SIZE])
{
    char origin[URL_ORIGIN_SIZE];
    struct error err;
    bool whole = !of_server || url_origin(span_text(d->subject), origin, sizeof(origin), &err) != STATUS_OK;
    (void)snprintf(out, KEY_SIZE, "%s %s %s", of_server ? "server" : "document", whole ? d->subject : origin,
                   d->ca_file != NULL ? d->ca_file : "");
    return out;
}

static void count_failure(struct document *d, const struct error *err, bool of_server)
{
    char key[KEY_SIZE];
    backoff_failed(d->all->backoff, key_of(d, of_server, key), d->sent_at, front_now(d->all->front), err->retry_after,
                   randombytes_random());
}

static void count_success(struct document *d)
{
    char key[KEY_SIZE];
    backoff_succeeded(d->all->backoff, key_of(d, true, key));
    backoff_succeeded(d->all->backoff, key_of(d, false, key));
}

/* 0: the document may be fetched. */
static uint64_t not_before(const struct document *d, uint64_t now)
{
    char key[KEY_SIZE];
    uint64_t of_server = backoff_until(d->all->backoff, key_of(d, true, key));
    uint64_t of_document = backoff_until(d->all->backoff, key_of(d, false, key));
    uint64_t until = of_server > of_document ? of_server : of_document;
    return until > now ? until : 0;
}

/* --- a fetch --- */

static bool is_servers_trouble(enum status status)
{
    return status == STATUS_SERVER_UNREACHABLE || status == STATUS_SERVER_UNAVAILABLE || status == STATUS_TIMEOUT;
}

static void give_up(struct document *d, const struct error *err)
{
    struct error failure = *err;
    bool ours = err->status == STATUS_RESTARTED || err->status == STATUS_NO_MEMORY;
    if (!d->passing && !ours) {
        count_failure(d, err, false);
        if (is_servers_trouble(err->status))
            count_failure(d, err, true);
    }
    d->failure = failure;
    if (d->known && !ours)
        log_warning("the metadata of %s cannot be renewed, and are used on: %s", d->subject, failure.message);
    tell(d, &failure);
}

static void keep(struct document *d, struct metadata_document *content)
{
    count_success(d);
    metadata_document_free(&d->content);
    d->content = *content;
    d->known = true;
    d->fetched = front_now(d->all->front);
    d->serial = ++d->all->last_serial;
    tell(d, NULL);
}

static enum status no_document(const struct document *d, const struct fetch_answer *a, struct error *err)
{
    (void)error_set(err, a->http_status >= 500 || a->http_status == 429 ? STATUS_SERVER_UNAVAILABLE : STATUS_SERVER_MISBEHAVED,
                    d->of_resource ? "name the issuer in the profile" : "check issuer, or name the endpoint with token-endpoint",
                    "no %s of %s: status %u", d->of_resource ? "resource metadata (RFC 9728)" : "metadata", d->subject,
                    a->http_status);
    err->http_status = a->http_status;
    err->retry_after = a->retry_after;
    return err->status;
}

static void on_document(struct document *d, const struct fetch_answer *a)
{
    struct metadata_document content = {.lists_dpop_algorithms = false};
    struct error err;
    bool try_later = a->http_status >= 500 || a->http_status == 429;
    /* A server that does not know the first form may also answer it with a page of its own. */
    if (d->form == METADATA_OAUTH && !try_later && (a->http_status != 200 || a->json_error.data != NULL)) {
        d->form = METADATA_OPENID;
        fetch(d);
        return;
    }
    enum status status = a->http_status != 200
                             ? no_document(d, a, &err)
                             : (d->of_resource ? metadata_document_read_resource : metadata_document_read)(
                                   a, d->subject, d->allow_http_loopback, &content, &err);
    if (status == STATUS_OK)
        keep(d, &content);
    else
        give_up(d, &err);
}

static void on_fetched(void *context, const struct error *failure, struct span fields)
{
    struct document *d = context;
    struct fetch_answer a;
    struct error err;
    if (failure != NULL) {
        give_up(d, failure);
        return;
    }
    if (message_take(fields, &message_fetch_answer, &a, sizeof(a), &err) != STATUS_OK) {
        give_up(d, &err);
        return;
    }
    if (d->asker != NULL)
        trace_add(d->all->front, d->asker, a.trace);
    if (a.failure.data == NULL) {
        on_document(d, &a);
        return;
    }
    if (messages_take_error(a.failure, &err) != STATUS_OK || err.status == STATUS_OK)
        (void)error_set(&err, STATUS_INTERNAL, NULL, "the net process gives no reason for a failure");
    give_up(d, &err);
}

/* By the shared net process, for whoever asks; the profile is named for its CA, and for what is said of failures. */
static void fetch(struct document *d)
{
    char url[URL_SIZE];
    struct error err;
    struct front *f = d->all->front;
    uint64_t now = front_now(f);
    d->sent_at = now;
    if (metadata_document_url(d->form, d->subject, url) != 0) {
        (void)error_set(&err, STATUS_INVALID_ARGUMENT, NULL, "%s is too long, or no URL", d->subject);
        give_up(d, &err);
        return;
    }
    struct fetch_request m = {.profile = span_text(d->asker != NULL ? d->asker->name : NULL),
                              .url = span_text(url),
                              .timeout = d->deadline > now ? (uint32_t)((d->deadline - now) / 1000) + 1 : 1,
                              .ca_file = span_text(d->ca_file),
                              .allow_http_loopback = d->allow_http_loopback};
    children_fetch(f->children, NULL, &m, d->deadline + NET_GRACE, on_fetched, d);
}

static void prepare_fetch(struct document *d, const struct document_query *q)
{
    uint64_t now = front_now(d->all->front);
    d->form = d->of_resource ? METADATA_RESOURCE : METADATA_OAUTH;
    d->asker = q->profile;
    d->deadline = q->profile != NULL ? now + q->profile->timeout * SECOND : q->deadline;
    if (q->renew && q->deadline < d->deadline)
        d->deadline = q->deadline;
}

/* --- a query --- */

static void failed_lately(const struct document *d, uint64_t wait, struct error *err)
{
    uint32_t seconds = (uint32_t)((wait + SECOND - 1) / SECOND);
    *err = d->failure;
    if (err->status == STATUS_OK) /* another document of the server failed */
        (void)error_set(err, STATUS_SERVER_UNAVAILABLE, "try again later", "the server of %s does not answer", d->subject);
    size_t len = strlen(err->message);
    (void)snprintf(err->message + len, sizeof(err->message) - len, "; it is asked again in %u s", seconds);
    err->retry_after = seconds;
}

/* True: the query has been answered without a fetch. */
static bool answer_now(const struct document *d, const struct document_query *q, document_done done, void *context)
{
    uint64_t now = front_now(d->all->front), until;
    struct error err;
    if (d->known && !(q->renew && d->fetched <= q->began) && now < d->fetched + q->max_age) {
        done(context, NULL, &d->content, d->serial);
        return true;
    }
    if (d->fetching || d->passing || q->renew || (until = not_before(d, now)) == 0)
        return false;
    if (!d->known)
        failed_lately(d, until - now, &err);
    done(context, d->known ? NULL : &err, d->known ? &d->content : NULL, d->serial);
    return true;
}

void documents_get(struct documents *all, const struct document_query *q, document_done done, void *context)
{
    struct document *d = find_or_add(all, q);
    uint64_t now = front_now(all->front);
    struct waiter *w;
    struct error err;
    if (d != NULL && answer_now(d, q, done, context))
        return;
    if (d == NULL || (w = calloc(1, sizeof(*w))) == NULL) {
        if (d != NULL && d->passing)
            remove_document(d);
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        done(context, &err, NULL, 0);
        return;
    }
    if (!d->fetching)
        prepare_fetch(d, q);
    *w = (struct waiter){.next = d->waiters, .renew = q->renew, .done = done, .context = context};
    /* Whoever has about as much time as the fetch is told what became of it, which says more than that time is over. */
    w->until = q->deadline + NET_GRACE / 4 < d->deadline ? q->deadline : d->deadline + NET_GRACE;
    if (d->known && !q->renew && w->until > now + STALE_PATIENCE)
        w->until = now + STALE_PATIENCE;
    d->waiters = w;
    front_wait(all->front);
    if (d->fetching)
        return;
    d->fetching = true;
    fetch(d);
}
