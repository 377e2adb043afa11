/*
 * One token request, with the key processes, the net process and the clock replaced by the test: what is sent, when it is
 * sent a second time, and what is made of each answer. Every exchange calls back exactly once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64url.h"
#include "children.h"
#include "exchange.h"
#include "keys.h"
#include "metadata.h"
#include "nonce.h"

#define SECOND UINT64_C(1000000)
#define ENDPOINT "https://as.example/token"
#define ORIGIN "https://as.example"
#define JKT "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile basic]\nkey = k\ntoken-endpoint = " ENDPOINT "\nclient-id = app 1\nclient-secret-file = /s\norigins = https://a\n"
    "form = audience=a b&c\nform = x=y=z\n"
    "[profile jwt]\nkey = k\nissuer = https://as.example/tenant\ntoken-endpoint = " ENDPOINT "\nclient-id = app\n"
    "client-authentication = private_key_jwt\nclient-key = other\norigins = https://a\n"
    "[profile found]\nkey = k\nissuer = https://as.example/tenant\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "[profile slash]\nkey = k\nissuer = https://as.example/\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "[profile odd]\nkey = k\ntoken-endpoint = HTTPS://AS.example:443/a/../%74oken%2f?tenant=1\nclient-id = app\n"
    "client-secret-file = /s\norigins = https://a\n";

/* --- what the exchange sees instead of the agent --- */

static struct front front;
static uint64_t now;

uint64_t front_now(const struct front *f)
{
    (void)f;
    return now;
}

struct key {
    const char *name;
    struct key_public public;
    enum status fails; /* instead of signing */
    unsigned int signatures;
};
static struct key keys[] = {{.name = "k"}, {.name = "other"}};

struct key *keys_find(struct keys *all, struct span name)
{
    (void)all;
    for (size_t i = 0; i < 2; i++)
        if (span_is(name, keys[i].name))
            return &keys[i];
    fail_msg("the exchange asks for a key that no profile names");
    return NULL;
}

void keys_sign(struct key *key, const struct sign_job *job)
{
    static const uint8_t signature[JWK_SIGNATURE_SIZE] = {1, 2, 3};
    uint8_t digest[JWK_DIGEST_SIZE];
    struct error err;
    enum status status = key->fails;
    if (status != STATUS_OK)
        (void)error_set(&err, status, NULL, "key \"%s\" fails", key->name);
    else
        status = job->build(job->context, &key->public, digest, &err);
    key->signatures += status == STATUS_OK;
    job->done(job->context, status == STATUS_OK ? NULL : &err, &key->public, signature);
}

/* A request to the net process; the test answers it. */
static struct call {
    char url[256], form[4096], dpop[4096];
    bool posts, authenticates;
    uint32_t timeout;
    uint64_t deadline;
    call_done done;
    void *context;
} calls[64];
static size_t call_count;

static void copy(struct span from, char *to, size_t size)
{
    assert_int_equal(span_copy(from, to, size), 0);
}

void children_call(struct children *c, enum role role, uint16_t operation, const struct message *m, const void *in,
                   uint64_t deadline, call_done done, void *context)
{
    const struct fetch_request *r = in;
    struct call *call = &calls[call_count++];
    (void)c;
    assert_int_equal(role, ROLE_NET);
    assert_int_equal(operation, INTERNAL_FETCH);
    assert_ptr_equal(m, &message_fetch_request);
    *call = (struct call){.posts = r->form.data != NULL, .authenticates = r->authenticate, .timeout = r->timeout,
                          .deadline = deadline, .done = done, .context = context};
    copy(r->url, call->url, sizeof(call->url));
    copy(r->form, call->form, sizeof(call->form));
    copy(r->dpop, call->dpop, sizeof(call->dpop));
}

/* --- answers --- */

static struct answer_world {
    struct list_builder members;
    struct fetch_answer answer;
} next;

static struct answer_world *answer(uint16_t status)
{
    list_builder_free(&next.members);
    list_builder_init(&next.members, 1 << 20);
    next.answer = (struct fetch_answer){.http_status = status};
    return &next;
}

static void with_member(const char *name, enum json_kind kind, const char *value, int64_t integer)
{
    struct json_member m = {.name = span_text(name), .kind = (uint16_t)kind, .text = span_text(value), .integer = (uint64_t)integer};
    list_builder_add(&next.members, &message_json_member, &m);
}

