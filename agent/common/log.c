/* See log.h. */
#include "log.h"

#include "text.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

static const struct {
    const char *name;
    const char *journal; /* sd-daemon(3) priority prefix */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "<3>"},
    [LOG_LEVEL_WARNING] = {"warning", "<4>"},
    [LOG_LEVEL_INFO] = {"info", "<6>"},
    [LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

/* What every line of this process begins with and which lines it writes: set once, before anything else runs. */
static struct {
    char role[96];
    enum log_level level;
    bool journal;
} log_state = {.role = "?", .level = LOG_LEVEL_INFO};

void log_open(const char *role, enum log_level level)
{
    error_put_text(log_state.role, sizeof(log_state.role), span_text(role));
    log_state.level = level;
    log_state.journal = getenv("JOURNAL_STREAM") != NULL;
}

__attribute__((format(printf, 2, 0))) static void write_line(enum log_level level, const char *format, va_list args)
{
    char text[LOG_LINE_MAX - 256];
    char line[LOG_LINE_MAX];
    if (level > log_state.level)
        return;
    (void)vsnprintf(text, sizeof(text), format, args);
    text_clean(text);
    int n = log_state.journal
                ? snprintf(line, sizeof(line), "%s%s: %s\n", levels[level].journal, log_state.role, text)
                : snprintf(line, sizeof(line), "dpop-agent %s: %s: %s\n", log_state.role, levels[level].name, text);
    /* Nobody waits for the log's reader: where it is full, or gone, the line is lost and the agent works on. */
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (n > 0 && poll(&log, 1, 0) == 1 && (log.revents & POLLOUT) && write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}

#define DEFINE(function, level)                 \
    void function(const char *format, ...)      \
    {                                           \
        va_list args;                           \
        va_start(args, format);                 \
        write_line(level, format, args);        \
        va_end(args);                           \
    }
DEFINE(log_error, LOG_LEVEL_ERROR)
DEFINE(log_warning, LOG_LEVEL_WARNING)
DEFINE(log_info, LOG_LEVEL_INFO)
DEFINE(log_debug, LOG_LEVEL_DEBUG)

int log_level_from_text(struct span text, enum log_level *out)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (span_is(text, levels[i].name)) {
            *out = (enum log_level)i;
            return 0;
        }
    return -1;
}

const char *log_level_text(enum log_level level)
{
    return levels[level].name;
}
