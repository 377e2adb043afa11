/*
 * Keys from files put into a token, by a real key process with SoftHSM behind the shim. The test is the front; and it
 * searches the process's memory for what was imported.
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
#include <fcntl.h>
#include <sodium.h>

#include "key_maker.h"
#include "memory_search.h"
#include "wiping_heap.h"

#define NEEDLES_OF_A_KEY 12
#define SEARCHED 16 /* each so many files memory is searched */

static void a_key_of_every_form_is_imported_and_usable(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    struct jwk jwk;
    char jkt[JWK_THUMBPRINT_SIZE];
    uint8_t d[32];
    key_maker_start(w, &c);
    for (size_t i = 0; i < key_form_count; i++) {
        EVP_PKEY *key = key_maker_new_key(&jwk, d);
        key_maker_import_form(&c, &key_forms[i], key, "taken", &made);
        assert_memory_equal(&made.jwk, &jwk, sizeof(jwk));
        EVP_PKEY_free(key);
        if (i == 0) {
            key_maker_assert_signs_only(w, "taken");
            key_maker_assert_usable(w, &made, true);
        }
        key_maker_thumbprint(&made.jwk, jkt);
        key_maker_succeeds(&c, key_maker_destroy(&c, made.uri, jkt));
        key_maker_assert_census(w, 1, 1, 0);
    }
    key_maker_end(&c);
}

static void a_key_that_is_there_already_is_named(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    struct jwk jwk;
    uint8_t d[32];
    struct buffer b;
    EVP_PKEY *key = key_maker_new_key(&jwk, d);
    buffer_init(&b, LIMIT_KEY_FILE);
    assert_true(key_files_write(&key_forms[0], key, NULL, &b));
    key_maker_start(w, &c);
    key_maker_succeeds(&c, key_maker_import(&c, "first", buffer_span(&b), NULL, &made));
    key_maker_fails(&c, key_maker_import(&c, "second", buffer_span(&b), NULL, &made), STATUS_EXISTS,
          "this private key already: object \"first\"");
    key_maker_fails(&c, key_maker_import(&c, "first", buffer_span(&b), NULL, &made), STATUS_EXISTS,
                    "a private key \"first\" already");
    key_maker_fails(&c, key_maker_import(&c, "work", buffer_span(&b), NULL, &made), STATUS_EXISTS,
                    "a private key \"work\" already");
    key_maker_end(&c);
    key_maker_assert_census(w, 2, 2, 0);
    buffer_free(&b);
    EVP_PKEY_free(key);
}

static void what_the_token_refuses_leaves_nothing_behind(void **state)
{
    static const char *const refusals[] = {"0x54", "0x13", "0xd1", "0x12"}; /* as tpm2-pkcs11, smart cards */
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    struct jwk jwk;
    uint8_t d[32];
    struct buffer b;
    char command[64];
    EVP_PKEY *key = key_maker_new_key(&jwk, d);
    buffer_init(&b, LIMIT_KEY_FILE);
    assert_true(key_files_write(&key_forms[0], key, NULL, &b));
    key_maker_start(w, &c);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        (void)snprintf(command, sizeof(command), "C_CreateObject fail %s\n", refusals[i]);
        key_world_control(w, command);
        key_maker_fails(&c, key_maker_import(&c, "new", buffer_span(&b), NULL, &made), STATUS_KEY_UNFIT,
              "the token takes no keys from outside");
        assert_non_null(strstr(c.error.next, "dpop key generate"));
    }
    key_world_control(w, "C_SignInit fail 0x05\n"); /* it takes the key, and cannot use it */
    assert_int_equal(key_maker_import(&c, "new", buffer_span(&b), NULL, &made), STATUS_KEY_FAILED);
    key_world_control(w, "");
    key_maker_end(&c);
    key_maker_assert_census(w, 1, 1, 0);
    buffer_free(&b);
    EVP_PKEY_free(key);
}

static void files_that_are_none_and_missing_descriptors_are_refused(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    const struct import_key m = {.label = span_text("new")};
    key_maker_start(w, &c);
    key_maker_fails(&c, key_maker_import(&c, "new", span_text("hello"), NULL, &made), STATUS_INVALID_ARGUMENT,
                    "no private key of a kind");
    message_put_frame(&c.channel.out, INTERNAL_KEY_IMPORT, 77, &message_import_key, &m);
    key_maker_send(&c, NULL, 0);
    key_maker_fails(&c, key_maker_answer(&c, INTERNAL_KEY_IMPORT, &made), STATUS_MALFORMED,
                    "descriptor of the key file is missing");
    int fd = open("/", O_RDONLY | O_CLOEXEC);
    message_put_frame(&c.channel.out, INTERNAL_KEY_IMPORT, 77, &message_import_key, &m);
    key_maker_send(&c, &fd, 1);
    (void)close(fd);
    key_maker_fails(&c, key_maker_answer(&c, INTERNAL_KEY_IMPORT, &made), STATUS_INVALID_ARGUMENT,
                    "neither a regular file nor a pipe");
    key_maker_end(&c);
    key_maker_assert_census(w, 1, 1, 0);
}

