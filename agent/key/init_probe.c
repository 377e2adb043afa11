/* See init_probe.h. */
#include "init_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <p11-kit/p11-kit.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE 4096
#define SLOTS_MAX 64
#define REAP_TRIES 100 /* of a millisecond; a process that the kernel cannot end is left to it */

/* A process that answers into a pipe. An answer counts if it has its end, however the process ended. */
struct child {
    pid_t pid;
    int fd;
    struct buffer answer;
};

typedef void child_main(const void *context, int fd);

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* What a module prints is not for our log, and what programs it may start do not get our channel. */
static void become(child_main *run, const void *context, int fd, pid_t parent)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || null < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(null, STDERR_FILENO) < 0)
        _exit(1);
    if ((fd > 3 && close_range(3, (unsigned int)fd - 1, 0) != 0) || close_range((unsigned int)fd + 1, ~0U, 0) != 0)
        _exit(1);
    (void)signal(SIGPIPE, SIG_DFL);
    run(context, fd);
    _exit(0);
}

static int start(struct child *c, child_main *run, const void *context, size_t answer_max)
{
    int ends[2];
    pid_t parent = getpid();
    *c = (struct child){.fd = -1};
    buffer_init(&c->answer, answer_max + READ_SIZE);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        become(run, context, ends[1], parent);
    }
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return -1;
    }
    c->pid = pid;
    c->fd = ends[0];
    return 0;
}

static void reap(struct child *c)
{
    for (int i = 0; i < REAP_TRIES; i++) {
        pid_t r = waitpid(c->pid, NULL, WNOHANG);
        if (r != 0 && !(r < 0 && errno == EINTR))
            break;
        (void)kill(c->pid, SIGKILL); /* its answer is here, or too late */
        (void)usleep(1000);
    }
    c->pid = 0;
}

static void finish(struct child *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    if (c->pid > 0)
        reap(c);
}

static void take(struct child *c)
{
    uint8_t *room = buffer_room(&c->answer, READ_SIZE);
    ssize_t n = room != NULL ? read(c->fd, room, READ_SIZE) : -1;
    if (n > 0) {
        buffer_added(&c->answer, (size_t)n);
        return;
    }
    if (n < 0 && errno == EINTR)
        return;
    (void)close(c->fd);
    c->fd = -1;
}

static void gather(struct child *children, size_t count)
{
    int64_t deadline = now_ms() + INIT_PROBE_MS, left;
    struct pollfd p[INIT_PROBE_MODULES];
    while ((left = deadline - now_ms()) > 0) {
        size_t open_count = 0;
        for (size_t i = 0; i < count; i++) {
            p[i] = (struct pollfd){.fd = children[i].fd, .events = POLLIN};
            open_count += children[i].fd >= 0 ? 1 : 0;
        }
        if (open_count == 0)
            break;
        if (poll(p, count, (int)left) <= 0)
            continue;
        for (size_t i = 0; i < count; i++)
            if (p[i].fd >= 0 && p[i].revents != 0)
                take(&children[i]);
    }
    for (size_t i = 0; i < count; i++)
        finish(&children[i]);
}

