/*
 * dpop trace PROFILE: the profile's session log. The agent masks the secrets; the command makes what servers sent
 * printable. With --follow it goes on until Ctrl-C, across restarts of the agent. JSON: an array, with --follow a line
 * for each entry.
 */
#include "command.h"
#include "deadline.h"
#include "interrupt.h"
#include "messages.h"
#include "report.h"

#include <poll.h>
#include <time.h>

#define WAIT_MS 1000   /* one call while following; Ctrl-C is seen between two */
#define GRACE_MS 10000 /* until the agent must have answered it, or be back after a restart */
#define PAUSE_MS 100

struct options {
    bool follow;
};

static const struct option long_options[] = {
    {"follow", no_argument, NULL, 'f'},
    {NULL, 0, NULL, 0},
};

static const char *take_option(struct command *cmd, int c, char *value)
{
    struct options *o = cmd->options;
    (void)c;
    (void)value;
    o->follow = true;
    return NULL;
}

/* A line at a time: other control characters would let a server write to the terminal. */
static void print_lines(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        (void)putchar((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?' : c);
    }
    if (text.len == 0 || text.data[text.len - 1] != '\n')
        (void)putchar('\n');
}

static void print_entry(const struct trace_entry *e)
{
    char when[32] = "-";
    struct tm tm;
    time_t time = (time_t)e->time;
    if (localtime_r(&time, &tm) != NULL)
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    (void)printf("---- %s\n", when);
    print_lines(e->text);
}

static void put_entry(struct json *j, const struct trace_entry *e)
{
    json_open(j, NULL, '{');
    json_number(j, "sequence", e->sequence);
    json_number(j, "time", e->time);
    json_span(j, "text", e->text);
    json_close(j, '}');
}

/* Shows the entries, and moves *after to the last one. `all` NULL: JSON entries are lines of their own. */
static int show(const struct command *cmd, const struct list *entries, struct json *all, uint64_t *after,
                struct dpop_error *err)
{
    struct span item;
    size_t cursor = 0;
    int status = DPOP_OK;
    while (status == DPOP_OK && list_next(entries, &cursor, &item)) {
        struct trace_entry e;
        struct json line;
        if ((status = command_item(item, &message_trace_entry, &e, sizeof(e), err)) != DPOP_OK)
            return status;
        *after = e.sequence;
        if (!cmd->json) {
            print_entry(&e);
        } else if (all != NULL) {
            put_entry(all, &e);
        } else {
            json_init(&line);
            put_entry(&line, &e);
            if (report_json(&line) != 0)
                return DPOP_CLASS_INTERNAL;
        }
    }
    return fflush(stdout) == 0 ? DPOP_OK : DPOP_CLASS_INTERNAL;
}

static int ask(struct command *cmd, const char *profile, uint64_t after, uint32_t wait_ms, struct trace_answer *answer,
               struct dpop_error *err)
{
    const struct trace_request in = {.profile = span_text(profile), .after = after, .timeout = wait_ms};
    return command_call_within(cmd, wait_ms > 0 ? wait_ms + GRACE_MS : cmd->timeout_ms, OPERATION_TRACE,
                               &message_trace_request, &in, &message_trace_answer, answer, sizeof(*answer), err);
}

static int show_once(struct command *cmd, const char *profile)
{
    struct trace_answer answer;
    struct dpop_error err;
    struct json j;
    uint64_t after = 0;
    int status = ask(cmd, profile, 0, 0, &answer, &err);
    if (status != DPOP_OK)
        return report_error(cmd, &err);
    json_init(&j);
    json_open(&j, NULL, '[');
    status = show(cmd, &answer.entries, &j, &after, &err);
    json_close(&j, ']');
    call_done(cmd->agent);
    if (status == DPOP_OK && cmd->json)
        return report_json(&j);
    json_free(&j);
    return status == DPOP_OK ? report_printed() : report_error(cmd, &err);
}

/* The agent went away. False: it does not come back. */
static bool comes_back(struct command *cmd, struct dpop_error *err)
{
    for (int waited = 0; waited < GRACE_MS && !interrupt_came(); waited += PAUSE_MS) {
        (void)poll(NULL, 0, PAUSE_MS); /* one that is ending may still answer */
        if (command_connect(cmd, err) == DPOP_OK && call_open(cmd->agent, deadline_after(WAIT_MS), err) == DPOP_OK)
            return true;
    }
    return false;
}

static int follow(struct command *cmd, const char *profile)
{
    struct trace_answer answer;
    struct dpop_error err = {.status = DPOP_OK};
    uint64_t after = 0;
    bool began = false;
    int status = DPOP_OK;
    interrupt_catch();
    while (status == DPOP_OK && !interrupt_came()) {
        status = ask(cmd, profile, after, began ? WAIT_MS : 1, &answer, &err);
        if (status == DPOP_OK) {
            began = true;
            status = show(cmd, &answer.entries, NULL, &after, &err);
            call_done(cmd->agent);
            if (status == DPOP_CLASS_INTERNAL)
                return report_printed();
        } else if (status == DPOP_TIMEOUT ||
                   (began && (status == DPOP_AGENT_UNREACHABLE || status == STATUS_RESTARTED) && comes_back(cmd, &err))) {
            status = DPOP_OK;
        }
    }
    return status == DPOP_OK || interrupt_came() ? 0 : report_error(cmd, &err);
}

static int run(struct command *cmd, char **operands, int count)
{
    const struct options *o = cmd->options;
    (void)count;
    return o->follow ? follow(cmd, operands[0]) : show_once(cmd, operands[0]);
}

const struct verb verb_trace = {
    .name = "trace",
    .arguments = "PROFILE",
    .summary = "Show the exchanges with a profile's server, secrets masked",
    .help = "  -f, --follow         go on with what comes, until Ctrl-C\n",
    .short_options = "f",
    .long_options = long_options,
    .min_operands = 1,
    .max_operands = 1,
    .options_size = sizeof(struct options),
    .option = take_option,
    .run = run,
};
