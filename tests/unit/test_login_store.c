/*
 * How a record comes to the store: the store's public key, the data key sealed for it by the token, its hand-over, the
 * record. The store and the key process are the test's, and end in the middle when it wants them to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "children.h"
#include "keys.h"
#include "login_store.h"

static const char text[] =
    "[key k]\nuri = pkcs11:object=k\n[key other]\nuri = pkcs11:object=other\n"
    "[profile one]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-authentication = none\n"
    "grant = authorization_code\norigins = https://a\n"
    "[profile two]\nkey = k\nissuer = https://as.example\nclient-id = app\nclient-authentication = none\n"
    "grant = authorization_code\norigins = https://a\n"
    "[profile three]\nkey = other\ntoken-endpoint = https://as.example/token\nclient-id = app\n"
    "client-authentication = none\n"
    "grant = authorization_code\norigins = https://a\n";

static struct front front;
static struct child net = {.id = 3, .role = ROLE_NET}, store = {.id = 7, .role = ROLE_STORE};

struct key {
    const char *name;
    struct key_public public;
};
static struct key keys[] = {{.name = "k", .public = {.jkt = "jkt-k"}},
                            {.name = "other", .public = {.jkt = "jkt-other"}}};

/* What waits for an answer: of the store, or (operation INTERNAL_DATA_KEY) of a key. */
static struct waiting {
    uint16_t operation;
    bool make;
    char who[64], jkt[16];
    call_done done;
    void *context;
} asked[32];
static size_t count;

const struct child *children_first(const struct children *c)
{
    (void)c;
    net.next = &store;
    return &net;
}

void children_call(struct children *c, enum role role, uint16_t operation, const struct message *m, const void *in,
                   uint64_t deadline, call_done done, void *context)
{
    struct waiting *w = &asked[count++];
    const struct login_name *name = in;
    const struct login_save *save = in;
    (void)c;
    (void)m;
    assert_int_equal(role, ROLE_STORE);
    assert_int_equal(deadline, 99);
    *w = (struct waiting){.operation = operation, .done = done, .context = context};
    if (operation == INTERNAL_LOGIN_SAVE)
        assert_int_equal(span_copy(save->profile, w->who, sizeof(w->who))
                         + span_copy(save->jkt, w->jkt, sizeof(w->jkt)), 0);
    else if (operation == INTERNAL_LOGIN_LOAD || operation == INTERNAL_LOGIN_DELETE)
        assert_int_equal(span_copy(name->profile, w->who, sizeof(w->who))
                         + span_copy(name->jkt, w->jkt, sizeof(w->jkt)), 0);
    else if (operation == INTERNAL_STORE_KEY)
        assert_int_equal(span_copy(((const struct store_key *)in)->key, w->who, sizeof(w->who)), 0);
}

struct key *keys_find(struct keys *all, struct span name)
{
    (void)all;
    return span_is(name, "k") ? &keys[0] : &keys[1];
}

const struct key_public *keys_public(const struct key *key)
{
    return &key->public;
}

void keys_call(struct key *key, const struct key_call *call)
{
    struct waiting *w = &asked[count++];
    const struct data_key_request *m = call->in;
    assert_int_equal(call->operation, INTERNAL_DATA_KEY);
    assert_int_equal(call->deadline, 99);
    assert_int_equal(call->descriptors[0], -1);
    assert_true(call->repeatable);
    assert_int_equal(m->public_key.len, STORE_PUBLIC_SIZE);
    *w = (struct waiting){.operation = INTERNAL_DATA_KEY, .make = m->make, .done = call->done,
                          .context = call->context};
    assert_int_equal(span_copy(span_text(key->name), w->who, sizeof(w->who)), 0);
}

/* --- answers --- */

static void give(size_t i, uint16_t operation, const struct message *m, const void *in)
{
    struct buffer wire;
    assert_true(i < count);
    assert_int_equal(asked[i].operation, operation);
    buffer_init(&wire, 65536);
    message_put(&wire, m, in);
    asked[i].done(asked[i].context, NULL, buffer_span(&wire));
    buffer_free(&wire);
}

static void give_nothing(size_t i, uint16_t operation)
{
    struct empty_message nothing = {0};
    give(i, operation, &message_empty, &nothing);
}