static void with_text(const char *name, const char *value)
{
    with_member(name, JSON_KIND_TEXT, value, 0);
}

static void with_nonces(const struct span *nonces, size_t count)
{
    next.answer.nonces = (struct list){.items = nonces, .count = count};
}

static void give(size_t i)
{
    struct buffer wire;
    call_done done = calls[i].done;
    assert_true(i < call_count);
    assert_non_null(done);
    calls[i].done = NULL;
    buffer_init(&wire, INTERNAL_FRAME_MAX);
    next.answer.members = list_builder_list(&next.members);
    message_put(&wire, &message_fetch_answer, &next.answer);
    assert_false(wire.failed);
    done(calls[i].context, NULL, buffer_span(&wire));
    buffer_free(&wire);
}

static void give_failure(size_t i, enum status status)
{
    struct error err;
    call_done done = calls[i].done;
    assert_non_null(done);
    calls[i].done = NULL;
    (void)error_set(&err, status, "next", "the net process says no");
    done(calls[i].context, &err, span_of("", 0));
}

static struct answer_world *good_answer(void)
{
    struct answer_world *a = answer(200);
    with_text("access_token", "abc.def");
    with_text("token_type", "DPoP");
    with_member("expires_in", JSON_KIND_INTEGER, NULL, 3600);
    return a;
}

static void challenge(size_t i, const char *nonce)
{
    struct span nonces[] = {span_text(nonce)};
    (void)answer(400);
    with_text("error", "use_dpop_nonce");
    with_nonces(nonces, nonce != NULL ? 1 : 0);
    give(i);
}

/* --- the caller --- */

static struct result {
    unsigned int calls;
    struct error err;
    char token[64], scope[64];
    uint32_t lifetime;
} result;

static void on_done(void *context, const struct error *err, const struct granted *granted)
{
    assert_ptr_equal(context, &result);
    result.calls++;
    result.err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    if (err == NULL) {
        copy(granted->access_token, result.token, sizeof(result.token));
        copy(granted->scope.data != NULL ? granted->scope : span_text("(absent)"), result.scope, sizeof(result.scope));
        assert_string_equal(granted->jkt, JKT);
        result.lifetime = granted->lifetime;
    }
}

static const struct strings no_resources;

static void start_with(const char *profile, const char *scope, const struct strings *resources)
{
    struct exchange_request r = {.profile = config_profile(front.config, span_text(profile)), .scope = span_text(scope),
                                 .resources = resources, .deadline = now + 30 * SECOND};
    result = (struct result){0};
    exchange_start(&front, &r, on_done, &result);
}

static void start(const char *profile)
{
    start_with(profile, NULL, &no_resources);
}

static void assert_failed(enum status status, const char *message)
{
    assert_int_equal(result.calls, 1);
    if (result.err.status != status || strstr(result.err.message, message) == NULL)
        fail_msg("%s: %s", status_name(result.err.status), result.err.message);
}

static void assert_granted(void)
{
    assert_int_equal(result.calls, 1);
    if (result.err.status != STATUS_OK)
        fail_msg("%s", result.err.message);
    assert_string_equal(result.token, "abc.def");
}

/* The second part of a JWS, decoded. */
static const char *payload(const char *jws)
{
    static char out[2][2048];
    static unsigned int turn;
    char *into = out[turn++ % 2];
    const char *begin = strchr(jws, '.'), *end;
    size_t len;
    assert_non_null(begin);
    assert_non_null(end = strchr(begin + 1, '.'));
    assert_int_equal(strlen(end + 1), base64url_length(JWK_SIGNATURE_SIZE)); /* it is signed */
    assert_int_equal(base64url_decode(span_of(begin + 1, (size_t)(end - begin - 1)), (uint8_t *)into, sizeof(out[0]) - 1, &len), 0);
    into[len] = '\0';
    return into;
}

/* A string member of a flat JSON text. */
static const char *member(const char *json, const char *name)
{
    static char out[4][512];
    static unsigned int turn;
    char *into = out[turn++ % 4], key[64];
    (void)snprintf(key, sizeof(key), "\"%s\":\"", name);
    const char *at = strstr(json, key);
    if (at == NULL)
        return NULL;
    at += strlen(key);
    copy(span_of(at, strcspn(at, "\"")), into, sizeof(out[0]));
    return into;
}

