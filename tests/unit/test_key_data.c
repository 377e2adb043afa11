/*
 * The data key: made once in a real SoftHSM token by real key processes, carried sealed to a real store process, and
 * what is worth what without it. The test is the front.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <sodium.h>

#include "data_key.h"
#include "key_world.h"
#include "login_child.h"

#define CANARY "canary-refresh-token-77aa"
#define PROCESSES 4
#define ROUNDS 25

static uint8_t public_key[STORE_PUBLIC_SIZE], secret_key[crypto_box_SECRETKEYBYTES];

/* ---- the processes ---- */

static void ready(struct key_world *w, struct key_child *c)
{
    key_child_start(c, &w->key, &w->memory, w->log);
    enum status status = key_child_serve(c);
    if (status != STATUS_OK)
        fail_msg("%d: %s", status, c->error.message);
}

/* One request for a key pair of the test's: its status; `key` is what was sealed, `*there` whether anything was. */
static enum status ask(struct key_child *c, bool make, uint8_t key[DATA_KEY_SIZE], bool *there, bool *made)
{
    const struct data_key_request request = {.public_key = span_of(public_key, sizeof(public_key)), .make = make};
    struct data_key_answer answer;
    struct frame frame;
    struct error err;
    message_put_frame(&c->channel.out, INTERNAL_DATA_KEY, 99, &message_data_key_request, &request);
    assert_int_equal(channel_flush(&c->channel), 0);
    assert_int_equal(channel_read(&c->channel, &frame), 1);
    assert_int_equal(frame.request, 99);
    if (frame.operation == OPERATION_ERROR) {
        assert_int_equal(messages_take_error(frame.fields, &c->error), STATUS_OK);
        return c->error.status;
    }
    assert_int_equal(frame.operation, INTERNAL_DATA_KEY | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_data_key_answer, &answer, sizeof(answer), &err), STATUS_OK);
    *there = answer.sealed.data != NULL;
    *made = answer.made;
    if (*there) {
        assert_int_equal(answer.sealed.len, DATA_KEY_SEALED_SIZE);
        assert_int_equal(crypto_box_seal_open(key, answer.sealed.data, answer.sealed.len, public_key, secret_key), 0);
    }
    return STATUS_OK;
}

static void got(struct key_child *c, bool make, uint8_t key[DATA_KEY_SIZE], bool expected_made)
{
    bool there, made;
    enum status status = ask(c, make, key, &there, &made);
    if (status != STATUS_OK)
        fail_msg("%d: %s", status, c->error.message);
    assert_true(there);
    assert_int_equal(made, expected_made);
}

static void assert_none(struct key_child *c)
{
    uint8_t key[DATA_KEY_SIZE];
    bool there, made;
    assert_int_equal(ask(c, false, key, &there, &made), STATUS_OK);
    assert_false(there || made);
}

/* An error that names what is wrong and what to do. */
static void assert_refused(struct key_child *c, bool make, enum status expected, const char *message)
{
    uint8_t key[DATA_KEY_SIZE];
    bool there, made;
    assert_int_equal(ask(c, make, key, &there, &made), expected);
    key_world_assert_says(c, message);
}

static void assert_signs(struct key_child *c)
{
    uint8_t digest[JWK_DIGEST_SIZE] = {7};
    struct sign_answer answer;
    struct frame frame;
    key_child_send_sign(c, 5, digest);
    assert_int_equal(channel_flush(&c->channel), 0);
    assert_int_equal(channel_read(&c->channel, &frame), 1);
    assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_sign_answer, &answer, sizeof(answer), &c->error), STATUS_OK);
    assert_int_equal(jwk_verify(&c->jwk, digest, answer.signature.data), 0);
}

static void end(struct key_child *c)
{
    assert_int_equal(key_child_end(c, true), 0);
}

/* ---- objects that the test puts into the token ---- */

struct planted {
    const char *value;
    bool public;
    const char *application;
};