/* ---- what stays in memory ---- */

static struct needle needle_of(const char *form, const char *name, const void *bytes, size_t len)
{
    struct needle n = {.form = form, .name = name, .len = len};
    assert_true(len <= sizeof(n.bytes));
    memcpy(n.bytes, bytes, len);
    return n;
}

/* The scalar as bytes of either order (as words, too), as a text in hex, and in base64 of each alignment. */
static size_t needles_of(const char *form, const uint8_t d[32], struct needle out[NEEDLES_OF_A_KEY])
{
    uint8_t reversed[32], shifted[34];
    char text[80];
    size_t count = 0;
    for (size_t i = 0; i < 32; i++)
        reversed[i] = d[31 - i];
    out[count++] = needle_of(form, "the scalar", d, 24);
    out[count++] = needle_of(form, "the scalar's other end", d + 8, 24);
    out[count++] = needle_of(form, "the scalar, least byte first", reversed, 24);
    (void)sodium_bin2hex(text, sizeof(text), d, 32);
    out[count++] = needle_of(form, "the scalar in hex", text, 48);
    for (char *p = text; *p != '\0'; p++)
        *p = (char)(*p >= 'a' && *p <= 'f' ? *p - 32 : *p);
    out[count++] = needle_of(form, "the scalar in capital hex", text, 48);
    for (size_t shift = 0; shift < 3; shift++) {
        memset(shifted, 0, sizeof(shifted));
        memcpy(shifted + shift, d, 32);
        (void)sodium_bin2base64(text, sizeof(text), shifted, 32, sodium_base64_VARIANT_ORIGINAL);
        out[count++] = needle_of(form, "the scalar in base64", text + 4, 32);
        (void)sodium_bin2base64(text, sizeof(text), shifted, 32, sodium_base64_VARIANT_URLSAFE);
        out[count++] = needle_of(form, "the scalar in base64url", text + 4, 32);
    }
    out[count++] = needle_of(form, "the password", key_maker_password, strlen(key_maker_password));
    return count;
}

static void nothing_of_an_imported_key_stays_in_the_process(void **state)
{
    struct key_world *w = *state;
    struct key_child c;
    struct made_pair made;
    struct jwk jwk;
    struct needle *needles = calloc(key_form_count, NEEDLES_OF_A_KEY * sizeof(*needles));
    char label[32];
    uint8_t d[32], random[(KEY_MAKER_PASSWORD_SIZE - 1) / 2];
    size_t count = 0;
    assert_non_null(needles);
    key_maker_start(w, &c); /* forked before there are the keys and the password in this process */
    (void)alarm(0); /* key_child.c's; searching takes what it takes */
    randombytes_buf(random, sizeof(random));
    (void)sodium_bin2hex(key_maker_password, sizeof(key_maker_password), random, sizeof(random));
    for (size_t i = 0; i < key_form_count; i++) {
        EVP_PKEY *key = key_maker_new_key(&jwk, d);
        (void)snprintf(label, sizeof(label), "key-%zu", i);
        key_maker_import_form(&c, &key_forms[i], key, label, &made);
        EVP_PKEY_free(key);
        count += needles_of(key_forms[i].name, d, needles + count);
        bool due = i % SEARCHED == 0 || i + 1 == key_form_count;
        const struct needle *found = due ? memory_search(c.pid, needles, count) : NULL;
        if (found != NULL)
            fail_msg("%s: %s is in the memory of the key process", found->form, found->name);
    }
    struct needle control = needle_of("", "the process's own public key", c.jwk.x, 32);
    assert_non_null(memory_search(c.pid, &control, 1)); /* the search finds what is there */
    key_maker_end(&c);
    free(needles);
}

#define TEST_IN_WORLD(f) cmocka_unit_test_setup_teardown(f, key_world_open, key_world_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_WORLD(a_key_of_every_form_is_imported_and_usable),
        TEST_IN_WORLD(a_key_that_is_there_already_is_named),
        TEST_IN_WORLD(what_the_token_refuses_leaves_nothing_behind),
        TEST_IN_WORLD(files_that_are_none_and_missing_descriptors_are_refused),
        TEST_IN_WORLD(nothing_of_an_imported_key_stays_in_the_process),
    };
    /* As the key process does it, which is forked from this one. */
    if (wiping_heap_install() != 0 || sodium_init() < 0 || !key_files_load_legacy())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
