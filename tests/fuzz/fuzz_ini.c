/*
 * Any bytes as a configuration: no crash; an error has a file, and a next step where it is about the meaning; what is good
 * is cut into slices that read back to themselves and have what their role may see and nothing else.
 */
#include "config.h"
#include "config_check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void cut(const struct config *whole, enum role role, const char *name)
{
    struct buffer first, second;
    struct config *slice;
    struct error err;
    buffer_init(&first, 2 * CONFIG_MAX_FILE);
    buffer_init(&second, 2 * CONFIG_MAX_FILE);
    config_put_slice(whole, role, name, &first);
    must(!first.failed);
    must(config_parse(buffer_span(&first), "slice", role, &slice, &err) == STATUS_OK);
    for (size_t i = 0; i < slice->entry_count; i++)
        must((slice->entries[i].roles & (unsigned int)role) != 0);
    if (name != NULL)
        must(slice->key_count == 1 && strcmp(slice->keys[0].name, name) == 0 && slice->profile_count == 0);
    config_put_slice(slice, role, name, &second);
    must(span_equal(buffer_span(&first), buffer_span(&second)));
    config_free(slice);
    buffer_free(&first);
    buffer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *c;
    struct error err;
    if (config_parse(span_of(data, size), "file", ROLE_SUPERVISOR, &c, &err) != STATUS_OK) {
        must(err.status == STATUS_CONFIGURATION && strncmp(err.message, "file:", 5) == 0);
        return 0;
    }
    if (config_check(c, &err) != STATUS_OK) {
        must(err.status == STATUS_CONFIGURATION && strncmp(err.message, "file:", 5) == 0 && err.next[0] != '\0');
        config_free(c);
        return 0;
    }
    cut(c, ROLE_FRONT, NULL);
    cut(c, ROLE_NET, NULL);
    cut(c, ROLE_STORE, NULL);
    cut(c, ROLE_INIT, NULL);
    for (size_t i = 0; i < c->key_count; i++)
        cut(c, ROLE_KEY, c->keys[i].name);
    config_free(c);
    return 0;
}
