/* See trace.h. */
#include "trace.h"

#include "children.h"
#include "log.h"
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ENTRY_MAX 60000 /* bytes of text: fits into a trace_write, and with the rest of an entry into a trace_answer */
#define NOTE_MAX (2 * LIMIT_URL)
#define STORE_PATIENCE UINT64_C(10000000)

struct entry {
    struct entry *next;
    uint64_t sequence, time;
    size_t len;
    uint8_t text[];
};

struct waiter {
    struct waiter *next;
    uint64_t after, deadline;
    trace_done done;
    void *context;
};

struct trace {
    struct traces *all;
    const struct profile_config *profile;
    struct entry *oldest, **end;
    size_t bytes;
    struct waiter *waiters;
    bool file_failed; /* it has been logged */
};

struct traces {
    struct front *front;
    uint64_t last_sequence; /* begins with the time, so that numbers grow over restarts of this process */
    struct trace *traces;   /* one for each profile */
    size_t count;
};

int traces_open(struct front *f)
{
    struct traces *all = calloc(1, sizeof(*all));
    if (all == NULL)
        return -1;
    f->traces = all;
    all->front = f;
    all->last_sequence = (uint64_t)time(NULL) * 1000000;
    all->traces = calloc(f->config->profile_count + 1, sizeof(*all->traces));
    if (all->traces == NULL)
        return -1;
    all->count = f->config->profile_count;
    for (size_t i = 0; i < all->count; i++) {
        all->traces[i] = (struct trace){.all = all, .profile = &f->config->profiles[i]};
        all->traces[i].end = &all->traces[i].oldest;
    }
    return 0;
}

static struct trace *trace_of(struct front *f, const struct profile_config *profile)
{
    return &f->traces->traces[profile - f->config->profiles];
}

/* --- readers --- */

static void give(const struct trace *t, uint64_t after, trace_done done, void *context)
{
    struct list_builder entries;
    list_builder_init(&entries, TRACE_BYTES_MAX * 2);
    for (const struct entry *e = t->oldest; e != NULL; e = e->next) {
        struct trace_entry m = {.sequence = e->sequence, .time = e->time, .text = span_of(e->text, e->len)};
        if (e->sequence > after)
            list_builder_add(&entries, &message_trace_entry, &m);
    }
    struct list list = list_builder_list(&entries);
    done(context, &list);
    list_builder_free(&entries);
}

/* Tells those whose time has come; `now` UINT64_MAX: all of them. `done` may bring new ones. */
static void tell(struct trace *t, uint64_t now)
{
    struct waiter *due = NULL;
    for (struct waiter **p = &t->waiters; *p != NULL;) {
        struct waiter *w = *p;
        if (now < w->deadline) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->next = due;
        due = w;
    }
    while (due != NULL) {
        struct waiter *w = due;
        due = w->next;
        give(t, w->after, w->done, w->context);
        free(w);
    }
}

void traces_free(struct traces *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; i < all->count; i++) {
        struct trace *t = &all->traces[i];
        tell(t, UINT64_MAX);
        while (t->oldest != NULL) {
            struct entry *e = t->oldest;
            t->oldest = e->next;
            free(e);
        }
    }
    free(all->traces);
    free(all);
}

void trace_get(struct front *f, const struct profile_config *profile, uint64_t after, uint64_t deadline, trace_done done,
               void *context)
{
    struct trace *t = trace_of(f, profile);
    struct waiter *w;
    bool newer = false;
    for (const struct entry *e = t->oldest; e != NULL && !newer; e = e->next)
        newer = e->sequence > after;
    if (newer || deadline <= front_now(f) || (w = malloc(sizeof(*w))) == NULL) {
        give(t, after, done, context);
        return;
    }
    *w = (struct waiter){.next = t->waiters, .after = after, .deadline = deadline, .done = done, .context = context};
    t->waiters = w;
    front_wait(f);
}

void traces_tick(struct traces *all, uint64_t now)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->traces[i].waiters != NULL)
            tell(&all->traces[i], now);
}

bool traces_waiting(const struct traces *all)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->traces[i].waiters != NULL)
            return true;
    return false;
}

/* --- writers --- */

static void on_written(void *context, const struct error *err, struct span fields)
{
    struct trace *t = context;
    (void)fields;
    if (err != NULL && err->status != STATUS_RESTARTED && !t->file_failed)
        log_warning("profile %s: its trace-file is not written: %s", t->profile->name, err->message);
    t->file_failed = err != NULL && (t->file_failed || err->status != STATUS_RESTARTED);
}

/* In the file each entry has a line with its time in front. */
static void write_file(struct trace *t, const struct entry *e)
{
    struct front *f = t->all->front;
    struct buffer text;
    char line[40] = "";
    struct tm utc;
    time_t when = (time_t)e->time;
    if (gmtime_r(&when, &utc) != NULL)
        (void)strftime(line, sizeof(line), "--- %Y-%m-%dT%H:%M:%SZ\n", &utc);
    buffer_init(&text, LIMIT_TRACE);
    buffer_put_text(&text, line);
    buffer_put(&text, e->text, e->len);
    struct trace_write m = {.profile = span_text(t->profile->name), .text = buffer_span(&text)};
    children_call(f->children, ROLE_STORE, INTERNAL_TRACE_WRITE, &message_trace_write, &m, front_now(f) + STORE_PATIENCE,
                  on_written, t);
    buffer_free(&text);
}

static void drop_oldest(struct trace *t)
{
    struct entry *e = t->oldest;
    t->oldest = e->next;
    if (t->oldest == NULL)
        t->end = &t->oldest;
    t->bytes -= e->len;
    free(e);
}

static void add(struct trace *t, struct span text)
{
    struct entry *e = malloc(sizeof(*e) + text.len);
    if (e == NULL)
        return; /* a log is not worth a failure */
    *e = (struct entry){.sequence = ++t->all->last_sequence, .time = (uint64_t)time(NULL), .len = text.len};
    memcpy(e->text, text.data, text.len);
    while (t->oldest != NULL && t->bytes + text.len > TRACE_BYTES_MAX)
        drop_oldest(t);
    *t->end = e;
    t->end = &e->next;
    t->bytes += text.len;
    if (t->profile->trace_file != NULL)
        write_file(t, e);
}

/* At most ENTRY_MAX bytes, cut behind a line where there is one. */
static size_t piece(struct span text)
{
    if (text.len <= ENTRY_MAX)
        return text.len;
    const uint8_t *end = memrchr(text.data, '\n', ENTRY_MAX);
    return end != NULL ? (size_t)(end - text.data) + 1 : ENTRY_MAX;
}

void trace_add(struct front *f, const struct profile_config *profile, struct span text)
{
    struct trace *t = trace_of(f, profile);
    if (text.data == NULL || text.len == 0)
        return;
    while (text.len > 0) {
        size_t len = piece(text);
        add(t, span_of(text.data, len));
        text = span_of(text.data + len, text.len - len);
    }
    tell(t, UINT64_MAX);
}

void trace_note(struct front *f, const struct profile_config *profile, const char *format, ...)
{
    char line[NOTE_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (n <= 0)
        return;
    text_clean(line); /* parts of it come from servers */
    size_t len = strlen(line);
    line[len] = '\n';
    trace_add(f, profile, span_of(line, len + 1));
}
