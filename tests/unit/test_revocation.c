/* The end of what is bound to a key: each access token is revoked, each login ended, and what a server does not take
   back is noted. The cache, the logins and the requests to the server are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "front_world.h"
#include "logins.h"
#include "revocation.h"
#include "tokens.h"

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile one]\nkey = k\nissuer = https://as.example\nclient-id = one\nclient-secret-file = /s\n"
    "origins = https://a\nrevocation-form = x=y\n"
    "[profile user]\nkey = k\nissuer = https://as.example\nclient-id = two\nclient-authentication = none\n"
    "grant = device_code\norigins = https://a\n"
    "[profile kept]\nkey = k\nissuer = https://as.example\nclient-id = three\nclient-secret-file = /s\n"
    "grant = device_code\norigins = https://a\n";

static struct {
    unsigned int cached;        /* tokens of each profile that the cache has */
    const char *taken_jkt;      /* of the last question */
    unsigned int logins_ended;
    const char *why;
    bool was_in, revoked;
    const char *note;
    unsigned int done;
    struct list_builder bound;
} world;

static struct taken_token *one_token(const char *name, const char *token)
{
    struct taken_token *t = calloc(1, sizeof(*t));
    struct granted g = {
        .access_token = span_text(token), .token_type = span_text("DPoP"), .jkt = JKT, .lifetime = 100, .asked = now};
    assert_non_null(t);
    t->profile = profile(name);
    assert_int_equal(held_token_take(&t->token, &g, now), 0);
    return t;
}

struct taken_token *tokens_take(struct tokens *tokens, const struct profile_config *p, const char *jkt)
{
    (void)tokens;
    struct taken_token *list = NULL;
    char name[32];
    world.taken_jkt = jkt;
    for (unsigned int i = 0; i < world.cached; i++) {
        (void)snprintf(name, sizeof(name), "%s-%u", p->name, i);
        struct taken_token *t = one_token(p->name, name);
        t->next = list;
        list = t;
    }
    return list;
}

bool logins_bound(const struct front *f, const struct profile_config *p)
{
    (void)f;
    return strcmp(p->name, "user") == 0;
}

void logins_end_because(struct front *f, const struct profile_config *p, const char *why, login_ended done,
                        void *context)
{
    (void)f;
    (void)p;
    world.logins_ended++;
    world.why = why;
    done(context, NULL, world.was_in, world.revoked, world.note);
}

static void on_done(void *context)
{
    assert_ptr_equal(context, &world);
    world.done++;
}

/* Of all three profiles. */
static void begin(const char *jkt, bool keep_logins, struct taken_token *taken)
{
    const struct profile_config *const all[] = {profile("one"), profile("user"), profile("kept")};
    struct revocation_request request = {.profiles = all,
                                         .count = 3,
                                         .jkt = jkt,
                                         .taken = taken,
                                         .keep_logins = keep_logins,
                                         .why = "why",
                                         .deadline = now + 10 * SECOND,
                                         .bound = &world.bound};
    list_builder_init(&world.bound, 1 << 20);
    revocation_start(&front, &request, on_done, &world);
}

static struct bound_info info(const char *name)
{
    struct list list = list_builder_list(&world.bound);
    struct bound_info m;
    struct error err;
    struct span item;
    size_t cursor = 0;
    assert_int_equal(world.done, 1);
    while (list_next(&list, &cursor, &item)) {
        assert_int_equal(message_take(item, &message_bound_info, &m, sizeof(m), &err), STATUS_OK);
        if (span_is(m.profile, name))
            return m;
    }
    fail_msg("nothing is said of %s", name);
    return m;
}

static void test_each_access_token_is_revoked_with_the_clients_authentication_and_form(void **state)
{
    (void)state;
    world.cached = 2;
    begin(JKT, true, one_token("one", "before"));
    assert_string_equal(world.taken_jkt, JKT);
    assert_int_equal(call_count, 3 + 2); /* one's, and user's */
    bool seen = false;
    for (size_t i = 0; i < call_count; i++) {
        assert_string_equal(calls[i].url, "https://as.example/revoke");
        assert_string_equal(form_value(&calls[i], "token_type_hint"), "access_token");
        assert_null(calls[i].dpop);
        seen = seen ||
               (strcmp(form_value(&calls[i], "token"), "before") == 0 && strcmp(form_value(&calls[i], "x"), "y") == 0);
    }
    assert_true(seen);
    for (size_t i = 0; i < call_count; i++) {
        assert_int_equal(world.done, 0);
        (void)answer(200);
        give(i);
    }
    assert_true(info("one").revoked && !info("one").login_due && info("one").note.data == NULL);
}

static void test_a_login_that_is_bound_ends_with_its_reason_and_another_stays_untouched(void **state)
{
    (void)state;
    world.cached = 1;
    world.was_in = world.revoked = true;
    begin(JKT, true, NULL);
    assert_int_equal(world.logins_ended, 1);
    assert_string_equal(world.why, "why");
    for (size_t i = 0; i < call_count; i++) {
        (void)answer(200);
        give(i);
    }
    assert_true(info("user").revoked && info("user").login_due);
    assert_true(!info("kept").revoked && !info("kept").login_due);
    assert_non_null(memmem(info("kept").note.data, info("kept").note.len, "its login stays", 15));
}

static void test_a_key_that_is_deleted_takes_every_login_along(void **state)
{
    (void)state;
    world.was_in = true;
    world.note = "no endpoint";
    begin(NULL, false, NULL);
    assert_null(world.taken_jkt);
    assert_int_equal(world.logins_ended, 2);
    assert_int_equal(call_count, 0);
    assert_true(!info("kept").revoked && info("kept").login_due);
    assert_non_null(memmem(info("kept").note.data, info("kept").note.len, "no endpoint", 11));
    assert_true(!info("one").revoked && info("one").note.data == NULL); /* nothing was there */
}

static void test_a_server_that_takes_no_jwts_back_is_noted_with_what_that_means(void **state)
{
    (void)state;
    world.cached = 1;
    begin(JKT, true, NULL);
    for (size_t i = 0; i < call_count; i++) {
        (void)answer(400);
        with_error("unsupported_token_type");
        give(i);
    }
    struct bound_info m = info("one");
    assert_false(m.revoked);
    assert_non_null(memmem(m.note.data, m.note.len, "unsupported_token_type; it ends by itself", 41));
}

static void test_a_server_without_endpoint_or_answer_is_noted(void **state)
{
    (void)state;
    world.cached = 1;
    server.revocation_endpoint = NULL;
    begin(JKT, true, NULL);
    assert_int_equal(call_count, 0);
    assert_non_null(memmem(info("one").note.data, info("one").note.len, "no revocation endpoint", 22));
    list_builder_free(&world.bound);
    world.done = 0;
    metadata_fails = STATUS_SERVER_UNREACHABLE;
    begin(JKT, true, NULL);
    assert_non_null(memmem(info("one").note.data, info("one").note.len, "no metadata", 11));
}

static int open_world(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    if (open_front(text) != 0)
        return -1;
    server.revocation_endpoint = (char *)(uintptr_t)"https://as.example/revoke";
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    list_builder_free(&world.bound);
    close_front();
    return 0;
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_each_access_token_is_revoked_with_the_clients_authentication_and_form),
        TEST(test_a_login_that_is_bound_ends_with_its_reason_and_another_stays_untouched),
        TEST(test_a_key_that_is_deleted_takes_every_login_along),
        TEST(test_a_server_that_takes_no_jwts_back_is_noted_with_what_that_means),
        TEST(test_a_server_without_endpoint_or_answer_is_noted),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
