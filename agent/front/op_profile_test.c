/*
 * The operation `profile test`: tries what a profile needs, one thing after the other, and says of each what it found
 * (profile_test.h). Nothing is changed by it: no login is spent, and of a token that it gets nothing is kept.
 *
 *   key(s) → metadata, fetched anew → a token request. With client_credentials that is a real one; with the other
 *   grants a refresh token that cannot be one, to which a server that knows the client says invalid_grant, and one that
 *   does not invalid_client. What that means is asked of the authorization endpoint then.
 */
#include "operations.h"

#include "answer.h"
#include "as_request.h"
#include "authorization_url.h"
#include "base64url.h"
#include "children.h"
#include "exchange.h"
#include "form.h"
#include "keys.h"
#include "metadata.h"
#include "profile_test.h"
#include "trace.h"
#include "url.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIST_MAX (512 * 1024)
#define FORM_MAX (64 * 1024)
#define PROBE_BYTES 24
#define NET_GRACE UINT64_C(1000000)

struct work {
    struct request *request;
    struct front *front;
    const struct profile_config *profile;
    uint64_t deadline;
    char *authorization_endpoint; /* NULL: none known */
    bool speaks_dpop;
    struct profile_test test;
};

static void finish(struct work *w)
{
    struct list_builder checks;
    list_builder_init(&checks, LIST_MAX);
    profile_test_put(&w->test, &checks);
    struct profile_test_answer answer = {.checks = list_builder_list(&checks)};
    request_answer(w->request, &message_profile_test_answer, &answer);
    list_builder_free(&checks);
    free(w->authorization_endpoint);
    free(w);
}

/* --- is the client known? --- */

static void on_asked(void *context, const struct error *err, struct span fields)
{
    struct work *w = context;
    struct fetch_answer a;
    struct error wrong;
    if (err == NULL && message_take(fields, &message_fetch_answer, &a, sizeof(a), &wrong) == STATUS_OK) {
        trace_add(w->front, w->profile, a.trace);
        if (a.failure.data == NULL)
            profile_test_client_known(&w->test, &a);
    }
    finish(w);
}

/* A request that no user sees, and that cannot succeed: it has no redirect URI and no challenge. */
static void ask_for_client(struct work *w)
{
    struct front *f = w->front;
    char url[URL_SIZE];
    struct buffer form;
    uint64_t now = front_now(f);
    buffer_init(&form, FORM_MAX);
    form_put(&form, "client_id", span_text(w->profile->client_id));
    form_put(&form, "response_type", span_text("code"));
    if (w->authorization_endpoint == NULL || form.failed ||
        authorization_url(w->authorization_endpoint, buffer_span(&form), url, sizeof(url)) != 0) {
        buffer_free(&form);
        finish(w);
        return;
    }
    buffer_free(&form);
    struct fetch_request m = {.profile = span_text(w->profile->name),
                              .url = span_text(url),
                              .timeout = w->deadline > now ? (uint32_t)((w->deadline - now) / 1000) + 1 : 1};
    children_fetch(f->children, NULL, &m, w->deadline + NET_GRACE, on_asked, w);
}

static void request_failed(struct work *w, const struct error *err)
{
    profile_test_request_failed(&w->test, err);
    if (strcmp(err->oauth_error, "invalid_client") == 0)
        ask_for_client(w);
    else
        finish(w);
}

/* --- a token request --- */

static void on_granted(void *context, const struct error *err, const struct granted *granted,
                       const struct exchange_result *result)
{
    struct work *w = context;
    (void)result;
    if (err != NULL) {
        request_failed(w, err);
        return;
    }
    profile_test_granted(&w->test, span_is(granted->token_type, "DPoP"), granted->jkt, granted->lifetime);
    finish(w);
}

static void ask_for_token(struct work *w)
{
    struct exchange_request request = {.profile = w->profile,
                                       .stage = "token request",
                                       .grant_type = config_grant_type(w->profile->grant),
                                       .scope = span_text(w->profile->scope),
                                       .resources = &w->profile->resources,
                                       .audiences = true,
                                       .deadline = w->deadline};
    exchange_start(w->front, &request, on_granted, w);
}

static void on_probed(void *context, const struct error *err, const struct fetch_answer *a,
                      const struct as_result *result)
{
    struct work *w = context;
    (void)result;
    if (err != NULL) {
        request_failed(w, err);
        return;
    }
    profile_test_probe(&w->test, a);
    if (w->test.checks[TEST_CLOCK].result == CHECK_NOT_TRIED)
        profile_test_clock(&w->test, a->date, (int64_t)time(NULL));
    if (span_is(answer_text(a, "error"), "invalid_client"))
        ask_for_client(w);
    else
        finish(w);
}

