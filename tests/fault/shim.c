/*
 * libdpop-shim.so: a PKCS#11 module for tests. It forwards every call to the real module, writes down the calls that a
 * test asks about, and misbehaves on command. Its settings come from the environment of the process that loads it:
 *
 *   SHIM_MODULE     the real module; SoftHSM when it is not set
 *   SHIM_LOG        file; each call of a function listed in SHIM_LOG_CALLS ("C_Login,C_Sign"; "*": all; "obeyed": those
 *                   that met a command) appends "PID NAME 0xRV WHAT...", a WHAT for each command that it met
 *   SHIM_CONTROL    file of commands, read anew when it has changed; no file: nothing is wrong. One command a line, and
 *                   several for one function are obeyed together:
 *
 *     FUNCTION WHAT [VALUE] [after N] [nth N] [every N] [fresh] [once]      FUNCTION may be * for all
 *       fail RV     the real module is not called; RV is returned
 *       late RV     the real module is called, and RV is returned all the same: what it did is not known
 *       delay MS    so many milliseconds pass before the real module is called
 *       leak BYTES  so many bytes stay in use for ever
 *       hang        does not return
 *       stall       does not go on as long as the command is there
 *       hold        the real module is called and the call written down, but does not return
 *       crash       the process dies of SIGSEGV
 *       flip        (C_Sign) a bit of the signature is wrong
 *       short       (C_Sign) the signature is a byte short
 *       zero        (C_Sign) the signature is all zero
 *       foreign     (C_Sign) the signature is another P-256 key's
 *       misdigest   (C_Sign) the signature is one of another digest
 *       flags BITS  (C_GetTokenInfo) these flags are set as well
 *       clear BITS  (C_GetTokenInfo) these flags are not set
 *       wrong-key   (C_FindObjectsInit) whatever private key is looked for, another one is found
 *       slots N     (C_GetSlotList) every slot has a number that is larger by N, in all calls
 *       handles N   (C_FindObjects) objects have the handles of generation N; those of other generations are invalid,
 *                   in all calls with objects
 *       after N     the first N calls of the function in a process are left alone
 *       nth N       only the N-th call in a process is met
 *       every N     only each N-th call in a process is met
 *       fresh       only the first call since a private key was looked for, in a process
 *       once        only one call, of all processes, is met: the file SHIM_CONTROL.FUNCTION.once marks that it was
 *
 * Functions that are not in the table below are the real module's own.
 */
#include "shim_commands.h"
#include "shim_key.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define STALL_STEP 10            /* milliseconds */
#define GENERATION 0x1000000UL /* handles between two generations */

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST shimmed;
static bool fresh; /* no signature was made since a private key was looked for */

_Noreturn static void stop_here(void)
{
    for (;;)
        (void)pause();
}

/* Memory that nobody gives back, but for the end of the process. It can still be reached: no leak to a sanitizer. */
static void leak(unsigned long bytes)
{
    static void *last;
    void **block = bytes >= sizeof(void *) ? malloc(bytes) : NULL;
    if (block == NULL)
        return;
    memset(block, 1, bytes);
    *block = last;
    last = block;
}

static void pass(unsigned long milliseconds)
{
    struct timespec left = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

/* What is commanded before the call; true: the call is not made, and its result is *rv. */
static bool misbehave(const struct call *c, CK_RV *rv)
{
    const struct command *command = commands_met(c, "delay");
    if (command != NULL)
        pass(command->value);
    command = commands_met(c, "leak");
    if (command != NULL)
        leak(command->value);
    if (commands_met(c, "stall") != NULL)
        while (commands_still(c->function, "stall"))
            pass(STALL_STEP);
    if (commands_met(c, "hang") != NULL)
        stop_here();
    if (commands_met(c, "crash") != NULL) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)raise(SIGSEGV);
    }
    command = commands_met(c, "fail");
    if (command != NULL)
        *rv = command->value;
    return command != NULL;
}

static CK_RV finish(const struct call *c, CK_RV rv)
{
    const struct command *late = commands_met(c, "late");
    if (late != NULL)
        rv = late->value;
    commands_write_down(c, rv);
    if (commands_met(c, "hold") != NULL)
        stop_here();
    return rv;
}

/*
 * A wrapper: counts the call, obeys, forwards, and writes down. `before` may change the arguments; what it returns,
 * if not CKR_OK, is the call's result. `after` runs when the real call has succeeded.
 */
