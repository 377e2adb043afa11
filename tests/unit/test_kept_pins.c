/* What the supervisor keeps over reloads: the PIN key in slices and nowhere else, and what users said about tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "kept_pins.h"

static struct error err;

static struct config *parse_slice(const struct kept_pins *pins)
{
    struct config *c = NULL;
    struct buffer text;
    buffer_init(&text, 4096);
    buffer_put_text(&text, "[agent]\nlog-level = debug\n[key work]\nuri = pkcs11:object=work\n");
    kept_pins_put_slice(pins, &text);
    assert_int_equal(config_parse(buffer_span(&text), "slice", ROLE_KEY, &c, &err), STATUS_OK);
    buffer_free(&text);
    return c;
}

static void the_key_comes_whole_into_a_slice_and_is_another_one_in_each_agent(void **state)
{
    (void)state;
    struct kept_pins *first = kept_pins_new(), *second = kept_pins_new();
    struct config *a = parse_slice(first), *b = parse_slice(first), *c = parse_slice(second);
    assert_memory_equal(a->agent.pin_key, b->agent.pin_key, PIN_KEY_SIZE);
    assert_memory_not_equal(a->agent.pin_key, c->agent.pin_key, PIN_KEY_SIZE);
    assert_false(sodium_is_zero(a->agent.pin_key, PIN_KEY_SIZE));
    for (size_t i = 0; i < a->entry_count; i++) /* which are ordinary memory */
        assert_string_not_equal(a->entries[i].option, "pin-key");
    config_free(a);
    config_free(b);
    config_free(c);
    kept_pins_free(first);
    kept_pins_free(second);
}

static void a_file_that_names_the_key_is_refused_and_so_is_a_slice_with_half_of_it(void **state)
{
    static const char *const wrong[] = {"00", "zz",
                                        "0000000000000000000000000000000000000000000000000000000000000000 0"};
    static const char good[] = "[agent]\npin-key = 0000000000000000000000000000000000000000000000000000000000000000\n";
    struct config *c = NULL;
    (void)state;
    assert_int_equal(config_parse(span_text(good), "agent.conf", ROLE_SUPERVISOR, &c, &err), STATUS_CONFIGURATION);
    assert_non_null(strstr(err.message, "unknown option \"pin-key\""));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "[agent]\npin-key = %s\n", wrong[i]);
        assert_int_equal(config_parse(span_text(text), "slice", ROLE_KEY, &c, &err), STATUS_CONFIGURATION);
    }
}

struct given {
    size_t count, locked, sealed;
    char last[64];
};

static void give(void *context, const struct kept_pin *m)
{
    struct given *g = context;
    g->count++;
    g->locked += m->locked ? 1 : 0;
    g->sealed += m->sealed.len > 0 ? 1 : 0;
    assert_int_equal(span_copy(m->token_id, g->last, sizeof(g->last)), 0);
}

static struct given all(const struct kept_pins *pins)
{
    struct given g = {0};
    kept_pins_each(pins, give, &g);
    return g;
}

static void keep(struct kept_pins *pins, const char *token, const char *sealed, bool locked)
{
    const struct kept_pin m = {.token_id = span_text(token), .sealed = span_text(sealed), .locked = locked};
    kept_pins_take(pins, &m);
}

static void what_was_said_last_about_a_token_counts(void **state)
{
    (void)state;
    struct kept_pins *pins = kept_pins_new();
    keep(pins, "a", "sealed", false);
    keep(pins, "b", NULL, true);
    keep(pins, "a", "sealed again", false);
    struct given g = all(pins);
    assert_int_equal(g.count, 2);
    assert_int_equal(g.sealed, 1);
    assert_int_equal(g.locked, 1);
    keep(pins, "a", NULL, false);
    g = all(pins);
    assert_int_equal(g.count, 1);
    assert_string_equal(g.last, "b");
    keep(pins, "b", NULL, false);
    keep(pins, "never seen", NULL, false);
    assert_int_equal(all(pins).count, 0);
    kept_pins_free(pins);
}

static void no_more_than_256_tokens_are_kept(void **state)
{
    (void)state;
    char name[32];
    struct kept_pins *pins = kept_pins_new();
    for (int i = 0; i < KEPT_PINS_MAX + 5; i++) {
        (void)snprintf(name, sizeof(name), "token %d", i);
        keep(pins, name, "sealed", false);
    }
    assert_int_equal(all(pins).count, KEPT_PINS_MAX);
    keep(pins, "token 7", NULL, true);
    assert_int_equal(all(pins).locked, 1);
    kept_pins_free(pins);
    kept_pins_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_comes_whole_into_a_slice_and_is_another_one_in_each_agent),
        cmocka_unit_test(a_file_that_names_the_key_is_refused_and_so_is_a_slice_with_half_of_it),
        cmocka_unit_test(what_was_said_last_about_a_token_counts),
        cmocka_unit_test(no_more_than_256_tokens_are_kept),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
