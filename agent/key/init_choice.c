/* See init_choice.h. */
#include "init_choice.h"

#include "init_known.h"
#include "text.h"
#include "uri.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TPM_PACKAGE "libtpm2-pkcs11-1 and libtss2-tcti-device0 on Debian, tpm2-pkcs11 on Fedora"

static const char *const tpm_modules[] = {
    "/usr/lib/" MULTIARCH "/pkcs11/libtpm2_pkcs11.so", "/usr/lib/" MULTIARCH "/libtpm2_pkcs11.so.1",
    "/usr/lib64/pkcs11/libtpm2_pkcs11.so", "/usr/lib/pkcs11/libtpm2_pkcs11.so", NULL};
static const char *const softhsm_modules[] = {
    "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/" MULTIARCH "/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", NULL};
const struct init_machine init_choice_machine = {"/dev/tpmrm0", tpm_modules, softhsm_modules};

/* A sentence that grows; what does not fit is cut. */
__attribute__((format(printf, 2, 3))) static void say(char reason[LIMIT_TEXT], const char *format, ...)
{
    size_t len = strlen(reason);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason + len, LIMIT_TEXT - len, format, args);
    va_end(args);
}

struct span init_choice_variable(const struct list *environment, const char *name)
{
    struct span item, found = {0};
    size_t cursor = 0, len = strlen(name);
    while (list_next(environment, &cursor, &item)) /* the last one counts, as in the module's environment */
        if (item.len > len && memcmp(item.data, name, len) == 0 && item.data[len] == '=')
            found = span_of(item.data + len + 1, item.len - len - 1);
    return found;
}

static const char *first_that_exists(const char *const *paths)
{
    for (; *paths != NULL; paths++)
        if (access(*paths, F_OK) == 0)
            return *paths;
    return NULL;
}

static enum status choose(struct init_choice *c, enum init_kind kind, const char *path, struct error *err)
{
    char **text = kind == INIT_TOKEN ? &c->token : &c->module;
    c->kind = kind;
    *text = strdup(path);
    return *text != NULL ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
}

