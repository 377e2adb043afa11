/* See pin_prompt.h. */
#include "pin_prompt.h"

#include "deadline.h"
#include "failure.h"
#include "pin_source.h"
#include "secret_file.h"
#include "terminal.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 120000 /* for a person, unless --timeout says something else */
#define NEXT "type it at a terminal, or use --askpass PROGRAM, --pinentry PROGRAM or a file"

static const char *askpass_of(const struct pin_prompt *p)
{
    const char *program = p->askpass != NULL || p->pinentry != NULL ? p->askpass : getenv("DPOP_ASKPASS");
    return program != NULL && program[0] != '\0' ? program : NULL;
}

bool pin_prompt_possible(const struct pin_prompt *p)
{
    if (p->file != NULL || p->pinentry != NULL || askpass_of(p) != NULL)
        return true;
    int fd = terminal_open();
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

int pin_room_take_line(struct pin_room *room, const char *from, struct dpop_error *err)
{
    size_t len = room->line_len;
    const char *end = memchr(room->line, '\n', len);
    if (end != NULL)
        len = (size_t)(end - room->line);
    if (end != NULL && len > 0 && room->line[len - 1] == '\r')
        len--;
    if (len == 0)
        return failure_set(err, STATUS_SECRET_UNREADABLE, NEXT, "%s gave nothing", from);
    if (len > sizeof(room->secret))
        return failure_set(err, STATUS_INVALID_ARGUMENT, NULL, "%s gave more than %d bytes", from, LIMIT_PIN);
    memcpy(room->secret, room->line, len);
    room->len = len;
    return DPOP_OK;
}

/* A file or pipe goes to the agent as it is, and its secret never comes here. */
static int take_file(struct pin_room *room, const char *path, int *fd, struct dpop_error *err)
{
    struct stat st;
    size_t most = sizeof(room->line);
    int status = secret_file_open(path, fd, &st, err);
    if (status != DPOP_OK || S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode))
        return status;
    for (ssize_t n = 1; n > 0 && room->line_len < most && memchr(room->line, '\n', room->line_len) == NULL;) {
        n = read(*fd, room->line + room->line_len, most - room->line_len);
        room->line_len += n > 0 ? (size_t)n : 0;
    }
    (void)close(*fd);
    *fd = -1;
    return pin_room_take_line(room, path, err);
}

/* The longest secret fits into any pipe. */
static int into_pipe(const struct pin_room *room, int *fd, struct dpop_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return failure_set(err, STATUS_INTERNAL, NULL, "no pipe can be made: %m");
    bool written = write(ends[1], room->secret, room->len) == (ssize_t)room->len;
    (void)close(ends[1]);
    if (!written) {
        (void)close(ends[0]);
        return failure_set(err, STATUS_INTERNAL, NULL, "a pipe cannot be written: %m");
    }
    *fd = ends[0];
    return DPOP_OK;
}

static int ask(struct pin_room *room, const struct pin_prompt *p, const char *description, const char *prompt,
               int64_t deadline, struct dpop_error *err)
{
    char text[800];
    const char *askpass = askpass_of(p);
    if (askpass != NULL) {
        (void)snprintf(text, sizeof(text), "%s\n%s: ", description, prompt);
        return pin_askpass_ask(room, askpass, text, deadline, err);
    }
    if (p->pinentry != NULL)
        return pin_pinentry_ask(room, p->pinentry, description, prompt, deadline, err);
    return pin_terminal_ask(room, description, prompt, deadline, err);
}

int pin_prompt_ask(const struct command *cmd, const struct pin_prompt *p, const char *description, const char *prompt,
                   int *fd, struct dpop_error *err)
{
    char clean[512];
    int64_t deadline = deadline_after(cmd->timeout_ms != 0 ? cmd->timeout_ms : PATIENCE_MS);
    struct pin_room *room = mmap(NULL, sizeof(*room), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return failure_set(err, STATUS_NO_MEMORY, NULL, "no memory for a secret: %m");
    *fd = -1;
    int status = DPOP_OK;
    if (mlock(room, sizeof(*room)) != 0 || madvise(room, sizeof(*room), MADV_DONTDUMP) != 0 ||
        madvise(room, sizeof(*room), MADV_DONTFORK) != 0)
        status = failure_set(err, STATUS_INTERNAL, "allow a page of locked memory (ulimit -l)",
                             "memory for a secret cannot be locked: %m");
    (void)snprintf(clean, sizeof(clean), "%s", description);
    text_clean(clean);
    if (status == DPOP_OK)
        status = p->file != NULL ? take_file(room, p->file, fd, err) : ask(room, p, clean, prompt, deadline, err);
    if (status == DPOP_OK && *fd < 0)
        status = into_pipe(room, fd, err);
    wipe(room, sizeof(*room));
    (void)munmap(room, sizeof(*room));
    if (status != DPOP_OK && *fd >= 0)
        (void)close(*fd);
    return status;
}
