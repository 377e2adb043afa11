/* See metadata_world.h. */
#include "metadata_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"


static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n"
    "[profile plain]\nkey = k\nissuer = " ISSUER "\nclient-id = a\nclient-secret-file = /s\norigins = https://a\n"
    "[profile same]\nkey = k\nissuer = " ISSUER "\nclient-id = b\nclient-secret-file = /s\norigins = https://a\ndpop = optional\n"
    "[profile ca]\nkey = k\nissuer = " ISSUER "\nclient-id = b\nclient-secret-file = /s\norigins = https://a\nca-file = /ca\n"
    "[profile slash]\nkey = k\nissuer = https://as.example/\nclient-id = a\nclient-secret-file = /s\norigins = https://a\n"
    "[profile named]\nkey = k\nissuer = " ISSUER "\ntoken-endpoint = https://named.example/t\nclient-id = a\n"
    "client-secret-file = /s\norigins = https://a\n"
    "[profile half]\nkey = k\nissuer = " ISSUER "\ntoken-endpoint = https://named.example/t\nclient-id = a\n"
    "client-secret-file = /s\norigins = https://a\ngrant = authorization_code\n"
    "[profile api]\nkey = k\nresource = https://api.example/v1/?x=1\nclient-id = a\nclient-authentication = private_key_jwt\n"
    "origins = https://api.example\n"
    "[profile fapi]\nkey = k\nissuer = " ISSUER "\nclient-id = a\nclient-authentication = private_key_jwt\norigins = https://a\n"
    "grant = authorization_code\nfapi2 = yes\n"
    "[profile tls]\nkey = k\nissuer = " ISSUER "\nclient-id = a\nclient-authentication = tls_client_auth\n"
    "client-certificate-file = /c\norigins = https://a\n"
    "[profile loopback]\nkey = k\nissuer = http://127.0.0.1:1/\nclient-id = a\nclient-secret-file = /s\norigins = https://a\n"
    "allow-http-loopback = yes\n";

/* --- what metadata.c sees instead of the agent --- */

struct front front;
uint64_t now;
unsigned int traced;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return now;
}

void front_wait(struct front *f)
{
    (void)f;
}

void trace_add(struct front *f, const struct profile_config *profile, struct span words)
{
    (void)f;
    assert_non_null(profile);
    traced += words.len > 0;
}

struct call calls[64];
size_t call_count;

static void copy(struct span from, char *to, size_t size)
{
    assert_int_equal(span_copy(from.data != NULL ? from : span_text(""), to, size), 0);
}

void children_fetch(struct children *c, const struct profile_config *profile, const struct fetch_request *m, uint64_t deadline,
                    call_done done, void *context)
{
    struct call *call = &calls[call_count++];
    (void)c;
    assert_null(profile); /* never in a process that holds a key */
    assert_null(m->form.data);
    assert_false(m->authenticate);
    assert_true(deadline > now);
    *call = (struct call){.loopback = m->allow_http_loopback, .timeout = m->timeout, .done = done, .context = context};
    copy(m->url, call->url, sizeof(call->url));
    copy(m->profile, call->profile, sizeof(call->profile));
    copy(m->ca_file, call->ca_file, sizeof(call->ca_file));
}

/* --- answers --- */

static struct list_builder members;
struct fetch_answer next;

void answer(uint16_t status)
{
    list_builder_free(&members);
    list_builder_init(&members, 1 << 20);
    next = (struct fetch_answer){.http_status = status, .date = span_text("Sun, 06 Nov 1994 08:49:37 GMT"), .trace = span_text("line\n")};
}

void with(const char *name, const char *value)
{
    struct json_member m = {.name = span_text(name), .kind = JSON_KIND_TEXT, .text = span_text(value)};
    list_builder_add(&members, &message_json_member, &m);
}

void with_kind(const char *name, enum json_kind kind)
{
    struct json_member m = {.name = span_text(name), .kind = (uint16_t)kind, .text = span_text("{}")};
    list_builder_add(&members, &message_json_member, &m);
}

