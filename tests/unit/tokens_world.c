/* See tokens_world.h. */
#include "tokens_world.h"

#include "logins.h"

static const char text[] = "[key k]\nuri = pkcs11:object=k\n"
                           "[profile one]\nkey = k\nissuer = https://as.example\nclient-id = one\n"
                           "client-secret-file = /s\n"
                           "scope = a b\nresource = urn:own\norigins = https://api.example\ntimeout = 7\n"
                           "[profile two]\nkey = k\nissuer = https://as.example\nclient-id = two\n"
                           "client-secret-file = /s\n"
                           "origins = https://api.example\n"
                           "[profile exchange]\nkey = k\nissuer = https://as.example\nclient-id = three\n"
                           "grant = token-exchange\n"
                           "client-secret-file = /s\norigins = https://api.example\n"
                           "[profile user]\nkey = k\nissuer = https://as.example\nclient-id = four\n"
                           "grant = device_code\n"
                           "client-secret-file = /s\norigins = https://api.example\n";

struct begun begun[8192];
size_t begun_count;
uint32_t answer_at_once;
bool fail_at_once;
uint64_t timer_at, refused_until;
const char *granted_jkt;

/* --- the timer --- */

static sd_event_time_handler_t timer_handler;
static void *timer_userdata;
static uint64_t timer_time;
static bool timer_on;

static void note_timer(void)
{
    timer_at = timer_on ? timer_time : UINT64_MAX;
}

int sd_event_add_time(sd_event *e, sd_event_source **source, clockid_t clock, uint64_t usec, uint64_t accuracy,
                      sd_event_time_handler_t callback, void *userdata)
{
    (void)e;
    (void)usec;
    assert_int_equal(clock, CLOCK_BOOTTIME);
    assert_true(accuracy <= SECOND);
    timer_handler = callback;
    timer_userdata = userdata;
    timer_on = true;
    *source = (sd_event_source *)(void *)&timer_time;
    return 0;
}

int sd_event_source_set_time(sd_event_source *source, uint64_t usec)
{
    assert_ptr_equal(source, &timer_time);
    timer_time = usec;
    note_timer();
    return 0;
}

int sd_event_source_set_enabled(sd_event_source *source, int enabled)
{
    assert_ptr_equal(source, &timer_time);
    assert_int_not_equal(enabled, SD_EVENT_ON); /* once, or it would fire for ever */
    timer_on = enabled == SD_EVENT_ONESHOT;
    note_timer();
    return 0;
}

sd_event_source *sd_event_source_disable_unref(sd_event_source *source)
{
    assert_ptr_equal(source, &timer_time);
    return NULL;
}

unsigned int fire_timer_until(uint64_t end)
{
    unsigned int fired = 0;
    while (timer_at <= end) {
        assert_true(fired < 10000); /* a busy loop */
        if (timer_at > now)
            now = timer_at;
        timer_on = false;
        note_timer();
        fired++;
        assert_int_equal(timer_handler((sd_event_source *)(void *)&timer_time, now, timer_userdata), 0);
    }
    now = end;
    return fired;
}

/* --- fetches --- */

static exchange_done take_done(size_t i)
{
    assert_true(i < begun_count);
    exchange_done done = begun[i].done;
    assert_non_null(done);
    begun[i].done = NULL;
    return done;
}

static void end_well(size_t i, const char *token, const char *type, uint32_t lifetime)
{
    struct exchange_result more = {0};
    struct granted g = {.access_token = span_text(token), .token_type = span_text(type), .jkt = granted_jkt,
                        .lifetime = lifetime, .asked = begun[i].asked, .raw = span_text("{\"x\":1}")};
    take_done(i)(begun[i].context, NULL, &g, &more);
}

void end_with_token(size_t i, const char *token, uint32_t lifetime)
{
    end_well(i, token, "DPoP", lifetime);
}

void end_with_type(size_t i, const char *token, const char *type)
{
    end_well(i, token, type, HOUR);
}

void end_with_failure(size_t i, enum status status, uint32_t retry_after)
{
    struct exchange_result more = {0};
    struct error err;
    (void)error_set(&err, status, "try", "the server said no");
    err.retry_after = retry_after;
    take_done(i)(begun[i].context, &err, NULL, &more);
}

static void put(char *out, size_t size, struct span given)
{
    copy_text(given.data != NULL ? given : span_text("(absent)"), out, size);
}

