/*
 * A secret from a program that asks a person: an askpass program, which prints it, or a pinentry program, with which we
 * speak Assuan (a line each way; GnuPG's manual, "The Assuan Protocol"). Either is ended when it takes too long.
 */
#include "pin_source.h"

#include "deadline.h"
#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEXT "try the program by hand, or use another one"
#define PAUSE_MS 20
#define GRACE_MS 500
#define CANCELLED 99 /* GPG_ERR_CANCELED, in the low 16 bits */

struct program {
    const char *name;
    pid_t pid;
    int in, out; /* our ends of its standard input (-1: none) and output */
    int64_t deadline;
};

static int spawn(struct program *p, const char *argument, const int *in, const int *out)
{
    char *argv[] = {(char *)(uintptr_t)p->name, (char *)(uintptr_t)argument, NULL};
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    if (in != NULL)
        error = posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    else
        error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    if (error == 0)
        error = posix_spawnp(&p->pid, p->name, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int start(struct program *p, const char *argument, bool talks, struct dpop_error *err)
{
    int in[2] = {-1, -1}, out[2];
    if (pipe2(out, O_CLOEXEC) != 0)
        return failure_set(err, STATUS_INTERNAL, NULL, "no pipe can be made: %m");
    int error = talks && pipe2(in, O_CLOEXEC) != 0 ? errno : spawn(p, argument, talks ? in : NULL, out);
    (void)close(out[1]);
    if (in[0] >= 0)
        (void)close(in[0]);
    p->in = in[1];
    p->out = out[0];
    if (error == 0)
        return DPOP_OK;
    if (p->in >= 0)
        (void)close(p->in);
    (void)close(p->out);
    return failure_set(err, STATUS_SECRET_UNREADABLE, "name a program that can be run", "%s cannot be run: %s", p->name,
                       strerror(error));
}

/* Waits for its end until the deadline: its status, or -1. */
static int reap(pid_t pid, int64_t deadline)
{
    int status;
    for (;;) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            return status;
        if ((ended < 0 && errno != EINTR) || deadline_left(deadline) == 0)
            return -1;
        (void)poll(NULL, 0, PAUSE_MS);
    }
}

static void end(pid_t pid)
{
    (void)kill(pid, SIGTERM);
    if (reap(pid, deadline_after(GRACE_MS)) >= 0)
        return;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static int too_slow(const struct program *p, struct dpop_error *err)
{
    return failure_set(err, STATUS_TIMEOUT, "allow more time (--timeout SECONDS), or use another program",
                       "%s gave no answer in time", p->name);
}

/* More bytes behind those of room->line: their number, 0 at the end, -1: failed. */
static ssize_t read_more(const struct program *p, struct pin_room *room, struct dpop_error *err)
{
    struct pollfd wait = {.fd = p->out, .events = POLLIN};
    if (room->line_len == sizeof(room->line)) {
        (void)failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "%s says too much", p->name);
        return -1;
    }
    for (;;) {
        int ready = poll(&wait, 1, deadline_left(p->deadline));
        if (ready == 0) {
            (void)too_slow(p, err);
            return -1;
        }
        ssize_t n = ready > 0 ? read(p->out, room->line + room->line_len, sizeof(room->line) - room->line_len) : -1;
        if (n >= 0) {
            room->line_len += (size_t)n;
            return n;
        }
        if (errno != EINTR) {
            (void)failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "%s cannot be heard: %m", p->name);
            return -1;
        }
    }
}

int pin_askpass_ask(struct pin_room *room, const char *program, const char *text, int64_t deadline,
                    struct dpop_error *err)
{
    struct program p = {.name = program, .deadline = deadline};
    ssize_t n;
    int status = start(&p, text, false, err);
    if (status != DPOP_OK)
        return status;
    while ((n = read_more(&p, room, err)) > 0)
        ;
    (void)close(p.out);
    int ended = n == 0 ? reap(p.pid, deadline) : -1;
    if (ended < 0) {
        end(p.pid);
        return n == 0 ? too_slow(&p, err) : err->status;
    }
    if (!WIFEXITED(ended))
        return failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "%s was ended by signal %d", program, WTERMSIG(ended));
    if (WEXITSTATUS(ended) != 0)
        return failure_set(err, STATUS_SECRET_UNREADABLE, "cancelled? try again, or look at what the program said",
                           "%s ended with exit status %d", program, WEXITSTATUS(ended));
    return pin_room_take_line(room, program, err);
}

/* --- Assuan --- */

static int hex_digit(char c)
{
    const char *at = c != '\0' ? strchr("0123456789ABCDEF", c >= 'a' && c <= 'f' ? c - 'a' + 'A' : c) : NULL;
    return at != NULL ? (int)(at - "0123456789ABCDEF") : -1;
}

/* The text behind "D ", appended to the secret; -1: it does not fit. */
static int take_data(struct pin_room *room, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        int high = c == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low >= 0) {
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (room->len == sizeof(room->secret))
            return -1;
        room->secret[room->len++] = c;
    }
    return 0;
}