static const char *form_value(const struct call *c, const char *name)
{
    static char out[2][2048];
    static unsigned int turn;
    char *into = out[turn++ % 2], key[64];
    (void)snprintf(key, sizeof(key), "&%s=", name);
    const char *at = strstr(c->form, key);
    if (at == NULL)
        return NULL;
    at += strlen(key);
    copy(span_of(at, strcspn(at, "&")), into, sizeof(out[0]));
    return into;
}

static int open_world(void **state)
{
    struct config *config;
    struct error err;
    (void)state;
    now = 1000 * SECOND;
    call_count = 0;
    front = (struct front){0};
    for (size_t i = 0; i < 2; i++) {
        keys[i] = (struct key){.name = keys[i].name};
        keys[i].public.jwk.x[0] = (uint8_t)i;
        strcpy(keys[i].public.jkt, JKT);
        proof_header_init(&keys[i].public.header, &keys[i].public.jwk);
    }
    if (config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &config, &err) != STATUS_OK)
        return -1;
    front.config = config;
    front.nonces = nonce_table_new(16);
    return front.nonces == NULL ? -1 : metadata_open(&front);
}

static int close_world(void **state)
{
    (void)state;
    for (size_t i = 0; i < call_count; i++) /* what a test left open ends here, so that the leak checker sees real leaks */
        if (calls[i].done != NULL)
            give_failure(i, STATUS_TIMEOUT);
    metadata_free(front.metadata);
    nonce_table_free(front.nonces);
    list_builder_free(&next.members);
    config_free((struct config *)(uintptr_t)front.config);
    return 0;
}

/* --- what is sent --- */

static void test_the_request_is_a_form_with_a_proof_for_the_endpoint(void **state)
{
    char *items[] = {(char[]){"https://api.example/x"}, (char[]){"urn:y"}};
    struct strings resources = {.items = items, .count = 2};
    (void)state;
    start_with("basic", "b a", &resources);
    assert_int_equal(call_count, 1);
    assert_string_equal(calls[0].url, ENDPOINT);
    assert_string_equal(calls[0].form, "grant_type=client_credentials&scope=b+a&resource=https%3A%2F%2Fapi.example%2Fx"
                                       "&resource=urn%3Ay&audience=a+b%26c&x=y%3Dz");
    assert_true(calls[0].authenticates);
    assert_in_range(calls[0].timeout, 30000, 30001);
    assert_true(calls[0].deadline > now + 30 * SECOND);
    const char *claims = payload(calls[0].dpop);
    assert_string_equal(member(claims, "htm"), "POST");
    assert_string_equal(member(claims, "htu"), ENDPOINT);
    assert_null(member(claims, "nonce"));
    assert_null(member(claims, "ath"));
    assert_non_null(member(claims, "jti"));
    assert_non_null(strstr(claims, "\"iat\":"));
    (void)good_answer();
    give(0);
    assert_granted();
    assert_string_equal(result.scope, "(absent)");
    assert_int_equal(result.lifetime, 3600);
}

static void test_what_is_sent_is_the_endpoint_normalised_and_the_proof_says_the_same_without_the_query(void **state)
{
    (void)state;
    start("odd");
    assert_string_equal(calls[0].url, "https://as.example/token%2F?tenant=1");
    assert_string_equal(member(payload(calls[0].dpop), "htu"), "https://as.example/token%2F");
}

static void test_private_key_jwt_sends_an_assertion_for_the_issuer_signed_by_the_client_key(void **state)
{
    (void)state;
    start("jwt");
    assert_int_equal(keys[0].signatures, 1);
    assert_int_equal(keys[1].signatures, 1);
    assert_string_equal(form_value(&calls[0], "client_id"), "app");
    assert_string_equal(form_value(&calls[0], "client_assertion_type"),
                        "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer");
    const char *claims = payload(form_value(&calls[0], "client_assertion"));
    assert_string_equal(member(claims, "iss"), "app");
    assert_string_equal(member(claims, "sub"), "app");
    assert_string_equal(member(claims, "aud"), "https://as.example/tenant");
    (void)good_answer();
    give(0);
    assert_granted();
}

static void test_a_key_that_fails_ends_the_exchange_with_its_error_and_nothing_is_sent(void **state)
{
    (void)state;
    keys[0].fails = STATUS_KEY_ABSENT;
    start("basic");
    assert_failed(STATUS_KEY_ABSENT, "key \"k\" fails");
    start("jwt");
    assert_failed(STATUS_KEY_ABSENT, "key \"k\" fails");
    keys[0].fails = STATUS_OK;
    keys[1].fails = STATUS_KEY_LOCKED;
    start("jwt");
    assert_failed(STATUS_KEY_LOCKED, "key \"other\" fails");
    assert_int_equal(call_count, 0);
}

