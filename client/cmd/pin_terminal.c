/*
 * A secret typed at the terminal, without echo. A signal that ends or stops the command gives the terminal back first;
 * after a stop the prompt is shown again.
 */
#include "pin_source.h"

#include "deadline.h"
#include "failure.h"
#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define NEXT "use --askpass PROGRAM, --pinentry PROGRAM or a file"

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
#define SIGNAL_COUNT (sizeof(signals) / sizeof(signals[0]))

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

/* A line is there: 1; the deadline: 0; a signal: -1. The signals come only while it waits. */
static int await_line(int fd, int64_t deadline, const sigset_t *open)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        int left = deadline_left(deadline);
        const struct timespec wait = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000L};
        int ready = ppoll(&p, 1, &wait, open);
        if (ready > 0)
            return 1;
        if (caught != 0)
            return -1;
        if (ready == 0)
            return 0;
    }
}

/* One prompt: as await_line; room->line is filled if it is 1. */
static int prompt_once(int fd, struct pin_room *room, const char *text, int64_t deadline, const sigset_t *open)
{
    struct termios before, silent;
    if (tcgetattr(fd, &before) != 0)
        return 0;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    silent.c_lflag |= ICANON | ISIG | ECHONL;
    (void)tcsetattr(fd, TCSAFLUSH, &silent);
    (void)dprintf(fd, "%s", text);
    int result = await_line(fd, deadline, open);
    ssize_t n = result > 0 ? read(fd, room->line, sizeof(room->line)) : 0;
    room->line_len = n > 0 ? (size_t)n : 0;
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    if (result <= 0)
        (void)dprintf(fd, "\n");
    return result;
}

static int prompt(int fd, struct pin_room *room, const char *text, int64_t deadline)
{
    struct sigaction old[SIGNAL_COUNT], ours = {.sa_handler = on_signal};
    sigset_t block, open;
    int result;
    (void)sigemptyset(&ours.sa_mask);
    (void)sigemptyset(&block);
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        (void)sigaddset(&block, signals[i]);
    do {
        caught = 0;
        (void)sigprocmask(SIG_BLOCK, &block, &open);
        for (size_t i = 0; i < SIGNAL_COUNT; i++)
            (void)sigaction(signals[i], &ours, &old[i]);
        result = prompt_once(fd, room, text, deadline, &open);
        for (size_t i = 0; i < SIGNAL_COUNT; i++)
            (void)sigaction(signals[i], &old[i], NULL);
        (void)sigprocmask(SIG_SETMASK, &open, NULL);
        if (caught != 0)
            (void)raise(caught);
    } while (result < 0 && caught == SIGTSTP);
    return result;
}

int pin_terminal_ask(struct pin_room *room, const char *description, const char *what, int64_t deadline,
                     struct dpop_error *err)
{
    char text[800];
    int fd = terminal_open();
    if (fd < 0)
        return failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "there is no terminal to ask for the %s", what);
    (void)snprintf(text, sizeof(text), "%s\n%s: ", description, what);
    int result = prompt(fd, room, text, deadline);
    (void)close(fd);
    if (result == 0)
        return failure_set(err, STATUS_TIMEOUT, "allow more time: --timeout SECONDS", "no %s was typed in time", what);
    if (result < 0)
        return failure_set(err, STATUS_SECRET_UNREADABLE, NULL, "the prompt for the %s was cancelled", what);
    return pin_room_take_line(room, "the terminal", err);
}
