/* See front_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "as_request.h"
#include "front_world.h"
#include "trace.h"

#define CALLS_MAX 16384

struct front front;
uint64_t now;
unsigned int waits;
struct server_metadata server;
enum status metadata_fails;
struct call *calls;
size_t call_count;
struct answer_world next;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return now;
}

void front_wait(struct front *f)
{
    (void)f;
    waits++;
}

const struct profile_config *profile(const char *name)
{
    const struct profile_config *p = config_profile(front.config, span_text(name));
    assert_non_null(p);
    return p;
}

void copy_text(struct span from, char *to, size_t size)
{
    assert_int_equal(span_copy(from, to, size), 0);
}

/* --- keys --- */

static struct key keys[] = {{.name = "k"}, {.name = "other"}};

struct key *keys_find(struct keys *all, struct span name)
{
    (void)all;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (span_is(name, keys[i].name))
            return &keys[i];
    fail_msg("a key is asked for that no profile names");
    return NULL;
}

struct key *key(const char *name)
{
    return keys_find(NULL, span_text(name));
}

const struct key_public *keys_public(const struct key *k)
{
    return k->unseen ? NULL : &k->public;
}

void keys_sign(struct key *k, const struct sign_job *job)
{
    static const uint8_t signature[JWK_SIGNATURE_SIZE] = {1, 2, 3};
    uint8_t digest[JWK_DIGEST_SIZE];
    struct error err;
    enum status status = k->fails;
    if (status != STATUS_OK)
        (void)error_set(&err, status, NULL, "key \"%s\" fails", k->name);
    else if (job->build != NULL)
        status = job->build(job->context, &k->public, digest, &err);
    k->signatures += status == STATUS_OK;
    job->done(job->context, status == STATUS_OK ? NULL : &err, &k->public, signature);
}

/* --- the rest of the agent --- */

void metadata_get(struct metadata *m, const struct profile_config *p, uint64_t deadline, metadata_done done,
                  void *context)
{
    struct error err;
    (void)m;
    assert_non_null(p);
    assert_true(deadline >= now);
    if (metadata_fails != STATUS_OK)
        (void)error_set(&err, metadata_fails, NULL, "no metadata");
    done(context, metadata_fails != STATUS_OK ? &err : NULL, metadata_fails != STATUS_OK ? NULL : &server);
}

void trace_add(struct front *f, const struct profile_config *p, struct span text)
{
    (void)f;
    (void)p;
    (void)text;
}

void trace_note(struct front *f, const struct profile_config *p, const char *format, ...)
{
    (void)f;
    (void)p;
    (void)format;
}

static char *text_of(struct span s)
{
    return s.data != NULL ? span_dup(s) : NULL;
}

static struct call *new_call(enum role role, uint16_t operation, uint64_t deadline, call_done done, void *context)
{
    assert_true(call_count < CALLS_MAX);
    struct call *c = &calls[call_count++];
    *c = (struct call){.role = role, .operation = operation, .deadline = deadline, .done = done, .context = context};
    return c;
}

void children_fetch(struct children *c, const struct profile_config *p, const struct fetch_request *r,
                    uint64_t deadline, call_done done, void *context)
{
    struct call *call = new_call(config_has_tls_client(p) ? ROLE_NET_TLS : ROLE_NET, INTERNAL_FETCH, deadline, done,
                                 context);
    (void)c;
    assert_true(span_is(r->profile, p->name));
    call->url = text_of(r->url);
    call->form = text_of(r->form);
    call->dpop = text_of(r->dpop);
    call->authenticates = r->authenticate;
    call->token_files = r->token_files;
    call->timeout = r->timeout;
}