static void test_a_failure_of_the_net_process_is_handed_on(void **state)
{
    (void)state;
    start("basic");
    give_failure(0, STATUS_SERVER_UNREACHABLE);
    assert_failed(STATUS_SERVER_UNREACHABLE, "the net process says no");
}

static void test_an_answer_that_is_no_message_is_an_error(void **state)
{
    call_done done;
    (void)state;
    start("basic");
    done = calls[0].done;
    calls[0].done = NULL;
    done(calls[0].context, NULL, span_of("\0", 1));
    assert_failed(STATUS_MALFORMED, "");
}

/* --- nonces --- */

static void test_a_nonce_challenge_is_answered_once_with_that_nonce_and_everything_else_new(void **state)
{
    char jti[2][64], assertion_jti[2][64];
    (void)state;
    start("jwt");
    challenge(0, "nonce-1");
    assert_int_equal(result.calls, 0);
    assert_int_equal(call_count, 2);
    for (size_t i = 0; i < 2; i++) {
        copy(span_text(member(payload(calls[i].dpop), "jti")), jti[i], sizeof(jti[i]));
        copy(span_text(member(payload(form_value(&calls[i], "client_assertion")), "jti")), assertion_jti[i], sizeof(jti[i]));
    }
    assert_string_not_equal(jti[0], jti[1]);
    assert_string_not_equal(assertion_jti[0], assertion_jti[1]);
    assert_string_equal(member(payload(calls[1].dpop), "nonce"), "nonce-1");
    (void)good_answer();
    give(1);
    assert_granted();
}

static void test_from_the_second_exchange_on_the_nonce_is_sent_at_once(void **state)
{
    (void)state;
    start("basic");
    challenge(0, "nonce-1");
    (void)good_answer();
    give(1);
    assert_granted();
    start("basic");
    assert_string_equal(member(payload(calls[2].dpop), "nonce"), "nonce-1");
    (void)good_answer();
    give(2);
    assert_granted();
    assert_int_equal(call_count, 3);
}

static void test_the_nonce_of_any_answer_is_learned(void **state)
{
    struct span nonces[] = {span_text("from-200"), span_text("from-500")};
    (void)state;
    start("basic");
    (void)good_answer();
    with_nonces(nonces, 1);
    give(0);
    assert_string_equal(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT), "from-200");
    start("basic");
    assert_string_equal(member(payload(calls[1].dpop), "nonce"), "from-200");
    (void)answer(500);
    with_nonces(nonces + 1, 1);
    give(1);
    assert_string_equal(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT), "from-500");
    assert_null(nonce_get(front.nonces, NONCE_RESOURCE_SERVER, ORIGIN, JKT));
}

static void test_a_second_challenge_ends_the_exchange(void **state)
{
    (void)state;
    start("basic");
    challenge(0, "nonce-1");
    challenge(1, "nonce-2");
    assert_failed(STATUS_SERVER_MISBEHAVED, "again and again");
    assert_int_equal(result.err.http_status, 400);
    assert_string_equal(result.err.oauth_error, "use_dpop_nonce");
    assert_int_equal(call_count, 2);
    assert_string_equal(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT), "nonce-2"); /* for the next one */
}

static void test_a_challenge_with_the_nonce_that_was_just_refused_is_not_answered(void **state)
{
    (void)state;
    assert_int_equal(nonce_put(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT, span_text("same")), 0);
    start("basic");
    challenge(0, "same");
    assert_failed(STATUS_SERVER_MISBEHAVED, "refuses the DPoP nonce that it issued itself");
    assert_int_equal(call_count, 1);
}

static void test_a_challenge_without_a_usable_nonce_is_not_answered(void **state)
{
    struct span two[] = {span_text("one"), span_text("two")}, bad[] = {span_text("with blank"), span_text("")};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t call = call_count;
        start("basic");
        (void)answer(400);
        with_text("error", "use_dpop_nonce");
        if (i == 0)
            with_nonces(two, 2);
        else if (i < 3)
            with_nonces(&bad[i - 1], 1);
        give(call);
        assert_failed(STATUS_SERVER_MISBEHAVED, "sends none that may be used");
        assert_int_equal(call_count, call + 1);
    }
    assert_null(nonce_get(front.nonces, NONCE_AUTHORIZATION_SERVER, ORIGIN, JKT));
}