static void plant(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    const struct planted *p = data;
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE, private = p->public ? CK_FALSE : CK_TRUE;
    char label[] = DATA_KEY_LABEL, application[32], value[64];
    CK_OBJECT_HANDLE object;
    (void)strcpy(application, p->application != NULL ? p->application : DATA_KEY_APPLICATION);
    (void)strcpy(value, p->value);
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)},
                                 {CKA_TOKEN, &yes, sizeof(yes)},
                                 {CKA_PRIVATE, &private, sizeof(private)},
                                 {CKA_LABEL, label, strlen(label)},
                                 {CKA_APPLICATION, application, strlen(application)},
                                 {CKA_VALUE, value, strlen(value)}};
    assert_int_equal(f->C_CreateObject(session, attributes, 6, &object), CKR_OK);
}

static void plant_object(const struct key_world *w, const char *value, bool public, const char *application)
{
    struct planted p = {.value = value, .public = public, .application = application};
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, plant, &p);
}

struct seen {
    CK_ULONG count;
    CK_BBOOL private, modifiable, token;
};

/* Logged in or not: what a look into the token shows. */
static void look(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *data)
{
    struct seen *seen = data;
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof(class)};
    CK_OBJECT_HANDLE objects[4];
    assert_int_equal(f->C_FindObjectsInit(session, &wanted, 1), CKR_OK);
    assert_int_equal(f->C_FindObjects(session, objects, 4, &seen->count), CKR_OK);
    assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
    CK_ATTRIBUTE attributes[] = {{CKA_PRIVATE, &seen->private, 1},
                                 {CKA_MODIFIABLE, &seen->modifiable, 1},
                                 {CKA_TOKEN, &seen->token, 1}};
    if (seen->count > 0)
        assert_int_equal(f->C_GetAttributeValue(session, objects[0], attributes, 3), CKR_OK);
}

static struct seen look_into(const struct key_world *w, const char *pin)
{
    struct seen seen = {0};
    softhsm_with_session(&w->hsm, KEY_WORLD_TOKEN, pin, look, &seen);
    return seen;
}

/* ---- the tests ---- */

static void it_is_made_once_and_found_by_every_later_process(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    uint8_t first[DATA_KEY_SIZE], again[DATA_KEY_SIZE];
    ready(w, &c);
    assert_none(&c);
    got(&c, true, first, true);
    got(&c, true, again, false);
    assert_memory_equal(first, again, sizeof(first));
    assert_signs(&c);
    end(&c);
    assert_false(sodium_is_zero(first, sizeof(first)));
    for (int i = 0; i < 3; i++) {
        ready(w, &c);
        memset(again, 0, sizeof(again));
        got(&c, i > 0, again, false);
        assert_memory_equal(first, again, sizeof(first));
        end(&c);
    }
    struct seen seen = look_into(w, KEY_WORLD_PIN);
    assert_int_equal(seen.count, 1);
    assert_true(seen.private && seen.token && !seen.modifiable);
    assert_int_equal(look_into(w, NULL).count, 0); /* not without the PIN */
}