#define WRAP(name, parameters, arguments, before, after)         \
    static CK_RV shim_##name parameters                          \
    {                                                            \
        static unsigned long calls;                              \
        struct call call = commands_begin(#name, ++calls, fresh); \
        CK_RV rv;                                                \
        if (!misbehave(&call, &rv)) {                            \
            rv = before;                                         \
            if (rv == CKR_OK) {                                  \
                rv = real->name arguments;                       \
                if (rv == CKR_OK)                                \
                    after;                                       \
            }                                                    \
        }                                                        \
        return finish(&call, rv);                                \
    }

/* ---- slots and handles that are not the real module's ---- */

static CK_RV slot_in(CK_SLOT_ID *slot)
{
    unsigned long offset = commands_value("C_GetSlotList", "slots");
    if (*slot < offset)
        return CKR_SLOT_ID_INVALID;
    *slot -= offset;
    return CKR_OK;
}

static void slots_out(CK_SLOT_ID *slots, CK_ULONG count)
{
    unsigned long offset = commands_value("C_GetSlotList", "slots");
    for (CK_ULONG i = 0; slots != NULL && i < count; i++)
        slots[i] += offset;
}

static CK_RV object_in(CK_OBJECT_HANDLE *object, CK_RV invalid)
{
    if (*object / GENERATION != commands_value("C_FindObjects", "handles"))
        return invalid;
    *object %= GENERATION;
    return CKR_OK;
}

static void objects_out(CK_OBJECT_HANDLE *objects, CK_ULONG count)
{
    unsigned long generation = commands_value("C_FindObjects", "handles");
    for (CK_ULONG i = 0; i < count; i++)
        objects[i] += generation * GENERATION;
}

/* ---- what single functions do besides ---- */

static CK_RV drop_key(void)
{
    shim_key_drop(real);
    return CKR_OK;
}

static bool looks_for_private_key(const CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    CK_OBJECT_CLASS class;
    for (CK_ULONG i = 0; i < count; i++)
        if (attributes[i].type == CKA_CLASS && attributes[i].ulValueLen == sizeof(class)) {
            memcpy(&class, attributes[i].pValue, sizeof(class));
            return class == CKO_PRIVATE_KEY;
        }
    return false;
}

/* A search for a private key: perhaps it is to find the other one. */
static CK_RV search(const struct call *c, CK_SESSION_HANDLE session, CK_ATTRIBUTE **attributes, CK_ULONG *count)
{
    static CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    static char label[] = SHIM_KEY_LABEL;
    static CK_ATTRIBUTE other[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, label, sizeof(label) - 1}};
    if (!looks_for_private_key(*attributes, *count))
        return CKR_OK;
    fresh = true;
    if (commands_met(c, "wrong-key") == NULL)
        return CKR_OK;
    *attributes = other;
    *count = sizeof(other) / sizeof(other[0]);
    return shim_key_make(real, session);
}

/* `copy` has room for a digest. */
static CK_RV spoil_digest(const struct call *c, CK_BYTE **data, CK_ULONG len, CK_BYTE copy[64])
{
    fresh = false;
    if (commands_met(c, "misdigest") == NULL || *data == NULL || len == 0 || len > 64)
        return CKR_OK;
    memcpy(copy, *data, len);
    copy[0] ^= 1;
    *data = copy;
    return CKR_OK;
}

static void spoil_signature(const struct call *c, CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len,
                            CK_BYTE *signature, CK_ULONG *len)
{
    if (signature == NULL || *len == 0)
        return;
    if (commands_met(c, "foreign") != NULL && shim_key_sign(real, session, data, data_len, signature, len) != CKR_OK)
        signature[*len / 2] ^= 1;
    if (commands_met(c, "flip") != NULL)
        signature[*len / 2] ^= 1;
    if (commands_met(c, "short") != NULL)
        *len -= 1;
    if (commands_met(c, "zero") != NULL)
        memset(signature, 0, *len);
}

static void change_flags(const struct call *c, CK_TOKEN_INFO *info)
{
    const struct command *set = commands_met(c, "flags"), *cleared = commands_met(c, "clear");
    if (set != NULL)
        info->flags |= set->value;
    if (cleared != NULL)
        info->flags &= ~cleared->value;
}

/* ---- the table ---- */

#define NO_CHANGE CKR_OK
#define NOTHING ((void)0)
#define SLOT slot_in(&slot)
#define OBJECT object_in(&object, CKR_OBJECT_HANDLE_INVALID)
#define KEY object_in(&key, CKR_KEY_HANDLE_INVALID)

WRAP(C_Initialize, (void *args), (args), NO_CHANGE, NOTHING)
WRAP(C_Finalize, (void *reserved), (reserved), drop_key(), NOTHING)
WRAP(C_GetInfo, (CK_INFO *info), (info), NO_CHANGE, NOTHING)
WRAP(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count), (present, slots, count), NO_CHANGE,
     slots_out(slots, *count))
WRAP(C_GetSlotInfo, (CK_SLOT_ID slot, CK_SLOT_INFO *info), (slot, info), SLOT, NOTHING)
WRAP(C_GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO *info), (slot, info), SLOT, change_flags(&call, info))
WRAP(C_WaitForSlotEvent, (CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved), (flags, slot, reserved), NO_CHANGE,
     slots_out(slot, 1))
WRAP(C_GetMechanismList, (CK_SLOT_ID slot, CK_MECHANISM_TYPE *types, CK_ULONG *count), (slot, types, count), SLOT,
     NOTHING)
