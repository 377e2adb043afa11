/* See spawn.h. */
#include "spawn.h"

#include "channel.h"
#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SELF "/proc/self/exe"
#define FIRST_FREE_FD 16 /* descriptors are first moved above the fixed numbers, so that no dup2 overwrites another */
#define ENVIRONMENT_MAX 16

static const struct {
    enum role role;
    const char *name;
} role_names[] = {{ROLE_FRONT, "front"}, {ROLE_KEY, "key"},   {ROLE_NET, "net"}, {ROLE_NET_TLS, "net-tls"},
                  {ROLE_STORE, "store"}, {ROLE_INIT, "init"}};

const char *spawn_role_name(enum role role)
{
    for (size_t i = 0; i < sizeof(role_names) / sizeof(role_names[0]); i++)
        if (role_names[i].role == role)
            return role_names[i].name;
    return "supervisor";
}

/* What a child may see of our environment: where the log goes, systemd's credentials, and for modules the home folder. */
static void child_environment(enum role role, char *started, char *out[ENVIRONMENT_MAX + 1])
{
    static const struct {
        const char *prefix;
        unsigned int roles;
    } passed[] = {
        {"JOURNAL_STREAM=", ~0U},
        {"CREDENTIALS_DIRECTORY=", ROLE_KEY | ROLE_NET | ROLE_NET_TLS},
        {"HOME=", ROLE_KEY | ROLE_NET_TLS | ROLE_INIT},
#ifdef __SANITIZE_ADDRESS__
        {"ASAN_OPTIONS=", ~0U},
        {"UBSAN_OPTIONS=", ~0U},
        {"LSAN_OPTIONS=", ~0U},
#endif
    };
    size_t n = 0;
    for (char **variable = environ; *variable != NULL; variable++)
        for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
            if (n < ENVIRONMENT_MAX && (passed[i].roles & (unsigned int)role) &&
                strncmp(*variable, passed[i].prefix, strlen(passed[i].prefix)) == 0)
                out[n++] = *variable;
    if (role == ROLE_FRONT && n < ENVIRONMENT_MAX)
        out[n++] = started;
    out[n] = NULL;
}

static int configuration_memfd(struct span text)
{
    int fd = memfd_create("configuration", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.data + done, text.len - done);
        if (n < 0) {
            (void)close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int place(int fd, int number)
{
    return dup2(fd, number) == number ? 0 : -1; /* dup2 clears close-on-exec */
}

/* In the child: only what exec needs. Returns only on failure. */
static void become(const struct spawn *s, int config_fd, pid_t parent)
{
    char *environment[ENVIRONMENT_MAX + 1], started[sizeof(STARTED_VARIABLE) + 24];
    char *argv[] = {(char *)(uintptr_t)"dpop-agent", (char *)(uintptr_t)"--role", (char *)(uintptr_t)spawn_role_name(s->role),
                    (char *)(uintptr_t)s->name, NULL};
    sigset_t none;

    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int channel = fcntl(s->channel_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    int config = fcntl(config_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    int listening = s->listen_fd >= 0 ? fcntl(s->listen_fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD) : -1;
    if (null < 0 || channel < 0 || config < 0 || (s->listen_fd >= 0 && listening < 0))
        return;
    if (place(null, STDIN_FILENO) != 0 || place(null, STDOUT_FILENO) != 0 || place(channel, CHANNEL_FD) != 0 ||
        place(config, CONFIG_FD) != 0 || (listening >= 0 && place(listening, LISTEN_FD) != 0))
        return;
    if (close_range(listening >= 0 ? LISTEN_FD + 1 : LISTEN_FD, ~0U, 0) != 0)
        return;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        return;
    (void)snprintf(started, sizeof(started), STARTED_VARIABLE "=%" PRIu64, s->started);
    child_environment(s->role, started, environment);
    (void)execve(SELF, argv, environment);
}

enum status spawn_child(const struct spawn *s, pid_t *pid, struct error *err)
{
    pid_t parent = getpid();
    int config_fd = configuration_memfd(s->configuration);
    if (config_fd < 0)
        return error_set(err, STATUS_INTERNAL, NULL, "cannot pass the configuration on: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        become(s, config_fd, parent);
        _exit(127);
    }
    int saved = errno;
    (void)close(config_fd);
    if (child < 0)
        return error_set(err, STATUS_INTERNAL, NULL, "cannot start a process: %s", strerror(saved));
    *pid = child;
    return STATUS_OK;
}
