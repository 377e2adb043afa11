/* See shim_commands.h. */
#include "shim_commands.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS_MAX 64
#define LINE_MAX_LENGTH 256
#define SETTLED 50000000 /* nanoseconds after which a file's time of change tells it from a later one */

static struct command commands[COMMANDS_MAX];
static size_t command_count;
static struct stat seen; /* the file that they are from; all zero: none */
static bool settled;

static bool first_of_all(const char *function)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s.%s.once", getenv("SHIM_CONTROL"), function);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    (void)close(fd);
    return true;
}

/* One line of the control file; false: there is no command in it. */
static bool parse(char *line, struct command *out)
{
    char *rest = NULL, *function = strtok_r(line, " \n", &rest), *what = strtok_r(NULL, " \n", &rest), *word;
    *out = (struct command){.once = false};
    if (function == NULL || what == NULL)
        return false;
    (void)snprintf(out->function, sizeof(out->function), "%s", function);
    (void)snprintf(out->what, sizeof(out->what), "%s", what);
    while ((word = strtok_r(NULL, " \n", &rest)) != NULL) {
        unsigned long *number = strcmp(word, "after") == 0   ? &out->after
                                : strcmp(word, "nth") == 0   ? &out->nth
                                : strcmp(word, "every") == 0 ? &out->every
                                                             : NULL;
        if (strcmp(word, "once") == 0)
            out->once = true;
        else if (strcmp(word, "fresh") == 0)
            out->fresh = true;
        else if (number == NULL)
            out->value = strtoul(word, NULL, 0);
        else if ((word = strtok_r(NULL, " \n", &rest)) != NULL)
            *number = strtoul(word, NULL, 0);
    }
    return true;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool is_settled(const struct stat *st)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (now.tv_sec - st->st_mtim.tv_sec) * 1000000000LL + now.tv_nsec - st->st_mtim.tv_nsec > SETTLED;
}

/* Reads the file, unless it is the one that was read: then a call costs a stat, which 100,000 signatures can bear. */
static void refresh(void)
{
    const char *path = getenv("SHIM_CONTROL");
    struct stat st = {0};
    char line[LINE_MAX_LENGTH];
    if (path == NULL || stat(path, &st) != 0) {
        command_count = 0;
        seen = (struct stat){0};
        return;
    }
    if (settled && same(&st, &seen))
        return;
    FILE *file = fopen(path, "re");
    command_count = 0;
    while (file != NULL && command_count < COMMANDS_MAX && fgets(line, sizeof(line), file) != NULL)
        if (parse(line, &commands[command_count]))
            command_count++;
    if (file != NULL)
        (void)fclose(file);
    seen = st;
    settled = is_settled(&st);
}

static bool about(const struct command *c, const char *function)
{
    return strcmp(c->function, function) == 0 || strcmp(c->function, "*") == 0;
}

static bool meets(const struct command *c, const char *function, unsigned long number, bool fresh)
{
    return about(c, function) && number > c->after && (c->nth == 0 || number == c->nth) &&
           (c->every == 0 || number % c->every == 0) && (!c->fresh || fresh) && (!c->once || first_of_all(function));
}

struct call commands_begin(const char *function, unsigned long number, bool fresh)
{
    struct call call = {.function = function};
    refresh();
    for (size_t i = 0; i < command_count && call.count < CALL_MAX_COMMANDS; i++)
        if (meets(&commands[i], function, number, fresh))
            call.met[call.count++] = commands[i]; /* a copy: a stall reads the file again */
    return call;
}

const struct command *commands_met(const struct call *c, const char *what)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->met[i].what, what) == 0)
            return &c->met[i];
    return NULL;
}

unsigned long commands_value(const char *function, const char *what)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].function, function) == 0 && strcmp(commands[i].what, what) == 0)
            return commands[i].value;
    return 0;
}

bool commands_still(const char *function, const char *what)
{
    refresh();
    for (size_t i = 0; i < command_count; i++)
        if (about(&commands[i], function) && strcmp(commands[i].what, what) == 0)
            return true;
    return false;
}

static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    if (list != NULL && strcmp(list, "*") == 0)
        return true;
    for (const char *at = list; at != NULL && (at = strstr(at, name)) != NULL; at += len)
        if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
            return true;
    return false;
}

void commands_write_down(const struct call *c, CK_RV rv)
{
    const char *path = getenv("SHIM_LOG"), *list = getenv("SHIM_LOG_CALLS");
    char line[LINE_MAX_LENGTH];
    if (path == NULL || !(listed(list, c->function) || (c->count > 0 && listed(list, "obeyed"))))
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    size_t n = (size_t)snprintf(line, sizeof(line), "%ld %s 0x%lx", (long)getpid(), c->function, (unsigned long)rv);
    for (size_t i = 0; i < c->count && n < sizeof(line) - sizeof(c->met[i].what) - 2; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, " %s", c->met[i].what);
    line[n++] = '\n';
    if (fd >= 0 && write(fd, line, n) != (ssize_t)n)
        (void)fprintf(stderr, "shim: the log is incomplete\n");
    if (fd >= 0)
        (void)close(fd);
}