static void on_endpoint(void *context, const struct error *err, const struct server_metadata *server)
{
    struct work *w = context;
    uint8_t random[PROBE_BYTES];
    char text[BASE64URL_LENGTH(PROBE_BYTES) + 1];
    struct buffer form;
    if (err != NULL || server->token_endpoint == NULL) {
        if (err != NULL)
            profile_test_request_failed(&w->test, err);
        finish(w);
        return;
    }
    randombytes_buf(random, sizeof(random));
    base64url_encode(random, sizeof(random), text);
    buffer_init(&form, FORM_MAX);
    form_put(&form, "grant_type", span_text("refresh_token"));
    form_put(&form, "refresh_token", span_text(text));
    struct as_request request = {.profile = w->profile, .server = server, .endpoint = server->token_endpoint,
                                 .stage = "token request",
                                 .form = buffer_span(&form), .dpop = w->speaks_dpop, .deadline = w->deadline};
    profile_test_set(&w->test, TEST_TOKEN, CHECK_NOT_TRIED, NULL, "%s",
                     config_needs_login(w->profile) ? "a user has to log in for one: dpop login"
                     : "dpop token gets one");
    as_request_send(w->front, &request, on_probed, w);
    buffer_free(&form);
}

static void try_client(struct work *w)
{
    static const enum profile_check needed[] = {TEST_KEY,       TEST_CLIENT_KEY, TEST_SERVER, TEST_TLS, TEST_RESOURCE,
                                                TEST_DISCOVERY, TEST_DPOP};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (profile_test_failed(&w->test, needed[i])) {
            finish(w);
            return;
        }
    if (w->profile->grant == GRANT_CLIENT_CREDENTIALS)
        ask_for_token(w);
    else
        metadata_get(w->front->metadata, w->profile, w->deadline, on_endpoint, w);
}

/* --- metadata --- */

static void on_metadata(void *context, const struct error *err, const struct server_metadata *server)
{
    struct work *w = context;
    profile_test_metadata(&w->test, err, server, (int64_t)time(NULL));
    w->speaks_dpop = true;
    if (err == NULL) {
        const struct strings *algorithms = &server->dpop_signing_alg_values;
        w->speaks_dpop = w->profile->dpop != DPOP_OPTIONAL || algorithms->count == 0 ||
                         w->test.checks[TEST_DPOP].result == CHECK_PASSED;
        w->authorization_endpoint = server->authorization_endpoint != NULL ? strdup(server->authorization_endpoint)
            : NULL;
    }
    try_client(w);
}

/* --- keys --- */

static void sign(struct work *w, const char *key_name,
                 void (*done)(void *context, const struct error *err, const struct key_public *key,
                              const uint8_t *signature))
{
    uint64_t now = front_now(w->front); /* a key that does not come must leave time for the rest */
    uint64_t deadline = w->deadline > now ? now + (w->deadline - now) / 3 : now;
    struct sign_job job = {.done = done, .context = w, .deadline = deadline};
    keys_sign(keys_find(w->front->keys, span_text(key_name)), &job);
}

static void on_client_key(void *context, const struct error *err, const struct key_public *key,
                          const uint8_t *signature)
{
    struct work *w = context;
    (void)signature;
    profile_test_key(&w->test, TEST_CLIENT_KEY, err, err == NULL ? key->jkt : NULL);
    metadata_renew(w->front->metadata, w->profile, w->deadline, on_metadata, w);
}

static void on_key(void *context, const struct error *err, const struct key_public *key, const uint8_t *signature)
{
    struct work *w = context;
    (void)signature;
    profile_test_key(&w->test, TEST_KEY, err, err == NULL ? key->jkt : NULL);
    if (w->test.checks[TEST_CLIENT_KEY].wanted)
        sign(w, w->profile->client_key, on_client_key);
    else
        metadata_renew(w->front->metadata, w->profile, w->deadline, on_metadata, w);
}

void op_profile_test(struct request *r, const void *message)
{
    const struct profile_test_request *in = message;
    const struct profile_config *profile = operations_profile(r, in->profile);
    struct work *w;
    struct error err;
    if (profile == NULL)
        return;
    if ((w = calloc(1, sizeof(*w))) == NULL) {
        (void)error_set(&err, STATUS_NO_MEMORY, NULL, "out of memory");
        request_fail(r, &err);
        return;
    }
    *w = (struct work){.request = r, .front = r->front, .profile = profile,
                       .deadline = front_deadline(r->front, in->timeout)};
    profile_test_init(&w->test, profile);
    sign(w, profile->key, on_key);
}