/* What one line of the program means. */
enum reply { REPLY_OK, REPLY_ERROR, REPLY_DATA, REPLY_OTHER };

static enum reply take_reply(struct pin_room *room, size_t len, unsigned long *code)
{
    const char *line = room->line;
    if (len >= 2 && memcmp(line, "OK", 2) == 0)
        return REPLY_OK;
    if (len >= 3 && memcmp(line, "ERR", 3) == 0) {
        *code = strtoul(line + 3, NULL, 10);
        return REPLY_ERROR;
    }
    if (len >= 2 && memcmp(line, "D ", 2) == 0)
        return take_data(room, line + 2, len - 2) == 0 ? REPLY_DATA : REPLY_ERROR;
    return REPLY_OTHER; /* S and # lines, and what a later version says */
}

static void drop_line(struct pin_room *room, size_t len)
{
    room->line_len -= len;
    memmove(room->line, room->line + len, room->line_len);
}

/* Reads up to the answer. A status; with `lenient` an error is an answer, too. */
static int await_reply(const struct program *p, struct pin_room *room, bool lenient, struct dpop_error *err)
{
    for (;;) {
        unsigned long code = 0;
        const char *end_of_line = memchr(room->line, '\n', room->line_len);
        if (end_of_line == NULL) {
            ssize_t n = read_more(p, room, err);
            if (n < 0)
                return err->status;
            if (n == 0)
                return failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "%s ended without an answer", p->name);
            continue;
        }
        size_t len = (size_t)(end_of_line - room->line);
        enum reply reply = take_reply(room, len, &code);
        drop_line(room, len + 1);
        if (reply == REPLY_OK || (reply == REPLY_ERROR && lenient))
            return DPOP_OK;
        if (reply == REPLY_ERROR && (code & 0xffff) == CANCELLED)
            return failure_set(err, STATUS_SECRET_UNREADABLE, NULL, "%s was cancelled", p->name);
        if (reply == REPLY_ERROR && code == 0)
            return failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s gave more than %d bytes", p->name, LIMIT_PIN);
        if (reply == REPLY_ERROR)
            return failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "%s failed with error %lu", p->name, code);
    }
}

/* A command with its text, percent-encoded where Assuan wants that. */
static int say(const struct program *p, struct pin_room *room, const char *command, const char *text, bool lenient,
               struct dpop_error *err)
{
    char line[1000]; /* Assuan's longest */
    size_t len = (size_t)snprintf(line, sizeof(line), "%s%s", command, text[0] != '\0' ? " " : "");
    for (const char *c = text; *c != '\0' && len < sizeof(line) - 5; c++) {
        if (*c == '%' || *c == '\n' || *c == '\r')
            len += (size_t)snprintf(line + len, sizeof(line) - len, "%%%02X", (unsigned char)*c);
        else
            line[len++] = *c;
    }
    line[len++] = '\n';
    if (write(p->in, line, len) != (ssize_t)len)
        return failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "%s does not listen: %m", p->name);
    return await_reply(p, room, lenient, err);
}

static int converse(const struct program *p, struct pin_room *room, const char *description, const char *prompt,
                    struct dpop_error *err)
{
    char tty[128], text[160];
    int status = await_reply(p, room, false, err);
    if (status == DPOP_OK && (ttyname_r(STDERR_FILENO, tty, sizeof(tty)) == 0 ||
                              ttyname_r(STDIN_FILENO, tty, sizeof(tty)) == 0)) {
        (void)snprintf(text, sizeof(text), "ttyname=%s", tty);
        status = say(p, room, "OPTION", text, true, err);
        if (status == DPOP_OK && getenv("TERM") != NULL) {
            (void)snprintf(text, sizeof(text), "ttytype=%s", getenv("TERM"));
            status = say(p, room, "OPTION", text, true, err);
        }
    }
    if (status == DPOP_OK)
        status = say(p, room, "SETDESC", description, false, err);
    (void)snprintf(text, sizeof(text), "%s:", prompt);
    if (status == DPOP_OK)
        status = say(p, room, "SETPROMPT", text, false, err);
    room->len = 0;
    if (status == DPOP_OK)
        status = say(p, room, "GETPIN", "", false, err);
    if (status == DPOP_OK && room->len == 0)
        status = failure_set(err, STATUS_SECRET_UNREADABLE, "try again", "%s gave nothing", p->name);
    return status;
}

int pin_pinentry_ask(struct pin_room *room, const char *program, const char *description, const char *prompt,
                     int64_t deadline, struct dpop_error *err)
{
    struct program p = {.name = program, .deadline = deadline};
    int status = start(&p, NULL, true, err);
    if (status != DPOP_OK)
        return status;
    void (*before)(int) = signal(SIGPIPE, SIG_IGN); /* it may end at any time */
    status = converse(&p, room, description, prompt, err);
    if (status == DPOP_OK)
        (void)!write(p.in, "BYE\n", 4);
    (void)close(p.in);
    (void)close(p.out);
    (void)signal(SIGPIPE, before);
    if (status != DPOP_OK || reap(p.pid, deadline_after(GRACE_MS)) < 0)
        end(p.pid);
    return status;
}