/* Can the TPM be used? Else why not, and what to do about it. */
static enum status find_tpm(const struct init_request *request, const struct init_machine *machine, const char **module,
                            struct error *err)
{
    const char *device = machine->tpm_device;
    *module = first_that_exists(machine->tpm_modules);
    bool own_tcti = init_choice_variable(&request->environment, "TPM2_PKCS11_TCTI").data != NULL;
    int fd = own_tcti ? -1 : open(device, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int error = errno;
    if (fd >= 0)
        (void)close(fd);
    if (!own_tcti && fd < 0 && error == ENOENT)
        return error_set(err, STATUS_KEY_ABSENT,
                         "switch the TPM on in the firmware's settings, or choose another token",
                         "no TPM: %s does not exist", device);
    if (!own_tcti && fd < 0 && (error == EACCES || error == EPERM))
        return error_set(err, STATUS_KEY_ABSENT,
                         "add the agent's user to the group tss, then log in anew (the agent, too)",
                         "no TPM: %s may not be opened by uid %u", device, (unsigned int)geteuid());
    if (!own_tcti && fd < 0 && error != EBUSY)
        return error_set(err, STATUS_KEY_ABSENT, NULL, "no TPM: %s: %s", device, strerror(error));
    if (*module == NULL)
        return error_set(err, STATUS_KEY_ABSENT, "install " TPM_PACKAGE,
                         "no TPM: its module is missing: no %s, nor in other usual folders", machine->tpm_modules[0]);
    return STATUS_OK;
}

static enum status choose_softhsm(const struct init_machine *machine, struct init_choice *c, struct error *err)
{
    const char *module = first_that_exists(machine->softhsm_modules);
    if (module == NULL)
        return error_set(err, STATUS_KEY_ABSENT,
                         "install SoftHSM (softhsm2 on Debian, softhsm on Fedora), or choose another token",
                         "no SoftHSM module: there is no %s", machine->softhsm_modules[0]);
    return choose(c, INIT_SOFTHSM, module, err);
}

static enum status choose_tpm(const struct init_request *request, const struct init_machine *machine,
                              struct init_choice *c, struct error *err)
{
    const char *module;
    enum status status = find_tpm(request, machine, &module, err);
    return status == STATUS_OK ? choose(c, INIT_TPM, module, err) : status;
}

static enum status choose_best(const struct init_request *request, const struct init_machine *machine,
                               struct init_choice *c, struct error *err)
{
    const char *module;
    struct error no_tpm;
    struct init_known known;
    if (find_tpm(request, machine, &module, &no_tpm) == STATUS_OK) {
        say(c->reason, "a TPM can be used, and nothing on this machine keeps a key better");
        return choose(c, INIT_TPM, module, err);
    }
    enum status status = init_known_only(&known, err);
    if (status != STATUS_OK)
        return status;
    if (known.uri != NULL) {
        say(c->reason, "%s; %s, and it keeps the key better than SoftHSM", no_tpm.message, known.note);
        status = choose(c, INIT_TOKEN, known.uri, err);
    } else {
        say(c->reason, "%s; %s; so a SoftHSM token, which is as safe as its folder and PIN file", no_tpm.message,
            known.note);
        status = choose_softhsm(machine, c, err);
    }
    init_known_free(&known);
    return status;
}

static bool names_module(struct span uri)
{
    static const char name[] = "module-";
    const uint8_t *query = memchr(uri.data, '?', uri.len);
    return query != NULL && memmem(query, uri.len - (size_t)(query - uri.data), name, sizeof(name) - 1) != NULL;
}

/* A URI that names its module stands as it is; else the request's module is it, or p11-kit's configuration is searched.
 */
static enum status choose_given(const struct init_request *request, struct init_choice *c, struct error *err)
{
    struct init_known known = {0};
    struct buffer b;
    struct span uri = request->token;
    enum status status = STATUS_OK;
    buffer_init(&b, URI_MAX);
    if (!names_module(uri) && request->module.data == NULL) {
        status = init_known_complete(uri, &known, err);
        uri = span_text(known.uri);
    }
    buffer_put(&b, uri.data, uri.len);
    if (status == STATUS_OK && !names_module(uri)) {
        char *module = span_dup(request->module);
        buffer_put_text(&b, memchr(uri.data, '?', uri.len) != NULL ? "&module-path=" : "?module-path=");
        uri_put_value(&b, module != NULL ? module : "", true);
        free(module);
    }
    char *text = span_dup(buffer_span(&b));
    if (status == STATUS_OK && (b.failed || text == NULL))
        status = error_set(err, STATUS_INVALID_ARGUMENT, NULL, "the URI is longer than %d bytes", URI_MAX);
    if (status == STATUS_OK)
        status = uri_check(text, err);
    if (status == STATUS_OK)
        status = choose(c, INIT_TOKEN, text, err);
    free(text);
    buffer_free(&b);
    init_known_free(&known);
    return status;
}

static enum status choose_asked(const struct init_request *request, const struct init_machine *machine,
                                struct init_choice *c, struct error *err)
{
    struct span kind = request->kind;
    char *module;
    if (kind.data != NULL && (request->token.data != NULL || request->module.data != NULL))
        return error_set(err, STATUS_INVALID_ARGUMENT, "keep one of them",
                         "a kind of token and a module or token are given");
    if (request->token.data != NULL) {
        say(c->reason, "this token was asked for");
        return choose_given(request, c, err);
    }
    if (request->module.data != NULL) {
        say(c->reason, "this module was asked for");
        module = span_dup(request->module);
        enum status status = choose(c, INIT_MODULE, module != NULL ? module : "", err);
        free(module);
        return status;
    }
    if (span_is(kind, "tpm")) {
        say(c->reason, "a TPM was asked for");
        return choose_tpm(request, machine, c, err);
    }
    if (span_is(kind, "softhsm")) {
        say(c->reason, "SoftHSM was asked for; its token is as safe as its folder and PIN file");
        return choose_softhsm(machine, c, err);
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "use \"tpm\" or \"softhsm\"", "\"%.*s\" is no kind of token",
                     (int)kind.len, (const char *)kind.data);
}

enum status init_choice_make(const struct init_request *request, const struct init_machine *machine,
                             struct init_choice *out, struct error *err)
{
    struct init_choice c = {.kind = INIT_SOFTHSM};
    bool asked = request->kind.data != NULL || request->token.data != NULL || request->module.data != NULL;
    enum status status = asked ? choose_asked(request, machine, &c, err) : choose_best(request, machine, &c, err);
    if (status == STATUS_OK && request->pin && c.kind != INIT_TOKEN)
        status = error_set(err, STATUS_INVALID_ARGUMENT, "leave the PIN out, or name its token",
                           "a PIN was given, and the token that would be made has none yet");
    text_clean(c.reason); /* it may have been cut within a character */
    if (status == STATUS_OK)
        *out = c;
    else
        init_choice_free(&c);
    return status;
}

void init_choice_free(struct init_choice *c)
{
    free(c->module);
    free(c->token);
    *c = (struct init_choice){.kind = INIT_SOFTHSM};
}
