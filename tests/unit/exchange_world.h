/* What the tests of an exchange share: profiles, one caller, and what it got. */
#ifndef TEST_EXCHANGE_WORLD_H
#define TEST_EXCHANGE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exchange.h"
#include "front_world.h"

static const char exchange_configuration[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile basic]\nkey = k\ntoken-endpoint = " ENDPOINT "\nclient-id = app 1\nclient-secret-file = /s\norigins = https://a\n"
    "form = x=y=z\naudience = a b&c\nauthorization-details = [{\"type\":\"t\"}]\n"
    "[profile refresh-only]\nkey = k\ntoken-endpoint = " ENDPOINT "\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "dpop = refresh-only\n"
    "[profile optional]\nkey = k\ntoken-endpoint = " ENDPOINT "\nclient-id = app\nclient-secret-file = /s\norigins = https://a\n"
    "dpop = optional\n"
    "[profile odd]\nkey = k\ntoken-endpoint = HTTPS://AS.example:443/a/../%74oken%2f?tenant=1\nclient-id = app\n"
    "client-secret-file = /s\norigins = https://a\n";

static struct result {
    unsigned int calls;
    struct error err;
    bool granted;
    char token[64], type[16], scope[64], refresh[64], subject[64], raw[256], jkt[64];
    uint32_t lifetime;
    uint64_t asked;
    struct exchange_result more;
} result;

static inline void copy_or_absent(struct span from, char *to, size_t size)
{
    copy_text(from.data != NULL ? from : span_text("(absent)"), to, size);
}

static inline void on_done(void *context, const struct error *err, const struct granted *g, const struct exchange_result *more)
{
    assert_ptr_equal(context, &result);
    result.calls++;
    result.err = err != NULL ? *err : (struct error){.status = STATUS_OK};
    result.granted = g != NULL;
    result.more = *more;
    assert_true(err != NULL || g != NULL);
    if (g == NULL)
        return;
    copy_or_absent(g->access_token, result.token, sizeof(result.token));
    copy_or_absent(g->token_type, result.type, sizeof(result.type));
    copy_or_absent(g->scope, result.scope, sizeof(result.scope));
    copy_or_absent(g->refresh_token, result.refresh, sizeof(result.refresh));
    copy_or_absent(g->subject, result.subject, sizeof(result.subject));
    copy_or_absent(g->raw, result.raw, sizeof(result.raw));
    copy_text(span_text(g->jkt), result.jkt, sizeof(result.jkt));
    result.lifetime = g->lifetime;
    result.asked = g->asked;
}

static inline struct exchange_request request_of(const char *name)
{
    return (struct exchange_request){.profile = profile(name), .stage = "token request", .grant_type = "client_credentials",
                                     .audiences = true, .deadline = now + 30 * SECOND};
}

static inline void start_with(const struct exchange_request *r)
{
    result = (struct result){0};
    exchange_start(&front, r, on_done, &result);
}

static inline void start(const char *name)
{
    struct exchange_request r = request_of(name);
    start_with(&r);
}

static inline void assert_failed(enum status status, const char *message)
{
    assert_int_equal(result.calls, 1);
    if (result.err.status != status || strstr(result.err.message, message) == NULL)
        fail_msg("%s: %s", status_name(result.err.status), result.err.message);
}

static inline void assert_granted(void)
{
    assert_int_equal(result.calls, 1);
    if (result.err.status != STATUS_OK)
        fail_msg("%s", result.err.message);
    assert_string_equal(result.token, "abc.def");
    assert_false(result.more.in_doubt);
}

static inline int open_world(void **state)
{
    (void)state;
    return open_front(exchange_configuration);
}

static inline int close_world(void **state)
{
    (void)state;
    close_front();
    return 0;
}

#endif