void children_call(struct children *c, enum role role, uint16_t operation, const struct message *m, const void *in,
                   uint64_t deadline, call_done done, void *context)
{
    struct call *call = new_call(role, operation, deadline, done, context);
    (void)c;
    assert_int_equal(role, ROLE_NET);
    if (operation == INTERNAL_REDIRECT_OPEN) {
        assert_ptr_equal(m, &message_redirect_open);
        call->redirect_uri = text_of(((const struct redirect_open *)in)->redirect_uri);
        call->timeout = ((const struct redirect_open *)in)->timeout;
    } else if (operation == INTERNAL_REDIRECT_WAIT) {
        assert_ptr_equal(m, &message_redirect_wait);
        call->listener = ((const struct redirect_wait *)in)->listener;
    } else {
        const struct redirect_close *r = in;
        assert_int_equal(operation, INTERNAL_REDIRECT_CLOSE);
        assert_ptr_equal(m, &message_redirect_close);
        call->listener = r->listener;
        call->success = r->success;
        call->page = text_of(r->text);
    }
}

/* --- what was sent --- */

const char *form_value(const struct call *c, const char *name)
{
    static char out[4][8192];
    static unsigned int turn;
    char *into = out[turn++ % 4], wanted[64];
    assert_non_null(c->form);
    int n = snprintf(wanted, sizeof(wanted), "%s=", name);
    const char *at = c->form;
    while (at != NULL && strncmp(at, wanted, (size_t)n) != 0)
        at = (at = strchr(at, '&')) != NULL ? at + 1 : NULL;
    if (at == NULL)
        return NULL;
    at += n;
    copy_text(span_of(at, strcspn(at, "&")), into, sizeof(out[0]));
    return into;
}

const char *claims_of(const char *jws)
{
    static char out[4][2048];
    static unsigned int turn;
    char *into = out[turn++ % 4];
    const char *begin, *end;
    size_t len;
    assert_non_null(jws);
    assert_non_null(begin = strchr(jws, '.'));
    assert_non_null(end = strchr(begin + 1, '.'));
    assert_int_equal(strlen(end + 1), base64url_length(JWK_SIGNATURE_SIZE)); /* it is signed */
    assert_int_equal(base64url_decode(span_of(begin + 1, (size_t)(end - begin - 1)), (uint8_t *)into,
                                      sizeof(out[0]) - 1, &len), 0);
    into[len] = '\0';
    return into;
}

const char *member(const char *json, const char *name)
{
    static char out[8][512];
    static unsigned int turn;
    char *into = out[turn++ % 8], wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "\"%s\":\"", name);
    const char *at = strstr(json, wanted);
    if (at == NULL)
        return NULL;
    at += strlen(wanted);
    copy_text(span_of(at, strcspn(at, "\"")), into, sizeof(out[0]));
    return into;
}

int64_t number(const char *json, const char *name)
{
    char wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "\"%s\":", name);
    const char *at = strstr(json, wanted);
    assert_non_null(at);
    return strtoll(at + strlen(wanted), NULL, 10);
}

/* --- answers --- */

struct answer_world *answer(uint16_t status)
{
    list_builder_free(&next.members);
    list_builder_init(&next.members, 1 << 20);
    next.answer = (struct fetch_answer){.http_status = status};
    return &next;
}

void with_member(const char *name, enum json_kind kind, const char *value, int64_t integer)
{
    struct json_member m = {.name = span_text(name), .kind = (uint16_t)kind, .text = span_text(value),
                            .integer = (uint64_t)integer};
    list_builder_add(&next.members, &message_json_member, &m);
}

void with_text(const char *name, const char *value)
{
    with_member(name, JSON_KIND_TEXT, value, 0);
}

void with_nonces(const struct span *nonces, size_t count)
{
    next.answer.nonces = (struct list){.items = nonces, .count = count};
}

void with_nonce(const char *nonce)
{
    static struct span one;
    one = span_text(nonce);
    with_nonces(&one, 1);
}

void with_date(int64_t ahead)
{
    static char date[64];
    time_t at = time(NULL) + ahead;
    struct tm tm;
    assert_non_null(gmtime_r(&at, &tm));
    assert_true(strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0);
    next.answer.date = span_text(date);
}

void with_error(const char *error)
{
    with_text("error", error);
}