static struct span span_or_absent(const struct secret *s)
{
    return s != NULL ? secret_span(s) : span_text(NULL);
}

void grants_fetch(struct front *f, const struct grant_request *r, exchange_done done, void *context)
{
    struct begun *b = &begun[begun_count];
    assert_ptr_equal(f, &front);
    assert_true(begun_count < sizeof(begun) / sizeof(begun[0]));
    begun_count++;
    *b = (struct begun){.own = r->own, .force = r->force, .min_valid = r->min_valid, .asked = now,
                        .deadline = r->deadline, .done = done, .context = context};
    copy_text(span_text(r->profile->name), b->profile, sizeof(b->profile));
    put(b->scope, sizeof(b->scope), r->scope);
    put(b->subject_token, sizeof(b->subject_token), span_or_absent(r->inputs->subject_token));
    put(b->actor_token, sizeof(b->actor_token), span_or_absent(r->inputs->actor_token));
    put(b->assertion, sizeof(b->assertion), span_or_absent(r->inputs->assertion));
    put(b->subject_token_type, sizeof(b->subject_token_type), span_text(r->inputs->subject_token_type));
    for (size_t i = 0; i < r->resources->count; i++)
        (void)snprintf(b->resources + strlen(b->resources), sizeof(b->resources) - strlen(b->resources), "%s;",
                       r->resources->items[i]);
    if (fail_at_once)
        end_with_failure(begun_count - 1, STATUS_SERVER_UNAVAILABLE, 0);
    else if (answer_at_once > 0)
        end_with_token(begun_count - 1, "at-once", answer_at_once);
}

void logins_refused(struct front *f, const struct profile_config *p, uint64_t latest)
{
    (void)f;
    assert_string_equal(p->name, "user");
    refused_until = latest;
}

void grant_inputs_free(struct grant_inputs *inputs)
{
    secret_free(inputs->subject_token);
    secret_free(inputs->actor_token);
    secret_free(inputs->assertion);
    free(inputs->subject_token_type);
    free(inputs->actor_token_type);
    *inputs = (struct grant_inputs){0};
}

/* --- the callers --- */

void on_token(void *context, const struct error *err, const struct token *token)
{
    struct caller *c = context;
    c->calls++;
    c->status = err != NULL ? err->status : STATUS_OK;
    if (err != NULL) {
        (void)snprintf(c->message, sizeof(c->message), "%.255s", err->message);
    } else {
        copy_text(secret_span(token->access_token), c->token, sizeof(c->token));
        copy_text(span_text(token->type), c->type, sizeof(c->type));
        copy_text(span_text(token->raw), c->raw, sizeof(c->raw));
        assert_string_equal(token->jkt, granted_jkt);
        c->serial = token->serial;
        c->expires = token->expires;
        c->expires_at = token->expires_at;
    }
    if (c->again != NULL)
        tokens_get(front.tokens, c->again, on_token, c->again_caller);
}

struct token_query query(const char *name, const char *scope)
{
    static const struct list no_resources;
    return (struct token_query){.profile = profile(name), .scope = span_text(scope), .resources = &no_resources,
                                .deadline = now + 30 * SECOND};
}

struct caller ask_query(const struct token_query *q)
{
    struct caller c = {0};
    tokens_get(front.tokens, q, on_token, &c);
    assert_int_equal(c.calls, 1); /* else its address would be lost */
    return c;
}

struct caller ask(const char *name, const char *scope)
{
    struct token_query q = query(name, scope);
    return ask_query(&q);
}

void wait_as(struct caller *c, const struct token_query *q)
{
    *c = (struct caller){0};
    tokens_get(front.tokens, q, on_token, c);
    assert_int_equal(c->calls, 0);
}

void obtain(const char *name, const char *scope, const char *token, uint32_t lifetime)
{
    struct caller c;
    struct token_query q = query(name, scope);
    wait_as(&c, &q);
    end_with_token(begun_count - 1, token, lifetime);
    assert_int_equal(c.calls, 1);
}

int open_cache(void **state)
{
    (void)state;
    refused_until = UINT64_MAX;
    begun_count = 0;
    granted_jkt = JKT;
    answer_at_once = 0;
    fail_at_once = false;
    return open_front(text) != 0 ? -1 : tokens_open(&front);
}

int close_cache(void **state)
{
    (void)state;
    tokens_free(front.tokens);
    close_front();
    return 0;
}
