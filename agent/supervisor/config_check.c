/* See config_check.h: the keys, then every value, then every profile as a whole. */
#include "config_check.h"

#include "mistake.h"
#include "profile_check.h"
#include "value_check.h"

static enum status check_key(const struct config *c, const struct key_config *key, struct error *err)
{
    if (key->uri == NULL)
        return mistake_in_key(c, key, NULL, err, "add uri = pkcs11:…", "lacks the option \"uri\"");
    if (key->pin_file != NULL && key->pin_credential != NULL)
        return mistake_in_key(c, key, NULL, err, "keep one of them", "has both pin-file and pin-credential");
    return STATUS_OK;
}

enum status config_check(const struct config *c, struct error *err)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < c->key_count && status == STATUS_OK; i++)
        status = check_key(c, &c->keys[i], err);
    for (size_t i = 0; i < c->entry_count && status == STATUS_OK; i++)
        status = value_check(c, &c->entries[i], err);
    for (size_t i = 0; i < c->profile_count && status == STATUS_OK; i++)
        status = profile_check(c, &c->profiles[i], err);
    return status;
}
