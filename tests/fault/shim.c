/*
 * libdpop-shim.so: a PKCS#11 module for tests. It forwards every call to the real module, writes down the calls that a
 * test asks about, and misbehaves on command. Its settings come from the environment of the process that loads it:
 *
 *   SHIM_MODULE     the real module; SoftHSM when it is not set
 *   SHIM_LOG        file; each call of a function listed in SHIM_LOG_CALLS ("C_Login,C_Sign") appends "PID NAME 0xRV"
 *   SHIM_CONTROL    file of commands, read anew at each call; no file: nothing is wrong. One command a line:
 *
 *     FUNCTION WHAT [VALUE] [after N] [once]
 *       fail RV     the real module is not called; RV is returned
 *       hang        does not return
 *       hold        the real module is called and the call written down, but does not return
 *       crash       the process dies of SIGSEGV
 *       flip        (C_Sign) a bit of the signature is wrong
 *       short       (C_Sign) the signature is a byte short
 *       zero        (C_Sign) the signature is all zero
 *       flags BITS  (C_GetTokenInfo) these flags are set as well
 *       after N     the first N calls in a process are left alone
 *       once        only one call, of all processes, is met: the file SHIM_CONTROL.FUNCTION.once marks that it was
 *
 * Functions that are not in the table below are the real module's own.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define LINE_MAX_LENGTH 256

struct command {
    char what[16]; /* empty: behave */
    unsigned long value;
    unsigned long after;
    bool once;
};

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST shimmed;

static bool first_of_all(const char *control, const char *function)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s.%s.once", control, function);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    (void)close(fd);
    return true;
}

/* Reads one line of the control file; false: it is not about this function. */
static bool parse(char *line, const char *function, struct command *out)
{
    char *rest = NULL, *word = strtok_r(line, " \n", &rest);
    *out = (struct command){.what = ""};
    if (word == NULL || strcmp(word, function) != 0 || (word = strtok_r(NULL, " \n", &rest)) == NULL)
        return false;
    (void)snprintf(out->what, sizeof(out->what), "%s", word);
    while ((word = strtok_r(NULL, " \n", &rest)) != NULL) {
        if (strcmp(word, "once") == 0)
            out->once = true;
        else if (strcmp(word, "after") == 0 && (word = strtok_r(NULL, " \n", &rest)) != NULL)
            out->after = strtoul(word, NULL, 0);
        else if (word != NULL)
            out->value = strtoul(word, NULL, 0);
    }
    return true;
}

static struct command read_command(const char *function, unsigned long call)
{
    struct command command = {.what = ""};
    const char *control = getenv("SHIM_CONTROL");
    FILE *file = control != NULL ? fopen(control, "re") : NULL;
    char line[LINE_MAX_LENGTH];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (!parse(line, function, &command))
            continue;
        if (call > command.after && (!command.once || first_of_all(control, function)))
            break;
        command.what[0] = '\0';
    }
    if (file != NULL)
        (void)fclose(file);
    return command;
}

static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; at != NULL && (at = strstr(at, name)) != NULL; at += len)
        if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
            return true;
    return false;
}

static CK_RV write_down(const char *function, CK_RV rv)
{
    const char *path = getenv("SHIM_LOG");
    char line[LINE_MAX_LENGTH];
    if (path == NULL || !listed(getenv("SHIM_LOG_CALLS"), function))
        return rv;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int n = snprintf(line, sizeof(line), "%ld %s 0x%lx\n", (long)getpid(), function, (unsigned long)rv);
    if (fd >= 0 && n > 0 && write(fd, line, (size_t)n) != n)
        (void)fprintf(stderr, "shim: the log is incomplete\n");
    if (fd >= 0)
        (void)close(fd);
    return rv;
}

_Noreturn static void stop_here(void)
{
    for (;;)
        (void)pause();
}

/* Does what a command says before the call; true: the call is not made, and its result is *rv. */
static bool misbehave(const struct command *c, CK_RV *rv)
{
    if (strcmp(c->what, "hang") == 0)
        stop_here();
    if (strcmp(c->what, "crash") == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)raise(SIGSEGV);
    }
    if (strcmp(c->what, "fail") != 0)
        return false;
    *rv = c->value;
    return true;
}