static void give_public(size_t i)
{
    static const uint8_t public_key[STORE_PUBLIC_SIZE] = {1};
    struct store_public m = {.public_key = span_of(public_key, sizeof(public_key))};
    give(i, INTERNAL_STORE_PUBLIC, &message_store_public, &m);
}

static void give_data_key(size_t i, bool there)
{
    static const uint8_t sealed[DATA_KEY_SEALED_SIZE] = {2};
    struct data_key_answer m = {.sealed = span_of(there ? sealed : NULL, there ? sizeof(sealed) : 0)};
    give(i, INTERNAL_DATA_KEY, &message_data_key_answer, &m);
}

static void give_failure(size_t i, enum status status)
{
    struct error err;
    (void)error_set(&err, status, NULL, "no");
    asked[i].done(asked[i].context, &err, span_text(NULL));
}

/* --- callers --- */

static struct result {
    unsigned int calls;
    enum status status;
    bool unsealable, found;
    char token[16];
} results[4];

static void on_done(void *context, const struct error *err, bool unsealable, const struct login_record *record)
{
    struct result *r = context;
    r->calls++;
    r->status = err != NULL ? err->status : STATUS_OK;
    r->unsealable = unsealable;
    r->found = record != NULL;
    if (record != NULL)
        assert_int_equal(span_copy(record->refresh_token, r->token, sizeof(r->token)), 0);
}

static void save(size_t i, const char *name)
{
    struct login_record record = {.refresh_state = REFRESH_FRESH, .refresh_token = span_text("r1")};
    login_store_save(&front, config_profile(front.config, span_text(name)), &record, 99, on_done, &results[i]);
}

static void load(size_t i, const char *name)
{
    login_store_load(&front, config_profile(front.config, span_text(name)), 99, on_done, &results[i]);
}

static void assert_ended(size_t i, enum status status)
{
    assert_int_equal(results[i].calls, 1);
    assert_int_equal(results[i].status, status);
}

static int open_world(void **state)
{
    struct config *config;
    struct error err;
    (void)state;
    count = 0;
    store.id = 7;
    memset(results, 0, sizeof(results));
    if (config_parse(span_text(text), "agent.conf", ROLE_SUPERVISOR, &config, &err) != STATUS_OK)
        return -1;
    front = (struct front){.config = config};
    return login_store_open(&front);
}

static int close_world(void **state)
{
    (void)state;
    login_store_free(front.login_store);
    config_free((struct config *)(uintptr_t)front.config);
    return 0;
}

/* To a store that has the data key of "k". */
static void hand_over(void)
{
    save(0, "one");
    give_public(0);
    give_data_key(1, true);
    give_nothing(2, INTERNAL_STORE_KEY);
    give_nothing(3, INTERNAL_LOGIN_SAVE);
    assert_ended(0, STATUS_OK);
    results[0].calls = 0;
}

static void test_the_first_save_brings_the_data_key_and_the_next_one_needs_none(void **state)
{
    (void)state;
    save(0, "one");
    assert_int_equal(asked[0].operation, INTERNAL_STORE_PUBLIC);
    give_public(0);
    assert_true(asked[1].make);
    assert_string_equal(asked[1].who, "k");
    give_data_key(1, true);
    assert_string_equal(asked[2].who, "k");
    give_nothing(2, INTERNAL_STORE_KEY);
    assert_string_equal(asked[3].who, "one");
    assert_string_equal(asked[3].jkt, "jkt-k");
    assert_int_equal(results[0].calls, 0);
    give_nothing(3, INTERNAL_LOGIN_SAVE);
    assert_ended(0, STATUS_OK);
    save(1, "two"); /* of the same key */
    assert_int_equal(asked[4].operation, INTERNAL_LOGIN_SAVE);
    give_nothing(4, INTERNAL_LOGIN_SAVE);
    assert_ended(1, STATUS_OK);
    save(2, "three"); /* of another one */
    give_public(5);
    assert_string_equal(asked[6].who, "other");
    give_failure(6, STATUS_KEY_LOCKED);
    assert_ended(2, STATUS_KEY_LOCKED);
    assert_false(results[2].unsealable);
}

