/* See browser.h. */
#include "browser.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

bool browser_likely(void)
{
    return set("BROWSER") || set("DISPLAY") || set("WAYLAND_DISPLAY");
}

/* In the grandchild: nothing of ours but the environment. errno goes into `report` if there is no such program. */
static _Noreturn void become_browser(const char *program, const char *url, int report)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), error;
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        (void)dup2(null, fd);
    (void)setsid();
    (void)execlp(program, program, url, (char *)NULL);
    error = errno;
    _exit(write(report, &error, sizeof(error)) == sizeof(error) ? 127 : 126);
}

/* errno of the exec, or 0: it is running. */
static int start(const char *program, const char *url)
{
    int ends[2], error = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    pid_t child = fork();
    if (child == 0) {
        pid_t browser = fork(); /* a grandchild: whoever ends first, nobody has to wait for it */
        if (browser == 0)
            become_browser(program, url, ends[1]);
        _exit(browser > 0 ? 0 : 1);
    }
    if (child < 0)
        error = errno;
    (void)close(ends[1]);
    if (child > 0) {
        (void)waitpid(child, NULL, 0);
        if (read(ends[0], &error, sizeof(error)) != sizeof(error))
            error = 0;
    }
    (void)close(ends[0]);
    return error;
}

const char *browser_open(const char *url)
{
    const char *program = set("BROWSER") ? getenv("BROWSER") : "xdg-open";
    if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
        return "the URL is neither https nor http";
    int error = start(program, url);
    return error == 0 ? NULL : strerror(error);
}
