/* See kept_pins.h. */
#include "kept_pins.h"

#include "config_option.h"
#include "log.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct kept {
    char *token_id;
    size_t token_id_len;
    uint8_t sealed[SEALED_PIN_MAX];
    size_t sealed_len;
    bool locked;
};

struct kept_pins {
    uint8_t *key; /* PIN_KEY_SIZE */
    struct kept kept[KEPT_PINS_MAX];
    size_t count;
};

struct kept_pins *kept_pins_new(void)
{
    struct kept_pins *pins = calloc(1, sizeof(*pins));
    if (pins == NULL || (pins->key = sodium_malloc(PIN_KEY_SIZE)) == NULL) {
        free(pins);
        return NULL;
    }
    randombytes_buf(pins->key, PIN_KEY_SIZE);
    return pins;
}

void kept_pins_free(struct kept_pins *pins)
{
    if (pins == NULL)
        return;
    for (size_t i = 0; i < pins->count; i++)
        free(pins->kept[i].token_id);
    sodium_free(pins->key);
    free(pins);
}

void kept_pins_put_slice(const struct kept_pins *pins, struct buffer *out)
{
    char hex[2 * PIN_KEY_SIZE + 1];
    (void)sodium_bin2hex(hex, sizeof(hex), pins->key, PIN_KEY_SIZE);
    buffer_put_text(out, "[agent]\n" CONFIG_OPTION_PIN_KEY " = ");
    buffer_put_text(out, hex);
    buffer_put_text(out, "\n");
    wipe(hex, sizeof(hex));
}

static struct kept *find(struct kept_pins *pins, struct span token_id)
{
    for (size_t i = 0; i < pins->count; i++)
        if (span_equal(span_of(pins->kept[i].token_id, pins->kept[i].token_id_len), token_id))
            return &pins->kept[i];
    return NULL;
}

static void forget(struct kept_pins *pins, struct kept *k)
{
    free(k->token_id);
    *k = pins->kept[--pins->count];
}

static struct kept *add(struct kept_pins *pins, struct span token_id)
{
    char *copy = pins->count < KEPT_PINS_MAX ? span_dup(token_id) : NULL;
    if (copy == NULL)
        return NULL;
    struct kept *k = &pins->kept[pins->count++];
    *k = (struct kept){.token_id = copy, .token_id_len = token_id.len};
    return k;
}

void kept_pins_take(struct kept_pins *pins, const struct kept_pin *m)
{
    struct kept *k = find(pins, m->token_id);
    if (m->sealed.len == 0 && !m->locked) {
        if (k != NULL)
            forget(pins, k);
        return;
    }
    if (k == NULL)
        k = add(pins, m->token_id);
    if (k == NULL || m->sealed.len > sizeof(k->sealed)) {
        log_warning("what was said about a token's PIN is forgotten at the next reload: there are too many");
        return;
    }
    if (m->sealed.len > 0)
        memcpy(k->sealed, m->sealed.data, m->sealed.len);
    k->sealed_len = m->sealed.len;
    k->locked = m->locked;
}

void kept_pins_each(const struct kept_pins *pins, void (*give)(void *context, const struct kept_pin *m), void *context)
{
    for (size_t i = 0; i < pins->count; i++) {
        const struct kept *k = &pins->kept[i];
        const struct kept_pin m = {.token_id = span_of(k->token_id, k->token_id_len),
                                   .sealed = k->sealed_len > 0 ? span_of(k->sealed, k->sealed_len) : span_text(NULL),
                                   .locked = k->locked};
        give(context, &m);
    }
}