static void many_processes_read_it_at_once_while_they_sign(void **state)
{
    struct key_world *w = *state;
    struct key_child c[PROCESSES];
    uint8_t first[DATA_KEY_SIZE], again[DATA_KEY_SIZE];
    const struct data_key_request request = {.public_key = span_of(public_key, sizeof(public_key)), .make = true};
    for (size_t i = 0; i < PROCESSES; i++)
        ready(w, &c[i]);
    assert_none(&c[1]);
    got(&c[0], true, first, true); /* seen at once by those that were open before */
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t digest[JWK_DIGEST_SIZE] = {(uint8_t)round};
        for (size_t i = 0; i < PROCESSES; i++) {
            message_put_frame(&c[i].channel.out, INTERNAL_DATA_KEY, 1, &message_data_key_request, &request);
            key_child_send_sign(&c[i], 2, digest);
            assert_int_equal(channel_flush(&c[i].channel), 0);
        }
        for (size_t i = 0; i < PROCESSES; i++) {
            struct data_key_answer answer;
            struct frame frame;
            assert_int_equal(channel_read(&c[i].channel, &frame), 1);
            assert_int_equal(frame.operation, INTERNAL_DATA_KEY | OPERATION_ANSWER);
            assert_int_equal(message_take(frame.fields, &message_data_key_answer, &answer, sizeof(answer), &c[i].error),
                             STATUS_OK);
            assert_int_equal(crypto_box_seal_open(again, answer.sealed.data, answer.sealed.len, public_key, secret_key),
                             0);
            assert_memory_equal(first, again, sizeof(first));
            assert_int_equal(channel_read(&c[i].channel, &frame), 1);
            assert_int_equal(frame.operation, INTERNAL_SIGN | OPERATION_ANSWER);
        }
    }
    for (size_t i = 0; i < PROCESSES; i++)
        end(&c[i]);
    assert_int_equal(look_into(w, KEY_WORLD_PIN).count, 1);
}

static void two_of_them_are_an_error_that_says_what_to_do(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    plant_object(w, "the first data key of 32 bytes..", false, NULL);
    plant_object(w, "the second data key of 32 bytes.", false, NULL);
    ready(w, &c);
    assert_refused(&c, true, STATUS_KEY_UNFIT, "the token has 2 data objects \"" DATA_KEY_LABEL "\"");
    assert_non_null(strstr(c.error.next,
                           "pkcs11-tool --login --type data --label \"dpop-agent data key\" --delete-object"));
    assert_refused(&c, false, STATUS_KEY_UNFIT, "2 data objects");
    assert_signs(&c);
    end(&c);
}

static void objects_of_others_and_public_ones_do_not_count(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    uint8_t key[DATA_KEY_SIZE];
    plant_object(w, "anybody can make one without PIN", true, NULL);
    plant_object(w, "somebody else's of thirty-two by", false, "another-agent");
    ready(w, &c);
    assert_none(&c);
    got(&c, true, key, true);
    assert_memory_not_equal(key, "anybody can make one without PIN", sizeof(key));
    got(&c, true, key, false);
    end(&c);
}

static void one_of_another_length_is_refused(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    plant_object(w, "too short", false, NULL);
    ready(w, &c);
    assert_refused(&c, true, STATUS_KEY_UNFIT, "does not have 32 bytes");
    assert_true(c.error.next[0] != '\0');
    assert_signs(&c);
    end(&c);
}

static void a_token_that_cannot_keep_it_still_signs(void **state)
{
    static const struct {
        const char *command, *says;
    } cases[] = {
        {"C_CreateObject fail 0xe2\n", "C_CreateObject of the data key"}, /* CKR_TOKEN_WRITE_PROTECTED */
        {"C_CreateObject fail 0x31\n", "CKR_DEVICE_MEMORY"},
        {"C_OpenSession fail 0xb1 after 1\n", "CKR_SESSION_COUNT"},
        {"C_FindObjectsInit fail 0x5 after 3\n", "CKR_GENERAL_ERROR"},
        {"C_FindObjects fail 0x30\n", "CKR_DEVICE_ERROR"},
    };
    struct key_world *w = *state;
    struct key_child c;
    uint8_t key[DATA_KEY_SIZE];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        key_world_control(w, "");
        ready(w, &c);
        assert_none(&c);
        key_world_control(w, cases[i].command);
        assert_refused(&c, true, STATUS_KEY_FAILED, cases[i].says);
        assert_signs(&c);
        key_world_control(w, "");
        assert_none(&c); /* nothing was left behind */
        end(&c);
    }
    ready(w, &c);
    got(&c, true, key, true); /* and it heals */
    end(&c);
}