static void test_the_resource_servers_form_of_a_challenge_is_understood_too(void **state)
{
    struct span nonces[] = {span_text("n")}, challenges[] = {span_text("Basic realm=\"x\", DPoP algs=\"ES256\", error=\"use_dpop_nonce\"")};
    (void)state;
    start("basic");
    (void)answer(401);
    next.answer.challenges = (struct list){.items = challenges, .count = 1};
    with_nonces(nonces, 1);
    give(0);
    assert_int_equal(call_count, 2);
    assert_string_equal(member(payload(calls[1].dpop), "nonce"), "n");
}

static void test_only_a_400_or_401_asks_for_a_nonce(void **state)
{
    static const uint16_t statuses[] = {403, 302, 500};
    struct span nonces[] = {span_text("n1"), span_text("n2"), span_text("n3")};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        size_t call = call_count;
        start("basic");
        (void)answer(statuses[i]);
        with_text("error", "use_dpop_nonce");
        with_nonces(&nonces[i], 1);
        give(call);
        assert_int_equal(result.calls, 1);
        assert_int_equal(call_count, call + 1);
    }
}

/* --- refusals --- */

static void test_an_oauth_error_is_kept_with_all_its_fields_and_a_next_step(void **state)
{
    (void)state;
    start("basic");
    (void)answer(401);
    next.answer.retry_after = 17;
    with_text("error", "invalid_client");
    with_text("error_description", "no such client");
    with_text("error_uri", "https://as.example/help");
    give(0);
    assert_failed(STATUS_SERVER_REFUSED, "refuses: invalid_client");
    assert_int_equal(result.err.http_status, 401);
    assert_int_equal(result.err.retry_after, 17);
    assert_string_equal(result.err.oauth_error, "invalid_client");
    assert_string_equal(result.err.oauth_description, "no such client");
    assert_string_equal(result.err.oauth_uri, "https://as.example/help");
    assert_non_null(strstr(result.err.next, "client-id"));
    assert_int_equal(call_count, 1);
}

static void test_what_a_server_says_cannot_bring_control_characters_or_endless_text(void **state)
{
    char *longest = malloc(100001);
    (void)state;
    assert_non_null(longest);
    memset(longest, 'x', 100000);
    longest[100000] = '\0';
    start("basic");
    (void)answer(400);
    with_text("error", "bad\n\x1b[31m\xff");
    with_text("error_description", longest);
    give(0);
    assert_failed(STATUS_SERVER_REFUSED, "refuses: bad??[31m?");
    assert_string_equal(result.err.oauth_error, "bad??[31m?");
    assert_int_equal(strlen(result.err.oauth_description), sizeof(result.err.oauth_description) - 1);
    free(longest);
}

static void test_other_statuses_are_told_apart(void **state)
{
    static const struct {
        uint16_t http;
        enum status status;
        const char *message;
    } rows[] = {{500, STATUS_SERVER_UNAVAILABLE, "status 500"},   {503, STATUS_SERVER_UNAVAILABLE, "status 503"},
                {429, STATUS_SERVER_UNAVAILABLE, "status 429"},   {302, STATUS_SERVER_MISBEHAVED, "redirect (status 302)"},
                {307, STATUS_SERVER_MISBEHAVED, "redirect"},      {404, STATUS_SERVER_MISBEHAVED, "status 404, which is neither 200 nor an OAuth error"},
                {204, STATUS_SERVER_MISBEHAVED, "status 204"},    {201, STATUS_SERVER_MISBEHAVED, "status 201"}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start("basic");
        (void)answer(rows[i].http);
        if (rows[i].http == 201) { /* a token in any answer but a 200 is none */
            with_text("access_token", "abc.def");
            with_text("token_type", "DPoP");
        }
        give(call_count - 1);
        assert_failed(rows[i].status, rows[i].message);
        assert_int_equal(result.err.http_status, rows[i].http);
    }
}

/* --- the token --- */

static void test_a_token_that_is_not_dpop_is_discarded(void **state)
{
    static const char *const types[] = {"Bearer", "bearer", "DPoP2", "DPo", "", "N_A"};
    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        start("basic");
        (void)answer(200);
        with_text("access_token", "abc.def");
        with_text("token_type", types[i]);
        give(call_count - 1);
        assert_failed(STATUS_TOKEN_NOT_DPOP, "instead of DPoP");
        assert_string_equal(result.token, "");
    }
}