static bool put_all(int fd, const void *data, size_t len)
{
    for (const uint8_t *at = data; len > 0;) {
        ssize_t n = write(fd, at, len);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* The first process: which modules there are. A whole record for each, and an empty one at the end. */
static void list_modules(const void *context, int fd)
{
    struct init_probe_module end = {0};
    (void)context;
    CK_FUNCTION_LIST **all = p11_kit_modules_load(NULL, P11_KIT_MODULE_UNMANAGED);
    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        struct init_probe_module m = {0};
        char *path = p11_kit_module_get_filename(all[i]), *name = p11_kit_module_get_name(all[i]);
        bool fits = name != NULL && strlen(name) < sizeof(m.name) && (path == NULL || strlen(path) < sizeof(m.path));
        if (fits) {
            memcpy(m.name, name, strlen(name));
            memcpy(m.path, path != NULL ? path : "", path != NULL ? strlen(path) : 0);
        }
        free(path);
        free(name);
        if (fits && !put_all(fd, &m, sizeof(m)))
            _exit(1);
    }
    if (!put_all(fd, &end, sizeof(end)))
        _exit(1);
}

static CK_FUNCTION_LIST *load(const struct init_probe_module *m)
{
    if (m->path[0] != '\0')
        return p11_kit_module_load(m->path, P11_KIT_MODULE_UNMANAGED);
    CK_FUNCTION_LIST **all = p11_kit_modules_load(NULL, P11_KIT_MODULE_UNMANAGED);
    return all != NULL ? p11_kit_module_for_name(all, m->name) : NULL;
}

static bool has_mechanism(CK_FUNCTION_LIST *f, CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_FLAGS use)
{
    CK_MECHANISM_INFO info;
    return f->C_GetMechanismInfo(slot, type, &info) == CKR_OK && (info.flags & use) != 0;
}

/* A module's process: its initialised tokens, and a record of a module without a name at the end. No C_Finalize: it may
 * hang. */
static void list_tokens(const void *context, int fd)
{
    const struct init_probe_module *m = context;
    struct init_probe_token end = {0};
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX, found = 0;
    CK_FUNCTION_LIST *f = load(m);
    if (f == NULL || p11_kit_module_initialize(f) != CKR_OK || f->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
        _exit(1);
    for (CK_ULONG i = 0; i < count && found < INIT_PROBE_TOKENS; i++) {
        struct init_probe_token t = {.module = *m};
        if (f->C_GetTokenInfo(slots[i], &t.info) != CKR_OK || !(t.info.flags & CKF_TOKEN_INITIALIZED))
            continue;
        t.makes_keys = has_mechanism(f, slots[i], CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR);
        t.signs = has_mechanism(f, slots[i], CKM_ECDSA, CKF_SIGN);
        found++;
        if (!put_all(fd, &t, sizeof(t)))
            _exit(1);
    }
    if (!put_all(fd, &end, sizeof(end)))
        _exit(1);
}

/* Whole records, up to the empty one: how many; -1: there is no end. */
static int records(const struct child *c, size_t size)
{
    struct span a = buffer_span(&c->answer);
    if (a.len < size || a.len % size != 0)
        return -1;
    return (int)(a.len / size) - 1;
}

static bool is_skipped(const struct init_probe_module *m, const char *const *skipped)
{
    for (; *skipped != NULL; skipped++)
        if (strstr(m->path, *skipped) != NULL || strstr(m->name, *skipped) != NULL)
            return true;
    return false;
}

static int find_modules(const char *const *skipped, struct init_probe_module modules[INIT_PROBE_MODULES])
{
    struct child c;
    struct init_probe_module m;
    int count = 0;
    if (start(&c, list_modules, NULL, 1024 * sizeof(m)) != 0)
        return -1;
    gather(&c, 1);
    int n = records(&c, sizeof(m));
    for (int i = 0; i < n && count < INIT_PROBE_MODULES; i++) {
        memcpy(&m, buffer_span(&c.answer).data + (size_t)i * sizeof(m), sizeof(m));
        if (!is_skipped(&m, skipped))
            modules[count++] = m;
    }
    buffer_free(&c.answer);
    return n < 0 ? -1 : count;
}

static void note_trouble(struct init_probe *p, const char *name)
{
    size_t len = strlen(p->trouble);
    (void)snprintf(p->trouble + len, sizeof(p->trouble) - len, "%s%s", len > 0 ? ", " : "", name);
}

static int add_tokens(struct init_probe *p, const struct child *c, int count)
{
    struct init_probe_token *more = realloc(p->tokens, (p->count + (size_t)count + 1) * sizeof(*more));
    if (more == NULL)
        return -1;
    p->tokens = more;
    if (count > 0)
        memcpy(more + p->count, buffer_span(&c->answer).data, (size_t)count * sizeof(*more));
    p->count += (size_t)count;
    return 0;
}

enum status init_probe_run(const char *const *skipped, struct init_probe *out, struct error *err)
{
    struct init_probe_module modules[INIT_PROBE_MODULES];
    struct child children[INIT_PROBE_MODULES];
    struct init_probe p = {0};
    bool failed = false;
    int count = find_modules(skipped, modules);
    if (count < 0)
        note_trouble(&p, "the list of modules");
    count = count < 0 ? 0 : count;
    for (int i = 0; i < count; i++)
        if (start(&children[i], list_tokens, &modules[i], (INIT_PROBE_TOKENS + 1) * sizeof(struct init_probe_token)) !=
            0)
            children[i].fd = -1;
    gather(children, (size_t)count);
    for (int i = 0; i < count; i++) {
        int n = records(&children[i], sizeof(struct init_probe_token));
        if (n < 0)
            note_trouble(&p, modules[i].name);
        failed = failed || add_tokens(&p, &children[i], n < 0 ? 0 : n) != 0;
        buffer_free(&children[i].answer);
    }
    if (failed) {
        init_probe_free(&p);
        return error_set(err, STATUS_NO_MEMORY, NULL, "out of memory");
    }
    *out = p;
    return STATUS_OK;
}

void init_probe_free(struct init_probe *p)
{
    free(p->tokens);
    *p = (struct init_probe){0};
}
