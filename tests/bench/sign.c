/*
 * bench-sign MODULE TOKEN-LABEL PIN-FILE SESSIONS SECONDS: how fast the module itself signs, with nothing around it.
 *
 * Each session has a process of its own, which loads the module, logs in, finds the token's private key, and then
 * calls C_SignInit and C_Sign (CKM_ECDSA, 32 bytes) in a loop. They open one after the other, since C_Login of SoftHSM
 * rewrites the token's file in place and who reads it then finds no token, and begin together. Prints RATE P50 P99 of
 * them all.
 */
#include "samples.h"

#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS_MAX 16
#define SESSIONS_MAX 64
#define PIN_MAX 256
#define DIGEST_SIZE 32
#define SAMPLES_MAX 4000000 /* of one session; memory is used only as far as they come */
#define WARM_UP INT64_C(100000000)

struct session {
    CK_FUNCTION_LIST *f;
    CK_SESSION_HANDLE handle;
    CK_OBJECT_HANDLE key;
};

/* What a session's process shares with its parent. */
struct shared {
    _Atomic bool open;
    _Atomic int64_t begin, end; /* 0: not known yet */
    size_t count;
    uint32_t nanoseconds[SAMPLES_MAX];
};

static void check(const char *call, CK_RV rv)
{
    if (rv != CKR_OK)
        die("%s: 0x%lx", call, (unsigned long)rv);
}

static CK_SLOT_ID find_slot(CK_FUNCTION_LIST *f, const char *label)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_TOKEN_INFO info;
    check("C_GetSlotList", f->C_GetSlotList(CK_TRUE, slots, &count));
    for (CK_ULONG i = 0; i < count; i++)
        if (f->C_GetTokenInfo(slots[i], &info) == CKR_OK && strlen(label) <= sizeof(info.label) &&
            memcmp(info.label, label, strlen(label)) == 0)
            return slots[i];
    die("there is no token \"%s\"", label);
}

static void log_in(const struct session *s, const char *pin_file)
{
    CK_BYTE pin[PIN_MAX];
    int fd = open(pin_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, pin, sizeof(pin)) : -1;
    if (n <= 0)
        die("cannot read %s", pin_file);
    while (n > 0 && pin[n - 1] == '\n')
        n--;
    check("C_Login", s->f->C_Login(s->handle, CKU_USER, pin, (CK_ULONG)n));
    explicit_bzero(pin, sizeof(pin));
    (void)close(fd);
}

static struct session open_session(const char *module, const char *label, const char *pin_file)
{
    struct session s = {0};
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof(class)};
    CK_ULONG count = 0;
    CK_RV (*get_function_list)(CK_FUNCTION_LIST **) = NULL;
    void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        die("%s", dlerror());
    *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    if (get_function_list == NULL)
        die("%s is no PKCS#11 module", module);
    check("C_GetFunctionList", get_function_list(&s.f));
    check("C_Initialize", s.f->C_Initialize(NULL));
    check("C_OpenSession", s.f->C_OpenSession(find_slot(s.f, label), CKF_SERIAL_SESSION, NULL, NULL, &s.handle));
    log_in(&s, pin_file);
    check("C_FindObjectsInit", s.f->C_FindObjectsInit(s.handle, &wanted, 1));
    check("C_FindObjects", s.f->C_FindObjects(s.handle, &s.key, 1, &count));
    check("C_FindObjectsFinal", s.f->C_FindObjectsFinal(s.handle));
    if (count != 1)
        die("the token has no private key");
    return s;
}

static void sign(const struct session *s)
{
    static CK_BYTE digest[DIGEST_SIZE];
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    CK_BYTE signature[128];
    CK_ULONG len = sizeof(signature);
    digest[0]++;
    check("C_SignInit", s->f->C_SignInit(s->handle, &mechanism, s->key));
    check("C_Sign", s->f->C_Sign(s->handle, digest, sizeof(digest), signature, &len));
}

static void run_session(const struct session *s, struct shared *out)
{
    out->open = true;
    while (out->begin == 0)
        (void)usleep(1000);
    int64_t begin = out->begin, end = out->end, before = samples_now();
    while (before < end && out->count < SAMPLES_MAX) {
        sign(s);
        int64_t after = samples_now();
        if (before >= begin)
            out->nanoseconds[out->count++] = (uint32_t)(after - before);
        before = after;
    }
    (void)s->f->C_Finalize(NULL);
}

/* Starts a session's process, waits until it is open. The module is loaded there: its state would not survive a fork. */
static struct shared *start_session(char **argv)
{
    int status;
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shared == MAP_FAILED)
        die("out of memory");
    pid_t child = fork();
    if (child < 0)
        die("cannot fork");
    if (child == 0) {
        struct session s = open_session(argv[1], argv[2], argv[3]);
        run_session(&s, shared);
        _exit(EXIT_SUCCESS);
    }
    while (!shared->open) {
        if (waitpid(child, &status, WNOHANG) != 0)
            exit(EXIT_FAILURE); /* it has said why */
        (void)usleep(1000);
    }
    return shared;
}

int main(int argc, char **argv)
{
    struct samples samples = {0};
    struct shared *shared[SESSIONS_MAX];
    int status;
    if (argc != 6)
        die("usage: bench-sign MODULE TOKEN-LABEL PIN-FILE SESSIONS SECONDS");
    int count = atoi(argv[4]);
    int64_t duration = (int64_t)(strtod(argv[5], NULL) * 1e9);
    if (count < 1 || count > SESSIONS_MAX || duration <= 0)
        die("1 to %d sessions, for more than 0 seconds", SESSIONS_MAX);
    for (int i = 0; i < count; i++)
        shared[i] = start_session(argv);
    int64_t begin = samples_now() + WARM_UP;
    for (int i = 0; i < count; i++) {
        shared[i]->end = begin + duration;
        shared[i]->begin = begin;
    }
    while (wait(&status) > 0)
        if (status != 0)
            die("a session failed");
    for (int i = 0; i < count; i++)
        for (size_t n = 0; n < shared[i]->count; n++)
            samples_add(&samples, shared[i]->nanoseconds[n]);
    samples_print(&samples, duration);
    samples_free(&samples);
    return EXIT_SUCCESS;
}
