/* See logins_world.h. */
#include "logins_world.h"

#include "as_request.h"

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile user]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-authentication = none\n"
    "grant = authorization_code\nscope = a b\norigins = https://a\nrevocation-form = x=y\n"
    "[profile memory]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-authentication = none\n"
    "grant = authorization_code\npersist = no\norigins = https://a\n"
    "[profile second]\nkey = other\nissuer = https://as.example/tenant\nclient-id = app\nclient-authentication = none\n"
    "grant = device_code\norigins = https://a\n"
    "[profile confidential]\nkey = other\nissuer = https://as.example/tenant\nclient-id = web\n"
    "client-secret-file = /s\n"
    "grant = device_code\norigins = https://a\n";

struct store_world store;
struct sent sent[8192];
size_t sent_count;
struct kept kept;
unsigned int tokens_forgotten, turns;
char stray[64];

/* --- the store --- */

enum store_call { LOAD, SAVE, REMOVE };

static struct pending {
    login_store_done done;
    void *context;
    enum store_call what;
    struct buffer record;
} pending;

bool store_is_at_work(void)
{
    return pending.done != NULL;
}

static void land(const struct pending *p)
{
    if (p->what == SAVE) {
        buffer_clear(&store.disk);
        buffer_put(&store.disk, buffer_span(&p->record).data, buffer_span(&p->record).len);
        store.there = true;
    } else if (p->what == REMOVE) {
        store.there = false;
    }
}

void store_lands(void)
{
    if (pending.done != NULL)
        land(&pending);
}

void store_goes_on(void)
{
    struct pending p = pending;
    struct login_record record;
    struct error err;
    assert_non_null(p.done);
    pending = (struct pending){0};
    if (store.fails != STATUS_OK && !(store.unsealable && p.what == REMOVE)) {
        (void)error_set(&err, store.fails, NULL, "the store says no");
        buffer_free(&p.record);
        p.done(p.context, &err, store.unsealable, NULL);
        return;
    }
    land(&p);
    buffer_free(&p.record);
    if (p.what == LOAD && store.there)
        record = on_disk();
    p.done(p.context, NULL, false, p.what == LOAD && store.there ? &record : NULL);
}

static void begin(enum store_call what, const struct login_record *record, login_store_done done, void *context)
{
    assert_null(pending.done); /* one after the other */
    pending = (struct pending){.done = done, .context = context, .what = what};
    buffer_init(&pending.record, 1 << 20);
    if (record != NULL)
        message_put(&pending.record, &message_login_record, record);
    assert_false(pending.record.failed);
    if (!store.slow)
        store_goes_on();
}

struct login_record on_disk(void)
{
    struct login_record record;
    struct error err;
    assert_true(store.there);
    assert_int_equal(message_take(buffer_span(&store.disk), &message_login_record, &record, sizeof(record), &err),
                     STATUS_OK);
    return record;
}

void login_store_load(struct front *f, const struct profile_config *p, uint64_t deadline, login_store_done done,
                      void *context)
{
    (void)f;
    assert_true(deadline > now && p->persist);
    store.loads++;
    begin(LOAD, NULL, done, context);
}

void login_store_save(struct front *f, const struct profile_config *p, const struct login_record *record,
                      uint64_t deadline, login_store_done done, void *context)
{
    (void)f;
    assert_true(deadline > now && p->persist);
    store.saves++;
    begin(SAVE, record, done, context);
}

void login_store_remove(struct front *f, const struct profile_config *p, uint64_t deadline, login_store_done done,
                        void *context)
{
    (void)f;
    assert_true(deadline > now && p != NULL);
    store.removals++;
    begin(REMOVE, NULL, done, context);
}

/* --- token requests --- */

void exchange_start(struct front *f, const struct exchange_request *r, exchange_done done, void *context)
{
    struct sent *s = &sent[sent_count++];
    (void)f;
    assert_true(sent_count < sizeof(sent) / sizeof(sent[0]));
    assert_string_equal(r->grant_type, "refresh_token");
    assert_string_equal(r->stage, "refresh");
    assert_true(r->precious && r->user && r->deadline > now);
    assert_int_equal(memcmp(r->grant_form.data, "refresh_token=", 14), 0);
    *s = (struct sent){.nonces = r->nonces, .asked = now, .done = done, .context = context};
    copy_text(span_of(r->grant_form.data + 14, r->grant_form.len - 14), s->refresh_token, sizeof(s->refresh_token));
    copy_text(r->scope, s->scope, sizeof(s->scope));
    copy_text(r->subject, s->subject, sizeof(s->subject));
    s->state_on_disk = store.there ? on_disk().refresh_state : 0;
}

static exchange_done take_done(size_t i)
{
    assert_true(i < sent_count);
    exchange_done done = sent[i].done;
    assert_non_null(done);
    sent[i].done = NULL;
    return done;
}

void refreshed(size_t i, const char *refresh_token, const char *access_token, uint32_t lifetime)
{
    struct exchange_result more = {.answered = true, .nonces = true};
    struct granted g = {.access_token = span_text(access_token), .token_type = span_text("DPoP"),
                        .scope = span_text("a"), .jkt = JKT,
                        .lifetime = lifetime, .asked = sent[i].asked, .refresh_token = span_text(refresh_token),
                        .raw = span_text("{}")};
    take_done(i)(sent[i].context, NULL, &g, &more);
}