struct answer_world *good_answer(void)
{
    struct answer_world *a = answer(200);
    with_text("access_token", "abc.def");
    with_text("token_type", "DPoP");
    with_member("expires_in", JSON_KIND_INTEGER, NULL, 3600);
    return a;
}

static call_done take_done(size_t i)
{
    assert_true(i < call_count);
    call_done done = calls[i].done;
    assert_non_null(done);
    calls[i].done = NULL;
    return done;
}

void give_message(size_t i, const struct message *m, const void *in)
{
    struct buffer wire;
    call_done done = take_done(i);
    buffer_init(&wire, INTERNAL_FRAME_MAX);
    message_put(&wire, m, in);
    assert_false(wire.failed);
    done(calls[i].context, NULL, buffer_span(&wire));
    buffer_free(&wire);
}

void give(size_t i)
{
    next.answer.members = list_builder_list(&next.members);
    give_message(i, &message_fetch_answer, &next.answer);
}

void give_failure(size_t i, enum status status, bool sent)
{
    struct error err;
    struct buffer text;
    (void)error_set(&err, status, "next", "the net process says no");
    struct error_message m = {.status = (uint16_t)err.status, .message = span_text(err.message),
                              .next = span_text(err.next)};
    buffer_init(&text, 65536);
    message_put(&text, &message_error, &m);
    struct fetch_answer a = {.failure = buffer_span(&text), .sent = sent};
    give_message(i, &message_fetch_answer, &a);
    buffer_free(&text);
}

void give_trouble(size_t i, enum status status)
{
    struct error err;
    call_done done = take_done(i);
    (void)error_set(&err, status, "next", "there is no net process");
    done(calls[i].context, &err, span_text(NULL));
}

void challenge(size_t i, const char *nonce)
{
    (void)answer(400);
    with_error("use_dpop_nonce");
    if (nonce != NULL)
        with_nonce(nonce);
    give(i);
}

/* --- a world's beginning and end --- */

int open_front(const char *configuration)
{
    static const char *const jkts[] = {JKT, OTHER_JKT};
    struct config *config;
    struct error err;
    now = 1000 * SECOND;
    waits = 0;
    call_count = 0;
    metadata_fails = STATUS_OK;
    front = (struct front){0};
    server = (struct server_metadata){.issuer = (char *)(uintptr_t)"https://as.example/tenant",
                                      .token_endpoint = (char *)(uintptr_t)ENDPOINT};
    (void)answer(200);
    if ((calls = calloc(CALLS_MAX, sizeof(*calls))) == NULL)
        return -1;
    for (size_t i = 0; i < 2; i++) {
        keys[i] = (struct key){.name = keys[i].name};
        keys[i].public.jwk.x[0] = (uint8_t)i;
        copy_text(span_text(jkts[i]), keys[i].public.jkt, sizeof(keys[i].public.jkt));
        proof_header_init(&keys[i].public.header, &keys[i].public.jwk);
    }
    if (config_parse(span_text(configuration), "agent.conf", ROLE_SUPERVISOR, &config, &err) != STATUS_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    front.config = config;
    front.nonces = nonce_table_new(64);
    front.skew = skew_table_new(64, 3600);
    return front.nonces != NULL && front.skew != NULL ? as_requests_open(&front) : -1;
}

void close_front(void)
{
    as_requests_end(front.as_requests);
    for (size_t i = 0; i < call_count; i++) /* so that the leak checker sees real leaks; it may bring more calls */
        if (calls[i].done != NULL)
            give_trouble(i, STATUS_RESTARTED);
    for (size_t i = 0; i < call_count; i++) {
        free(calls[i].url);
        free(calls[i].form);
        free(calls[i].dpop);
        free(calls[i].redirect_uri);
        free(calls[i].page);
    }
    free(calls);
    as_requests_free(front.as_requests);
    nonce_table_free(front.nonces);
    skew_table_free(front.skew);
    list_builder_free(&next.members);
    config_free((struct config *)(uintptr_t)front.config);
}