static void test_data_keys_are_made_by_one_call_at_a_time(void **state)
{
    (void)state;
    save(0, "one");
    save(1, "three");
    save(2, "two");
    assert_int_equal(count, 1);
    give_public(0);
    give_data_key(1, true);
    assert_int_equal(count, 3);
    give_nothing(2, INTERNAL_STORE_KEY);
    assert_int_equal(asked[3].operation, INTERNAL_STORE_PUBLIC); /* the next one's turn, */
    assert_int_equal(asked[4].operation, INTERNAL_LOGIN_SAVE);   /* while the first one is written */
    give_failure(3, STATUS_TIMEOUT);
    assert_ended(1, STATUS_TIMEOUT);
    give_public(5); /* a failure does not stop the third */
    assert_string_equal(asked[6].who, "k");
    give_nothing(4, INTERNAL_LOGIN_SAVE);
    assert_ended(0, STATUS_OK);
    give_failure(6, STATUS_KEY_UNFIT);
    assert_ended(2, STATUS_KEY_UNFIT);
    assert_true(results[2].unsealable);
}

static void test_a_load_makes_no_data_key_and_without_one_there_is_no_record(void **state)
{
    (void)state;
    load(0, "one");
    give_public(0);
    assert_false(asked[1].make);
    give_data_key(1, false);
    assert_ended(0, STATUS_OK);
    assert_false(results[0].found);
    assert_int_equal(count, 2);
}

static void test_a_record_comes_back(void **state)
{
    struct login_record record = {.refresh_state = REFRESH_SENT, .refresh_token = span_text("r9")};
    struct buffer bytes;
    (void)state;
    hand_over();
    buffer_init(&bytes, 4096);
    message_put(&bytes, &message_login_record, &record);
    struct login_loaded loaded = {.found = true, .record = buffer_span(&bytes)}, none = {0},
        bad = {.found = true, .record = span_of("x", 1)};
    load(0, "one");
    give(4, INTERNAL_LOGIN_LOAD, &message_login_loaded, &loaded);
    assert_ended(0, STATUS_OK);
    assert_string_equal(results[0].token, "r9");
    load(1, "two");
    give(5, INTERNAL_LOGIN_LOAD, &message_login_loaded, &none);
    assert_ended(1, STATUS_OK);
    assert_false(results[1].found);
    load(2, "two");
    give(6, INTERNAL_LOGIN_LOAD, &message_login_loaded, &bad);
    assert_int_equal(results[2].calls, 1);
    assert_int_not_equal(results[2].status, STATUS_OK);
    buffer_free(&bytes);
}

static void test_a_store_that_was_started_again_gets_the_data_key_again(void **state)
{
    (void)state;
    hand_over();
    store.id = 8;
    save(0, "one");
    give_public(4);
    give_data_key(5, true);
    give_nothing(6, INTERNAL_STORE_KEY);
    give_nothing(7, INTERNAL_LOGIN_SAVE);
    assert_ended(0, STATUS_OK);
}

static void test_a_store_that_ends_in_the_middle_is_asked_once_more(void **state)
{
    (void)state;
    hand_over();
    save(0, "one");
    store.id = 8;
    give_failure(4, STATUS_RESTARTED);
    assert_int_equal(results[0].calls, 0);
    give_public(5);
    give_data_key(6, true);
    store.id = 9;
    give_failure(7, STATUS_RESTARTED);
    assert_ended(0, STATUS_RESTARTED);
    assert_int_equal(count, 8);
}

static void test_a_removal_needs_no_data_key_and_a_failure_is_told(void **state)
{
    (void)state;
    login_store_remove(&front, config_profile(front.config, span_text("one")), 99, on_done, &results[0]);
    assert_int_equal(asked[0].operation, INTERNAL_LOGIN_DELETE);
    assert_string_equal(asked[0].who, "one");
    give_nothing(0, INTERNAL_LOGIN_DELETE);
    assert_ended(0, STATUS_OK);
    login_store_remove(&front, config_profile(front.config, span_text("one")), 99, on_done, &results[1]);
    give_failure(1, STATUS_STORE_FAILED);
    assert_ended(1, STATUS_STORE_FAILED);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_the_first_save_brings_the_data_key_and_the_next_one_needs_none),
        TEST(test_data_keys_are_made_by_one_call_at_a_time),
        TEST(test_a_load_makes_no_data_key_and_without_one_there_is_no_record),
        TEST(test_a_record_comes_back),
        TEST(test_a_store_that_was_started_again_gets_the_data_key_again),
        TEST(test_a_store_that_ends_in_the_middle_is_asked_once_more),
        TEST(test_a_removal_needs_no_data_key_and_a_failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