static void end_badly(size_t i, const struct exchange_result *more, uint16_t http_status, enum status status,
                      const char *oauth_error)
{
    struct error err;
    (void)error_set(&err, status, NULL, "the refresh has failed");
    err.http_status = http_status;
    error_put_text(err.oauth_error, sizeof(err.oauth_error), span_text(oauth_error));
    take_done(i)(sent[i].context, &err, NULL, more);
}

void refresh_failed(size_t i, enum status status, bool in_doubt)
{
    struct exchange_result more = {.in_doubt = in_doubt};
    end_badly(i, &more, 0, status, NULL);
}

void refresh_refused(size_t i, uint16_t http_status, enum status status, const char *oauth_error)
{
    struct exchange_result more = {.answered = true};
    end_badly(i, &more, http_status, status, oauth_error);
}

void refresh_not_begun(size_t i)
{
    struct exchange_result more = {0};
    end_badly(i, &more, 502, STATUS_SERVER_UNAVAILABLE, NULL);
}

void refresh_useless(size_t i, const char *refresh_token)
{
    struct exchange_result more = {.answered = true};
    struct granted g = {.refresh_token = span_text(refresh_token), .jkt = JKT, .asked = sent[i].asked};
    struct error err;
    (void)error_set(&err, STATUS_TOKEN_NOT_DPOP, NULL, "it is a Bearer token");
    take_done(i)(sent[i].context, &err, &g, &more);
}

void tokens_forget(struct tokens *tokens, const struct profile_config *p)
{
    (void)tokens;
    assert_non_null(p);
    tokens_forgotten++;
}

void tokens_put_stray(struct tokens *tokens, const struct profile_config *p, const struct granted *granted)
{
    (void)tokens;
    assert_non_null(p);
    copy_text(granted->access_token, stray, sizeof(stray));
}

/* --- callers --- */

static void on_fetched(void *context, const struct error *err, const struct granted *g,
                       const struct exchange_result *more)
{
    struct fetched *r = context;
    assert_non_null(more);
    r->calls++;
    r->turn = turns++;
    r->err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    assert_true(err != NULL || g != NULL);
    if (store.there) {
        r->disk = on_disk();
        copy_text(r->disk.refresh_token, r->disk_token, sizeof(r->disk_token));
    }
    if (err == NULL) {
        copy_text(g->access_token, r->token, sizeof(r->token));
        assert_string_equal(g->jkt, JKT);
        r->lifetime = g->lifetime;
    }
}

void fetch(struct fetched *r, const char *name, const char *scope, bool force, uint32_t min_valid)
{
    static const struct list none;
    const struct profile_config *p = profile(name);
    struct token_kind kind;
    token_kind_of(p, span_text(scope), &none, &kind);
    struct login_fetch f = {.profile = p, .kind = &kind, .own = scope == NULL, .scope = span_text(scope),
                            .resources = &p->resources,
                            .min_valid = min_valid, .force = force, .deadline = now + 30 * SECOND};
    *r = (struct fetched){0};
    logins_fetch(&front, &f, on_fetched, r);
}

void assert_token(const struct fetched *r, const char *token)
{
    assert_int_equal(r->calls, 1);
    if (r->err.status != STATUS_OK)
        fail_msg("%s", r->err.message);
    assert_string_equal(r->token, token);
}

void assert_no_token(const struct fetched *r, enum status status, const char *message)
{
    assert_int_equal(r->calls, 1);
    if (r->err.status != status || strstr(r->err.message, message) == NULL)
        fail_msg("%s: %s", status_name(r->err.status), r->err.message);
    assert_string_equal(r->token, "");
}

static void on_kept(void *context, const struct error *err, bool persisted, const char *note)
{
    (void)context;
    kept.calls++;
    kept.err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    kept.persisted = persisted;
    (void)snprintf(kept.note, sizeof(kept.note), "%s", note != NULL ? note : "");
}

void log_in(const char *name, const char *refresh_token, const char *access_token, uint32_t lifetime)
{
    struct granted g = {.access_token = span_text(access_token), .token_type = span_text("DPoP"), .jkt = JKT,
                        .lifetime = lifetime,
                        .asked = now, .refresh_token = span_text(refresh_token), .subject = span_text("alice"),
                        .raw = span_text("{}")};
    kept = (struct kept){0};
    logins_keep(&front, profile(name), &g, false, on_kept, NULL);
}

/* --- a world's beginning and end --- */

int open_logins(void **state)
{
    (void)state;
    store = (struct store_world){0};
    pending = (struct pending){0};
    buffer_init(&store.disk, 1 << 20);
    sent_count = tokens_forgotten = turns = 0;
    return open_front(text) != 0 ? -1 : logins_open(&front);
}

static void end_what_is_at_work(void)
{
    store.slow = false;
    for (int i = 0; i < 3; i++) {
        if (pending.done != NULL)
            store_goes_on();
        for (size_t j = 0; j < sent_count; j++)
            if (sent[j].done != NULL)
                refresh_failed(j, STATUS_RESTARTED, true);
    }
}

int close_logins(void **state)
{
    (void)state;
    end_what_is_at_work();
    as_requests_end(front.as_requests);
    for (size_t i = 0; i < call_count; i++)
        if (calls[i].done != NULL)
            give_trouble(i, STATUS_RESTARTED);
    logins_free(front.logins);
    buffer_free(&store.disk);
    close_front();
    return 0;
}

void restart(void)
{
    buffer_free(&pending.record);
    pending = (struct pending){0};
    logins_free(front.logins);
    for (size_t i = 0; i < sent_count; i++)
        sent[i].done = NULL;
    store.slow = false;
    store.fails = STATUS_OK;
    assert_int_equal(logins_open(&front), 0);
}
