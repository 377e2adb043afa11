/* See key_world.h. */
#include "key_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void key_world_set_uri(struct key_world *w, const char *path)
{
    (void)snprintf(w->uri, sizeof(w->uri), "pkcs11:%s?module-path=" TEST_SHIM, path);
    w->key.uri = w->uri;
}

int key_world_open_token(void **state)
{
    static char name[] = "work";
    struct key_world *w = calloc(1, sizeof(*w));
    char path[SOFTHSM_PATH_MAX];
    assert_non_null(w);
    softhsm_open(&w->hsm);
    softhsm_make_token(&w->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN);
    softhsm_write(&w->hsm, "pin", KEY_WORLD_PIN "\n", 0600, w->pin_file);
    softhsm_path(&w->hsm, "log", w->log);
    (void)snprintf(w->environment[0], sizeof(w->environment[0]), "SOFTHSM2_CONF=%s", w->hsm.conf);
    softhsm_path(&w->hsm, "calls", path);
    (void)snprintf(w->environment[1], sizeof(w->environment[1]), "SHIM_LOG=%s", path);
    softhsm_path(&w->hsm, "control", path);
    (void)snprintf(w->environment[2], sizeof(w->environment[2]), "SHIM_CONTROL=%s", path);
    (void)snprintf(w->environment[3], sizeof(w->environment[3]), "SHIM_LOG_CALLS=C_Login,C_Sign");
    for (size_t i = 0; i < 4; i++)
        w->items[i] = w->environment[i];
    w->key = (struct key_config){.name = name, .pin_file = w->pin_file, .environment = {w->items, 4}};
    key_world_set_uri(w, "token=" KEY_WORLD_TOKEN ";object=work");
    *state = w;
    return 0;
}

int key_world_open(void **state)
{
    const struct softhsm_key key = {.label = "work", .id = "1"};
    (void)key_world_open_token(state);
    softhsm_make_key(&((struct key_world *)*state)->hsm, KEY_WORLD_TOKEN, KEY_WORLD_PIN, &key);
    return 0;
}

int key_world_close(void **state)
{
    struct key_world *w = *state;
    softhsm_close(&w->hsm);
    free(w);
    return 0;
}

size_t key_world_calls(const struct key_world *w, const char *name)
{
    char *log = softhsm_read(&w->hsm, "calls");
    size_t n = 0;
    for (const char *at = log; (at = strstr(at, name)) != NULL; at++)
        n++;
    free(log);
    return n;
}

void key_world_control(const struct key_world *w, const char *command)
{
    softhsm_write(&w->hsm, "control", command, 0600, NULL);
}

struct key_child key_world_run(struct key_world *w, enum status expected, int expected_exit)
{
    struct key_child c;
    key_child_start(&c, &w->key, &w->memory, w->log);
    enum status status = key_child_serve(&c);
    if (status != expected)
        fail_msg("status %d, not %d: %s", status, expected, c.error.message);
    assert_int_equal(key_child_end(&c, true), expected_exit);
    return c;
}

void key_world_assert_says(const struct key_child *c, const char *text)
{
    if (strstr(c->error.message, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", c->error.message, text);
}