static void a_module_without_cka_modifiable_gets_it_without(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    uint8_t key[DATA_KEY_SIZE];
    ready(w, &c);
    key_world_control(w, "C_CreateObject fail 0x12 once\n"); /* CKR_ATTRIBUTE_TYPE_INVALID */
    got(&c, true, key, true);
    end(&c);
    struct seen seen = look_into(w, KEY_WORLD_PIN);
    assert_int_equal(seen.count, 1);
    assert_true(seen.private && seen.modifiable);
}

static void a_value_that_is_not_given_back_is_taken_back(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    ready(w, &c);
    key_world_control(w, "C_GetAttributeValue fail 0x5\n");
    assert_refused(&c, true, STATUS_KEY_UNFIT, "is not private"); /* it cannot be known to be */
    key_world_control(w, "");
    assert_none(&c);
    assert_signs(&c);
    end(&c);
}

static void a_session_or_token_that_is_gone_is_opened_anew(void **state)
{
    static const char *const commands[] = {"C_GetSessionInfo fail 0xb3\n", "C_FindObjectsInit fail 0x32\n",
                                           "C_CreateObject fail 0xe0\n"};
    struct key_world *w = *state;
    for (size_t i = 0; i < 3; i++) {
        bool heals = i != 1; /* without C_FindObjectsInit the key is not found either */
        struct key_child c;
        key_world_control(w, "");
        ready(w, &c);
        key_world_control(w, commands[i]);
        assert_refused(&c, true, STATUS_KEY_ABSENT, "CKR_");
        assert_int_equal(key_child_serve(&c), heals ? STATUS_OK : STATUS_KEY_ABSENT);
        assert_int_equal(key_child_end(&c, heals), heals ? 0 : 1);
    }
}

static void nothing_is_made_in_a_token_that_was_taken_away(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    char tokens[SOFTHSM_PATH_MAX], away[SOFTHSM_PATH_MAX];
    uint8_t key[DATA_KEY_SIZE];
    bool there, made;
    softhsm_path(&w->hsm, "tokens", tokens);
    softhsm_path(&w->hsm, "away", away);
    ready(w, &c);
    assert_int_equal(rename(tokens, away), 0);
    assert_int_not_equal(ask(&c, true, key, &there, &made), STATUS_OK);
    assert_int_equal(rename(away, tokens), 0);
    (void)key_child_end(&c, true);
    assert_int_equal(look_into(w, KEY_WORLD_PIN).count, 0);
    ready(w, &c);
    got(&c, true, key, true);
    end(&c);
}

static void requests_that_make_no_sense_are_refused(void **state)
{
    static const uint8_t short_key[31], zero_key[STORE_PUBLIC_SIZE];
    const struct span keys[] = {{NULL, 0}, {short_key, 31}, {zero_key, 32}};
    struct key_world *w = *state;
    struct key_child c;
    struct frame frame;
    ready(w, &c);
    for (size_t i = 0; i < 3; i++) {
        const struct data_key_request request = {.public_key = keys[i], .make = true};
        message_put_frame(&c.channel.out, INTERNAL_DATA_KEY, 1, &message_data_key_request, &request);
        assert_int_equal(channel_flush(&c.channel), 0);
        assert_int_equal(channel_read(&c.channel, &frame), 1);
        assert_int_equal(frame.operation, OPERATION_ERROR);
        assert_int_equal(messages_take_error(frame.fields, &c.error), STATUS_OK);
        assert_int_equal(c.error.status, STATUS_MALFORMED);
    }
    assert_signs(&c);
    end(&c);
}

/* ---- with the store ---- */

static const struct login_name work = {.profile = {(const uint8_t *)"work", 4}, .key = {(const uint8_t *)"tpm", 3},
                                       .client_id = {(const uint8_t *)"app", 3}, .jkt = {(const uint8_t *)"t", 1}};