static void test_the_token_type_is_compared_without_regard_to_case(void **state)
{
    static const char *const types[] = {"dpop", "DPOP", "DpOp"};
    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        start("basic");
        (void)answer(200);
        with_text("access_token", "abc.def");
        with_text("token_type", types[i]);
        give(call_count - 1);
        assert_granted();
    }
}

static void test_a_token_that_is_bound_to_another_key_is_discarded(void **state)
{
    (void)state;
    start("basic");
    good_answer()->answer.cnf_jkt = span_text(JKT);
    next.answer.jwt = true;
    give(0);
    assert_granted();
    start("basic");
    good_answer()->answer.cnf_jkt = span_text("1" JKT);
    next.answer.jwt = true;
    give(1);
    assert_failed(STATUS_TOKEN_OTHER_KEY, "another key");
    start("basic");
    good_answer()->answer.cnf_jkt = span_text("");
    give(2);
    assert_failed(STATUS_TOKEN_OTHER_KEY, "another key");
}

static void test_an_answer_without_a_usable_token_is_an_error(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        start("basic");
        (void)answer(200);
        if (i == 1)
            with_text("access_token", "");
        else if (i == 2)
            with_text("access_token", "b\xc3\xa4");
        else if (i == 3)
            with_text("access_token", "line\r\nX: y");
        else if (i == 4)
            with_member("access_token", JSON_KIND_INTEGER, NULL, 7);
        else if (i == 5)
            with_member("access_token", JSON_KIND_OTHER, "{}", 0);
        with_text("token_type", "DPoP");
        give(call_count - 1);
        assert_failed(STATUS_SERVER_MISBEHAVED, "no usable access_token");
    }
    start("basic");
    (void)answer(200);
    with_text("access_token", "abc.def");
    give(call_count - 1);
    assert_failed(STATUS_SERVER_MISBEHAVED, "no token_type");
}

static void test_a_token_over_64_kib_is_an_error(void **state)
{
    char *longest = malloc(LIMIT_ACCESS_TOKEN + 2);
    (void)state;
    assert_non_null(longest);
    memset(longest, 't', LIMIT_ACCESS_TOKEN + 1);
    longest[LIMIT_ACCESS_TOKEN + 1] = '\0';
    start("basic");
    (void)answer(200);
    with_text("access_token", longest);
    with_text("token_type", "DPoP");
    give(0);
    assert_failed(STATUS_SERVER_MISBEHAVED, "no usable access_token");
    free(longest);
}

static void test_a_body_that_is_no_json_is_told_with_its_reason(void **state)
{
    (void)state;
    start("basic");
    answer(200)->answer.json_error = span_text("not an object");
    give(0);
    assert_failed(STATUS_SERVER_MISBEHAVED, "not an object");
}

static void test_the_granted_scope_is_handed_on(void **state)
{
    (void)state;
    start_with("basic", "a b", &no_resources);
    (void)good_answer();
    with_text("scope", "a");
    give(0);
    assert_granted();
    assert_string_equal(result.scope, "a");
    start_with("basic", "a b", &no_resources);
    (void)good_answer();
    with_text("scope", "a\n");
    give(1);
    assert_failed(STATUS_SERVER_MISBEHAVED, "scope");
}

static void test_the_lifetime_is_expires_in_or_the_jwts_or_five_minutes_and_at_most_a_day(void **state)
{
    static const struct {
        int kind; /* 0: no expires_in */
        int64_t expires_in;
        uint32_t jwt, expected;
    } rows[] = {{JSON_KIND_INTEGER, 60, 0, 60},      {JSON_KIND_INTEGER, 0, 0, 0},        {JSON_KIND_INTEGER, 60, 999, 60},
                {0, 0, 0, 300},                      {0, 0, 120, 120},                    {JSON_KIND_NULL, 0, 0, 300},
                {JSON_KIND_NULL, 0, 120, 120},       {JSON_KIND_INTEGER, 86400, 0, 86400}, {JSON_KIND_INTEGER, 86401, 0, 86400},
                {JSON_KIND_INTEGER, INT64_MAX, 0, 86400}, {0, 0, UINT32_MAX, 86400}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start("basic");
        (void)answer(200);
        with_text("access_token", "abc.def");
        with_text("token_type", "DPoP");
        if (rows[i].kind != 0)
            with_member("expires_in", (enum json_kind)rows[i].kind, NULL, rows[i].expires_in);
        next.answer.lifetime = rows[i].jwt;
        give(call_count - 1);
        assert_granted();
        assert_int_equal(result.lifetime, rows[i].expected);
    }
}