WRAP(C_GetMechanismInfo, (CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info), (slot, type, info), SLOT,
     NOTHING)
WRAP(C_InitToken, (CK_SLOT_ID slot, CK_BYTE *pin, CK_ULONG pin_len, CK_BYTE *label), (slot, pin, pin_len, label), SLOT,
     NOTHING)
WRAP(C_InitPIN, (CK_SESSION_HANDLE session, CK_BYTE *pin, CK_ULONG pin_len), (session, pin, pin_len), NO_CHANGE,
     NOTHING)
WRAP(C_SetPIN, (CK_SESSION_HANDLE session, CK_BYTE *old, CK_ULONG old_len, CK_BYTE *pin, CK_ULONG pin_len),
     (session, old, old_len, pin, pin_len), NO_CHANGE, NOTHING)
WRAP(C_OpenSession, (CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *session),
     (slot, flags, application, notify, session), SLOT, NOTHING)
WRAP(C_CloseSession, (CK_SESSION_HANDLE session), (session), drop_key(), NOTHING)
WRAP(C_CloseAllSessions, (CK_SLOT_ID slot), (slot), (drop_key(), SLOT), NOTHING)
WRAP(C_GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), (session, info), NO_CHANGE,
     slots_out(&info->slotID, 1))
WRAP(C_Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG pin_len),
     (session, user, pin, pin_len), NO_CHANGE, NOTHING)
WRAP(C_Logout, (CK_SESSION_HANDLE session), (session), drop_key(), NOTHING)
WRAP(C_CreateObject,
     (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count, CK_OBJECT_HANDLE *object),
     (session, attributes, count, object), NO_CHANGE, objects_out(object, 1))
WRAP(C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), (session, object), OBJECT, NOTHING)
WRAP(C_GetObjectSize, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG *size), (session, object, size),
     OBJECT, NOTHING)
WRAP(C_GetAttributeValue,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG count),
     (session, object, attributes, count), OBJECT, NOTHING)
WRAP(C_SetAttributeValue,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG count),
     (session, object, attributes, count), OBJECT, NOTHING)
WRAP(C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count),
     (session, attributes, count), search(&call, session, &attributes, &count), NOTHING)
WRAP(C_FindObjects, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *count),
     (session, objects, max, count), NO_CHANGE, objects_out(objects, *count))
WRAP(C_FindObjectsFinal, (CK_SESSION_HANDLE session), (session), NO_CHANGE, NOTHING)
WRAP(C_GenerateKeyPair,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_attributes, CK_ULONG public_count,
      CK_ATTRIBUTE *private_attributes, CK_ULONG private_count, CK_OBJECT_HANDLE *public_key,
      CK_OBJECT_HANDLE *private_key),
     (session, mechanism, public_attributes, public_count, private_attributes, private_count, public_key, private_key),
     NO_CHANGE, (objects_out(public_key, 1), objects_out(private_key, 1)))
WRAP(C_GenerateRandom, (CK_SESSION_HANDLE session, CK_BYTE *random, CK_ULONG len), (session, random, len), NO_CHANGE,
     NOTHING)
WRAP(C_SignInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), (session, mechanism, key),
     KEY, NOTHING)
static CK_BYTE changed_digest[64];
WRAP(C_Sign, (CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *signature, CK_ULONG *signature_len),
     (session, data, data_len, signature, signature_len), spoil_digest(&call, &data, data_len, changed_digest),
     spoil_signature(&call, session, data, data_len, signature, signature_len))

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

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    if (real == NULL) {
        CK_RV rv = load_real();
        if (rv != CKR_OK)
            return rv;
    }
    shimmed = *real;
    shimmed.C_GetFunctionList = C_GetFunctionList;
#define PUT(name) shimmed.name = shim_##name
    PUT(C_Initialize), PUT(C_Finalize), PUT(C_GetInfo), PUT(C_GetSlotList), PUT(C_GetSlotInfo), PUT(C_GetTokenInfo);
    PUT(C_WaitForSlotEvent), PUT(C_GetMechanismList), PUT(C_GetMechanismInfo), PUT(C_InitToken), PUT(C_InitPIN);
    PUT(C_SetPIN), PUT(C_OpenSession), PUT(C_CloseSession), PUT(C_CloseAllSessions), PUT(C_GetSessionInfo);
    PUT(C_Login), PUT(C_Logout), PUT(C_CreateObject), PUT(C_DestroyObject), PUT(C_GetObjectSize);
    PUT(C_GetAttributeValue), PUT(C_SetAttributeValue), PUT(C_FindObjectsInit), PUT(C_FindObjects);
    PUT(C_FindObjectsFinal), PUT(C_GenerateKeyPair), PUT(C_GenerateRandom), PUT(C_SignInit), PUT(C_Sign);
    *list = &shimmed;
    return CKR_OK;
}