/* What the front does when key and store are ready. */
static enum status carry(struct key_child *key, struct store_child *store)
{
    uint8_t store_key[STORE_PUBLIC_SIZE];
    struct data_key_answer answer;
    struct frame frame;
    struct error err;
    store_child_public_key(store, store_key);
    const struct data_key_request request = {.public_key = span_of(store_key, sizeof(store_key)), .make = true};
    message_put_frame(&key->channel.out, INTERNAL_DATA_KEY, 3, &message_data_key_request, &request);
    assert_int_equal(channel_flush(&key->channel), 0);
    assert_int_equal(channel_read(&key->channel, &frame), 1);
    assert_int_equal(frame.operation, INTERNAL_DATA_KEY | OPERATION_ANSWER);
    assert_int_equal(message_take(frame.fields, &message_data_key_answer, &answer, sizeof(answer), &err), STATUS_OK);
    const struct store_key m = {.key = work.key, .sealed = answer.sealed};
    return (enum status)store_child_ask(store, INTERNAL_STORE_KEY, &message_store_key, &m, &frame, &err);
}

/* grep -r: 0 found, 1 not found. */
static int grep(const char *text, const char *folder)
{
    char command[256];
    (void)snprintf(command, sizeof(command), "grep -rqaF '%s' %s", text, folder);
    int status = system(command);
    assert_true(status >= 0);
    return status >> 8;
}

static void a_login_opens_with_the_token_that_sealed_it_and_with_nothing_else(void **state)
{
    struct key_world *w = *state;
    struct key_world *elsewhere;
    struct store_child store;
    struct key_child key;
    struct error err;
    const char *token = "";
    char top[64], folder[96];
    store_child_make_folder(top);
    (void)snprintf(folder, sizeof(folder), "%s/state", top);
    const struct store_options options = {.state = folder};
    for (int run = 0; run < 3; run++) { /* each time with new processes */
        ready(w, &key);
        store_child_start(&store, &options);
        assert_int_equal(carry(&key, &store), STATUS_OK);
        end(&key);
        assert_int_equal(run == 0 ? login_child_save(&store, &work, CANARY, &err)
                         : login_child_load(&store, &work, &token, &err), STATUS_OK);
        assert_string_equal(run == 0 ? CANARY : token, CANARY);
        assert_int_equal(store_child_stop(&store), 0);
    }
    assert_int_equal(grep("login", folder), 0);
    assert_int_equal(grep("canary", folder), 1);
    assert_int_equal(grep("canary", w->hsm.folder), 1);
    store_child_start(&store, &options); /* the folder without the token */
    assert_int_equal(login_child_load(&store, &work, &token, &err), STATUS_STORE_FAILED);
    (void)key_world_open((void **)&elsewhere); /* another token, with the same names and PIN */
    ready(elsewhere, &key);
    assert_int_equal(carry(&key, &store), STATUS_OK);
    assert_int_equal(login_child_load(&store, &work, &token, &err), STATUS_LOGIN_REQUIRED);
    end(&key);
    (void)key_world_close((void **)&elsewhere);
    assert_int_equal(store_child_stop(&store), 0);
    assert_int_equal(store_child_remove_folder(top), 0);
}

static int set_up(void **state)
{
    return sodium_init() < 0 || crypto_box_keypair(public_key, secret_key) != 0 ? -1 : key_world_open(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, key_world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_made_once_and_found_by_every_later_process),
        TEST(many_processes_read_it_at_once_while_they_sign),
        TEST(two_of_them_are_an_error_that_says_what_to_do),
        TEST(objects_of_others_and_public_ones_do_not_count),
        TEST(one_of_another_length_is_refused),
        TEST(a_token_that_cannot_keep_it_still_signs),
        TEST(a_module_without_cka_modifiable_gets_it_without),
        TEST(a_value_that_is_not_given_back_is_taken_back),
        TEST(a_session_or_token_that_is_gone_is_opened_anew),
        TEST(nothing_is_made_in_a_token_that_was_taken_away),
        TEST(requests_that_make_no_sense_are_refused),
        TEST(a_login_opens_with_the_token_that_sealed_it_and_with_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