static void test_an_expires_in_that_is_no_number_of_seconds_is_an_error(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        start("basic");
        (void)answer(200);
        with_text("access_token", "abc.def");
        with_text("token_type", "DPoP");
        if (i < 2)
            with_member("expires_in", JSON_KIND_INTEGER, NULL, i == 0 ? -1 : INT64_MIN);
        else
            with_member("expires_in", i == 2 ? JSON_KIND_TEXT : JSON_KIND_OTHER, i == 2 ? "3600" : "3600.5", 0);
        give(call_count - 1);
        assert_failed(STATUS_SERVER_MISBEHAVED, "expires_in");
    }
}

/* --- metadata --- */

static void metadata_answer(const char *issuer, const char *endpoint)
{
    (void)answer(200);
    if (issuer != NULL)
        with_text("issuer", issuer);
    if (endpoint != NULL)
        with_text("token_endpoint", endpoint);
}

static void test_the_endpoint_is_discovered_once_and_kept_for_an_hour(void **state)
{
    (void)state;
    start("found");
    assert_string_equal(calls[0].url, "https://as.example/.well-known/oauth-authorization-server/tenant");
    assert_false(calls[0].posts || calls[0].authenticates);
    assert_string_equal(calls[0].dpop, "");
    metadata_answer("https://as.example/tenant", ENDPOINT);
    give(0);
    assert_string_equal(calls[1].url, ENDPOINT);
    (void)good_answer();
    give(1);
    assert_granted();
    now += 3599 * SECOND;
    start("found");
    assert_string_equal(calls[2].url, ENDPOINT);
    (void)good_answer();
    give(2);
    now += SECOND;
    start("found");
    assert_non_null(strstr(calls[3].url, ".well-known"));
    give_failure(3, STATUS_SERVER_UNREACHABLE); /* what is known is used on */
    assert_string_equal(calls[4].url, ENDPOINT);
    (void)good_answer();
    give(4);
    assert_granted();
}

static void test_both_well_known_forms_are_tried(void **state)
{
    (void)state;
    start("found");
    (void)answer(404);
    give(0);
    assert_string_equal(calls[1].url, "https://as.example/tenant/.well-known/openid-configuration");
    metadata_answer("https://as.example/tenant", ENDPOINT);
    give(1);
    assert_string_equal(calls[2].url, ENDPOINT);
    start("slash");
    assert_string_equal(calls[3].url, "https://as.example/.well-known/oauth-authorization-server");
    answer(200)->answer.json_error = span_text("a page"); /* as good as a 404 */
    give(3);
    assert_string_equal(calls[4].url, "https://as.example/.well-known/openid-configuration");
    (void)answer(404);
    give(4);
    assert_failed(STATUS_SERVER_MISBEHAVED, "no metadata at https://as.example/: status 404");
    start("slash");
    (void)answer(503);
    give(5);
    assert_failed(STATUS_SERVER_UNAVAILABLE, "status 503");
}

static void test_metadata_that_cannot_be_trusted_are_refused(void **state)
{
    static const struct {
        const char *issuer, *endpoint;
        enum status status;
    } rows[] = {{"https://as.example", ENDPOINT, STATUS_SERVER_MISBEHAVED},
                {"https://as.example/tenant/", ENDPOINT, STATUS_SERVER_MISBEHAVED},
                {NULL, ENDPOINT, STATUS_SERVER_MISBEHAVED},
                {"https://as.example/tenant", NULL, STATUS_SERVER_MISBEHAVED},
                {"https://as.example/tenant", "/token", STATUS_SERVER_MISBEHAVED},
                {"https://as.example/tenant", "http://as.example/token", STATUS_INSECURE_URL},
                {"https://as.example/tenant", "http://127.0.0.1/token", STATUS_INSECURE_URL}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t call = call_count;
        start("found");
        metadata_answer(rows[i].issuer, rows[i].endpoint);
        give(call);
        assert_failed(rows[i].status, "metadata of https://as.example/tenant");
        assert_int_equal(call_count, call + 1);
    }
}

