/* See module.h. */
#include "module.h"

#include "ckr.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum status module_set_environment(const struct strings *environment, struct error *err)
{
    for (size_t i = 0; i < environment->count; i++) {
        const char *item = environment->items[i];
        const char *equals = strchr(item, '=');
        char *name = equals != NULL && equals != item ? strndup(item, (size_t)(equals - item)) : NULL;
        if (name == NULL)
            return error_set(err, STATUS_CONFIGURATION, "write environment = NAME=VALUE",
                             "environment: \"%s\" is not NAME=VALUE", item);
        int r = setenv(name, equals + 1, 1);
        free(name);
        if (r != 0)
            return error_set(err, STATUS_NO_MEMORY, NULL, "environment: %s", strerror(errno));
    }
    return STATUS_OK;
}

bool module_is_tpm(const struct module *m)
{
    return m->path != NULL && strstr(m->path, "tpm2_pkcs11") != NULL;
}

bool module_answers(const struct module *m, CK_SESSION_HANDLE session)
{
    CK_BYTE random[8];
    return m->f->C_GenerateRandom(session, random, sizeof(random)) == CKR_OK;
}

enum status module_tpm_away(struct error *err)
{
    struct error what = *err;
    return error_set(err, STATUS_KEY_ABSENT, what.next, "the TPM cannot be reached: %s", what.message);
}

enum status module_failed(const struct module *m, const char *call, CK_RV rv, struct error *err)
{
    enum status status = ckr_status(rv);
    char look[256];
    (void)snprintf(look, sizeof(look),
                   "the agent tries again by itself; if it stays, look at the token with the key's "
                   "environment: pkcs11-tool --module %.80s -O",
                   m->path != NULL ? m->path : "…");
    const char *next = status == STATUS_KEY_ABSENT && rv != CKR_USER_NOT_LOGGED_IN ? "plug the token in" : look;
    if (module_is_tpm(m) && ckr_rung(rv) == CKR_RUNG_PROCESS)
        next = "look whether /dev/tpmrm0 is there and the agent's user may open it, or whether the resource manager "
               "(tpm2-abrmd) runs; the agent tries again by itself";
    if (m->failed != NULL)
        *m->failed = rv;
    return error_set(err, status, next, "%s in %s: %s", call, m->path, ckr_text(rv).text);
}

/* p11-kit's "unmanaged": calls go straight to the module, and nobody else in this process uses it. */
static enum status load_path(const char *path, struct module *m, struct error *err)
{
    if (access(path, F_OK) != 0)
        return error_set(err, STATUS_KEY_ABSENT, "install the module, or correct module-path in the uri",
                         "module %s: %s", path, strerror(errno));
    m->f = p11_kit_module_load(path, P11_KIT_MODULE_UNMANAGED);
    if (m->f == NULL) {
        const char *reason = p11_kit_message();
        return error_set(err, STATUS_KEY_FAILED, "check that the file is a PKCS#11 module for this machine",
                         "module %s: %s", path, reason != NULL ? reason : "cannot be loaded");
    }
    m->path = strdup(path);
    m->failed = calloc(1, sizeof(*m->failed));
    return m->path != NULL && m->failed != NULL
               ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "module %s: out of memory", path);
}

/* All registered modules are loaded to find the one; none but that one is initialised, and the others are let go. */
static enum status load_name(const char *name, struct module *m, struct error *err)
{
    CK_FUNCTION_LIST **all = p11_kit_modules_load(NULL, P11_KIT_MODULE_UNMANAGED);
    CK_FUNCTION_LIST *found = all != NULL ? p11_kit_module_for_name(all, name) : NULL;
    for (size_t i = 0; all != NULL && all[i] != NULL; i++)
        if (all[i] != found)
            p11_kit_module_release(all[i]);
    free(all);
    if (found == NULL)
        return error_set(err, STATUS_KEY_ABSENT,
                         "\"p11-kit list-modules\" names the registered ones, or use module-path",
                         "module \"%s\" is not registered with p11-kit", name);
    m->f = found;
    m->path = p11_kit_module_get_filename(found);
    m->failed = calloc(1, sizeof(*m->failed));
    return m->path != NULL && m->failed != NULL
               ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "module \"%s\": out of memory", name);
}

/* tpm2-pkcs11 reaches for the TPM here: one that is not there is its commonest failure, and says no more. */
static enum status initialize_failed(const struct module *m, CK_RV rv, struct error *err)
{
    enum status status = module_failed(m, "C_Initialize", rv, err);
    bool unknown = rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED || rv == CKR_DEVICE_ERROR;
    return module_is_tpm(m) && unknown ? module_tpm_away(err) : status;
}

static enum status initialize(struct module *m, enum status loaded, struct module *out, struct error *err)
{
    enum status status = loaded;
    if (status == STATUS_OK) {
        CK_RV rv = p11_kit_module_initialize(m->f);
        if (rv != CKR_OK)
            status = initialize_failed(m, rv, err);
        else
            m->initialized = true;
    }
    if (status == STATUS_OK)
        *out = *m;
    else
        module_close(m);
    return status;
}

enum status module_open(const char *path, struct module *out, struct error *err)
{
    struct module m = {0};
    return initialize(&m, load_path(path, &m, err), out, err);
}

enum status module_open_uri(const struct uri *uri, struct module *out, struct error *err)
{
    struct module m = {0};
    if (uri->module_path != NULL)
        return module_open(uri->module_path, out, err);
    return initialize(&m, load_name(uri->module_name, &m, err), out, err);
}

enum status module_load_uri(const struct uri *uri, struct module *out, struct error *err)
{
    struct module m = {0};
    enum status status =
        uri->module_path != NULL ? load_path(uri->module_path, &m, err) : load_name(uri->module_name, &m, err);
    if (status == STATUS_OK)
        *out = m;
    else
        module_close(&m);
    return status;
}

void module_close(struct module *m)
{
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(MODULE_CLOSE_SECONDS);
    if (m->initialized)
        (void)p11_kit_module_finalize(m->f);
    if (m->f != NULL)
        p11_kit_module_release(m->f);
    (void)alarm(0);
    free(m->path);
    free(m->failed);
    *m = (struct module){0};
}