void with_list(const char *name, const char *first, const char *second)
{
    struct span items[] = {span_text(first), span_text(second)};
    struct json_member m = {.name = span_text(name), .kind = JSON_KIND_TEXTS};
    m.texts = (struct list){.items = items, .count = first == NULL ? 0 : second == NULL ? 1 : 2};
    list_builder_add(&members, &message_json_member, &m);
}

void document(const char *issuer)
{
    answer(200);
    with("issuer", issuer);
    with("token_endpoint", TOKEN);
}

void resource_document(const char *resource, const char *issuer)
{
    answer(200);
    with("resource", resource);
    with_list("authorization_servers", issuer, issuer != NULL ? "https://second.example" : NULL);
}

static call_done take(size_t i)
{
    assert_true(i < call_count);
    call_done done = calls[i].done;
    assert_non_null(done);
    calls[i].done = NULL;
    return done;
}

void give(size_t i)
{
    struct buffer wire;
    call_done done = take(i);
    buffer_init(&wire, INTERNAL_FRAME_MAX);
    next.members = list_builder_list(&members);
    message_put(&wire, &message_fetch_answer, &next);
    assert_false(wire.failed);
    done(calls[i].context, NULL, buffer_span(&wire));
    buffer_free(&wire);
}

/* The net process found out that it cannot be done. */
void give_failure(size_t i, enum status status, const char *message)
{
    struct error_message m = {.status = (uint16_t)status, .message = span_text(message), .next = span_text("next")};
    struct buffer failure;
    buffer_init(&failure, LIMIT_NESTED);
    message_put(&failure, &message_error, &m);
    answer(0);
    next.failure = buffer_span(&failure);
    give(i);
    buffer_free(&failure);
}

void give_error(size_t i, enum status status)
{
    struct error err;
    call_done done = take(i);
    (void)error_set(&err, status, NULL, "the net process ended");
    done(calls[i].context, &err, span_of("", 0));
}

/* --- callers --- */

struct result results[64];
struct result *const result = &results[0];

void on_done(void *context, const struct error *err, const struct server_metadata *s)
{
    struct result *r = context;
    r->calls++;
    r->err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    if (err != NULL) {
        assert_null(s);
        assert_string_equal(err->stage, "discovery");
        return;
    }
    copy(span_text(s->token_endpoint), r->token, sizeof(r->token));
    copy(span_text(s->issuer), r->issuer, sizeof(r->issuer));
    copy(span_text(s->pushed_authorization_request_endpoint), r->par, sizeof(r->par));
    copy(span_text(s->revocation_endpoint), r->revocation, sizeof(r->revocation));
    copy(span_text(s->date), r->date, sizeof(r->date));
    r->discovered = s->discovered;
}

const struct profile_config *profile(const char *name)
{
    return config_profile(front.config, span_text(name));
}

void get_for(const char *name, struct result *r, unsigned int seconds)
{
    *r = (struct result){.calls = 0};
    metadata_get(front.metadata, profile(name), now + seconds * SECOND, on_done, r);
}

void get(const char *name)
{
    get_for(name, result, 30);
}

void assert_refused(const struct result *r, enum status status, const char *message)
{
    assert_int_equal(r->calls, 1);
    if (r->err.status != status || strstr(r->err.message, message) == NULL)
        fail_msg("%s: %s", status_name(r->err.status), r->err.message);
}

void assert_known(const struct result *r)
{
    assert_int_equal(r->calls, 1);
    if (r->err.status != STATUS_OK)
        fail_msg("%s", r->err.message);
}

int open_world(void **state)
{
    struct config *config;
    struct error err;
    (void)state;
    now = 1000 * SECOND;
    call_count = 0;
    traced = 0;
    front = (struct front){.started = 0};
    list_builder_init(&members, 1 << 20);
    if (config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &config, &err) != STATUS_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    front.config = config;
    return metadata_open(&front);
}

int close_world(void **state)
{
    (void)state;
    for (size_t i = 0; i < call_count; i++)
        if (calls[i].done != NULL)
            give_error(i, STATUS_RESTARTED);
    assert_false(metadata_waiting(front.metadata));
    metadata_free(front.metadata);
    list_builder_free(&members);
    config_free((struct config *)(uintptr_t)front.config);
    return 0;
}