static void test_a_server_that_lists_dpop_algorithms_must_list_es256(void **state)
{
    struct span without[] = {span_text("RS256"), span_text("ES384")}, with[] = {span_text("RS256"), span_text("ES256")};
    struct json_member m = {.name = span_text("dpop_signing_alg_values_supported"), .kind = JSON_KIND_TEXTS};
    (void)state;
    start("found");
    metadata_answer("https://as.example/tenant", ENDPOINT);
    m.texts = (struct list){.items = without, .count = 2};
    list_builder_add(&next.members, &message_json_member, &m);
    give(0);
    assert_failed(STATUS_SERVER_MISBEHAVED, "does not list ES256");
    start("found");
    metadata_answer("https://as.example/tenant", ENDPOINT);
    m.texts = (struct list){.items = with, .count = 2};
    list_builder_add(&next.members, &message_json_member, &m);
    give(1);
    assert_string_equal(calls[2].url, ENDPOINT);
}

static void on_endpoint(void *context, const struct error *err, const char *endpoint)
{
    unsigned int *count = context;
    assert_null(err);
    assert_string_equal(endpoint, ENDPOINT);
    (*count)++;
}

static void test_all_who_want_the_same_metadata_wait_for_one_request(void **state)
{
    const struct profile_config *p = config_profile(front.config, span_text("found"));
    unsigned int count = 0;
    (void)state;
    assert_null(metadata_token_endpoint(front.metadata, p));
    for (int i = 0; i < 50; i++)
        metadata_get(front.metadata, p, now + SECOND, on_endpoint, &count);
    assert_int_equal(call_count, 1);
    metadata_answer("https://as.example/tenant", ENDPOINT);
    give(0);
    assert_int_equal(count, 50);
    assert_string_equal(metadata_token_endpoint(front.metadata, p), ENDPOINT);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_the_request_is_a_form_with_a_proof_for_the_endpoint),
        TEST(test_what_is_sent_is_the_endpoint_normalised_and_the_proof_says_the_same_without_the_query),
        TEST(test_private_key_jwt_sends_an_assertion_for_the_issuer_signed_by_the_client_key),
        TEST(test_a_key_that_fails_ends_the_exchange_with_its_error_and_nothing_is_sent),
        TEST(test_a_failure_of_the_net_process_is_handed_on),
        TEST(test_an_answer_that_is_no_message_is_an_error),
        TEST(test_a_nonce_challenge_is_answered_once_with_that_nonce_and_everything_else_new),
        TEST(test_from_the_second_exchange_on_the_nonce_is_sent_at_once),
        TEST(test_the_nonce_of_any_answer_is_learned),
        TEST(test_a_second_challenge_ends_the_exchange),
        TEST(test_a_challenge_with_the_nonce_that_was_just_refused_is_not_answered),
        TEST(test_a_challenge_without_a_usable_nonce_is_not_answered),
        TEST(test_the_resource_servers_form_of_a_challenge_is_understood_too),
        TEST(test_only_a_400_or_401_asks_for_a_nonce),
        TEST(test_an_oauth_error_is_kept_with_all_its_fields_and_a_next_step),
        TEST(test_what_a_server_says_cannot_bring_control_characters_or_endless_text),
        TEST(test_other_statuses_are_told_apart),
        TEST(test_a_token_that_is_not_dpop_is_discarded),
        TEST(test_the_token_type_is_compared_without_regard_to_case),
        TEST(test_a_token_that_is_bound_to_another_key_is_discarded),
        TEST(test_an_answer_without_a_usable_token_is_an_error),
        TEST(test_a_token_over_64_kib_is_an_error),
        TEST(test_a_body_that_is_no_json_is_told_with_its_reason),
        TEST(test_the_granted_scope_is_handed_on),
        TEST(test_the_lifetime_is_expires_in_or_the_jwts_or_five_minutes_and_at_most_a_day),
        TEST(test_an_expires_in_that_is_no_number_of_seconds_is_an_error),
        TEST(test_the_endpoint_is_discovered_once_and_kept_for_an_hour),
        TEST(test_both_well_known_forms_are_tried),
        TEST(test_metadata_that_cannot_be_trusted_are_refused),
        TEST(test_a_server_that_lists_dpop_algorithms_must_list_es256),
        TEST(test_all_who_want_the_same_metadata_wait_for_one_request),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