/* A wrapper: counts the call, obeys, forwards, and writes down. `after` runs when the real call has succeeded. */
#define WRAP(name, parameters, arguments, after)              \
    static CK_RV shim_##name parameters                       \
    {                                                         \
        static unsigned long calls;                           \
        struct command command = read_command(#name, ++calls); \
        CK_RV rv;                                             \
        if (!misbehave(&command, &rv)) {                      \
            rv = real->name arguments;                        \
            if (rv == CKR_OK)                                 \
                after;                                        \
        }                                                     \
        (void)write_down(#name, rv);                          \
        if (strcmp(command.what, "hold") == 0)                \
            stop_here();                                      \
        return rv;                                            \
    }

static void spoil_signature(const struct command *c, CK_BYTE *signature, CK_ULONG *len)
{
    if (signature == NULL || *len == 0)
        return;
    if (strcmp(c->what, "flip") == 0)
        signature[*len / 2] ^= 1;
    if (strcmp(c->what, "short") == 0)
        *len -= 1;
    if (strcmp(c->what, "zero") == 0)
        memset(signature, 0, *len);
}

static void add_flags(const struct command *c, CK_TOKEN_INFO *info)
{
    if (strcmp(c->what, "flags") == 0)
        info->flags |= c->value;
}

#define NOTHING ((void)0)
WRAP(C_Initialize, (void *args), (args), NOTHING)
WRAP(C_Finalize, (void *reserved), (reserved), NOTHING)
WRAP(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count), (present, slots, count), NOTHING)
WRAP(C_GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO *info), (slot, info), add_flags(&command, info))
WRAP(C_OpenSession, (CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *session),
     (slot, flags, application, notify, session), NOTHING)
WRAP(C_InitToken, (CK_SLOT_ID slot, CK_BYTE *pin, CK_ULONG pin_len, CK_BYTE *label), (slot, pin, pin_len, label),
     NOTHING)
WRAP(C_Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG pin_len),
     (session, user, pin, pin_len), NOTHING)
WRAP(C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count),
     (session, attributes, count), NOTHING)
WRAP(C_FindObjects, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *count),
     (session, objects, max, count), NOTHING)
WRAP(C_GetAttributeValue,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG count),
     (session, object, attributes, count), NOTHING)
WRAP(C_GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), (session, info), NOTHING)
WRAP(C_CreateObject,
     (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count, CK_OBJECT_HANDLE *object),
     (session, attributes, count, object), NOTHING)
WRAP(C_GenerateKeyPair,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_attributes, CK_ULONG public_count,
      CK_ATTRIBUTE *private_attributes, CK_ULONG private_count, CK_OBJECT_HANDLE *public_key,
      CK_OBJECT_HANDLE *private_key),
     (session, mechanism, public_attributes, public_count, private_attributes, private_count, public_key, private_key),
     NOTHING)
WRAP(C_SignInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), (session, mechanism, key),
     NOTHING)
WRAP(C_Sign, (CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *signature, CK_ULONG *signature_len),
     (session, data, data_len, signature, signature_len), spoil_signature(&command, signature, signature_len))

static CK_RV load_real(void)
{
    CK_C_GetFunctionList get_list;
    const char *path = getenv("SHIM_MODULE");
    void *module = dlopen(path != NULL ? path : DEFAULT_MODULE, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL)
        return CKR_GENERAL_ERROR;
    void *symbol = dlsym(module, "C_GetFunctionList");
    if (symbol == NULL)
        return CKR_GENERAL_ERROR;
    memcpy(&get_list, &symbol, sizeof(get_list)); /* C has no cast from an object to a function */
    return get_list(&real);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    if (real == NULL) {
        CK_RV rv = load_real();
        if (rv != CKR_OK)
            return rv;
    }
    shimmed = *real;
    shimmed.C_GetFunctionList = C_GetFunctionList;
    shimmed.C_Initialize = shim_C_Initialize;
    shimmed.C_Finalize = shim_C_Finalize;
    shimmed.C_GetSlotList = shim_C_GetSlotList;
    shimmed.C_GetTokenInfo = shim_C_GetTokenInfo;
    shimmed.C_OpenSession = shim_C_OpenSession;
    shimmed.C_InitToken = shim_C_InitToken;
    shimmed.C_Login = shim_C_Login;
    shimmed.C_FindObjectsInit = shim_C_FindObjectsInit;
    shimmed.C_FindObjects = shim_C_FindObjects;
    shimmed.C_GetAttributeValue = shim_C_GetAttributeValue;
    shimmed.C_GetSessionInfo = shim_C_GetSessionInfo;
    shimmed.C_CreateObject = shim_C_CreateObject;
    shimmed.C_GenerateKeyPair = shim_C_GenerateKeyPair;
    shimmed.C_SignInit = shim_C_SignInit;
    shimmed.C_Sign = shim_C_Sign;
    *list = &shimmed;
    return CKR_OK;
}
