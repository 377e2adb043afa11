/*
 * dpop: the verbs as a table, the options that all of them take, and help.
 *
 * Options may stand before the verb, behind it, and between its words. All of the line is read before the first
 * mistake in it is reported, so that --json is honoured wherever it stands.
 */
#include "command.h"
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MOST_OPTIONS 32
#define LONGEST_TIMEOUT 86400

static const struct verb *const verbs[] = {
    &verb_init,     &verb_status,       &verb_login,        &verb_logout,  &verb_register, &verb_reload,
    &verb_unlock,   &verb_lock,         &verb_key_list,     &verb_key_show, &verb_key_generate, &verb_key_import,
    &verb_key_rotate, &verb_key_delete, &verb_key_csr,      &verb_key_cert, &verb_profile_list, &verb_profile_test,
    &verb_proof,    &verb_token,        &verb_introspect,   &verb_headers, &verb_request,  &verb_trace,
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

enum { OPTION_SOCKET = 0x1000, OPTION_JSON, OPTION_TIMEOUT };

static const struct option global_options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"json", no_argument, NULL, OPTION_JSON},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static const char global_help[] =
    "Options of every command:\n"
    "  --socket PATH      the agent's socket ($DPOP_AGENT_SOCKET; the user's; the system's)\n"
    "  --timeout SECONDS  for each call of the agent (default 30); login: for the user\n"
    "  --json             JSON on standard output, errors included\n"
    "  -h, --help         this help, or a command's\n"
    "  -V, --version      the version\n";

static const char exit_help[] =
    "Exit statuses: 0 success, 1 local or internal error, 2 usage, 3 refused, 4 unavailable, 5 login needed,\n"
    "6 protocol error, 22 the resource server answered with 400 or more (request).\n";

struct line {
    const struct verb *verb; /* NULL: none yet */
    bool help, version;
    char mistake[256]; /* the first one; reported when all of the line has been read */
};

static int print_help(const struct verb *verb)
{
    if (verb != NULL) {
        (void)printf("usage: dpop %s [options]%s%s\n\n%s.\n\n", verb->name, verb->arguments[0] != '\0' ? " " : "",
                     verb->arguments, verb->summary);
        if (verb->help[0] != '\0')
            (void)printf("Options:\n%s\n", verb->help);
    } else {
        (void)printf("usage: dpop [options] COMMAND [options] [arguments]\n\n"
                     "Proofs, tokens and requests with DPoP (RFC 9449), through a running dpop-agent.\n\nCommands:\n");
        for (size_t i = 0; i < VERB_COUNT; i++)
            (void)printf("  %-13s %-21s %s\n", verbs[i]->name, verbs[i]->arguments, verbs[i]->summary);
        (void)printf("\n");
    }
    (void)printf("%s\n%s", global_help, exit_help);
    return report_printed();
}

static void mistake(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void mistake(struct line *line, const char *format, ...)
{
    va_list args;
    if (line->mistake[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(line->mistake, sizeof(line->mistake), format, args);
    va_end(args);
}

static bool take_global(struct command *cmd, struct line *line, int c)
{
    uint32_t seconds;
    switch (c) {
    case OPTION_SOCKET:
        cmd->socket = optarg;
        return true;
    case OPTION_JSON:
        cmd->json = true;
        return true;
    case OPTION_TIMEOUT:
        if (command_seconds(optarg, LONGEST_TIMEOUT, &seconds) == 0)
            cmd->timeout_ms = seconds * 1000;
        else
            mistake(line, "--timeout takes 1 to 86400 seconds, not \"%s\"", optarg);
        return true;
    case 'h':
        line->help = true;
        return true;
    case 'V':
        line->version = true;
        return true;
    default:
        return false;
    }
}

/* What getopt did not like: the option as it was written. */
static void bad_option(struct line *line, char **argv, int c)
{
    char letter[3] = {'-', (char)optopt, '\0'};
    const char *word = argv[optind > 0 ? optind - 1 : 0];
    if (strncmp(word, "--", 2) != 0 && optopt > ' ' && optopt < 0x7f)
        word = letter;
    mistake(line, "option %s %s", word, c == ':' ? "needs a value" : "is unknown, unclear, or takes no value");
}

/* An option of the verb that is a text: into its struct. */
static bool take_text(struct command *cmd, const struct verb *verb, int c)
{
    for (const struct text_option *t = verb->texts; t != NULL && t->c != 0; t++)
        if (t->c == c) {
            *(const char **)((char *)cmd->options + t->offset) = optarg;
            return true;
        }
    return false;
}

static void combine(struct option *out, const struct option *own)
{
    for (; own != NULL && own->name != NULL; own++)
        *out++ = *own;
    memcpy(out, global_options, sizeof(global_options));
}

/* Reads options; with `stop` up to the first word that is none, otherwise all. Returns the index of the first
 * operand. */
static int read_options(struct command *cmd, struct line *line, int argc, char **argv, bool stop)
{
    struct option options[MOST_OPTIONS];
    char shorts[64];
    const struct verb *verb = line->verb;
    const char *wrong;
    combine(options, verb != NULL ? verb->long_options : NULL);
    (void)snprintf(shorts, sizeof(shorts), "%s:hV%s", stop ? "+" : "", verb != NULL ? verb->short_options : "");
    optind = 0; /* glibc: begin anew */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, options, NULL)) != -1;) {
        if (c == '?' || c == ':')
            bad_option(line, argv, c);
        else if (!take_global(cmd, line, c) && !take_text(cmd, verb, c) &&
                 (wrong = verb->option(cmd, c, optarg)) != NULL)
            mistake(line, "%s", wrong);
    }
    return optind;
}

/* The verb of one or two words. */
static const struct verb *find_verb(const char *one, const char *two)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%s%s%s", one, two != NULL ? " " : "", two != NULL ? two : "");
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static bool begins_verb(const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strncmp(verbs[i]->name, word, len) == 0 && verbs[i]->name[len] == ' ')
            return true;
    return false;
}

/* There is no such verb: says which ones begin with its first word. */
static void no_such_verb(struct line *line, const char *one, const char *two)
{
    char others[160] = "";
    for (size_t i = 0; begins_verb(one) && i < VERB_COUNT; i++)
        if (strncmp(verbs[i]->name, one, strlen(one)) == 0 && verbs[i]->name[strlen(one)] == ' ') {
            size_t len = strlen(others);
            (void)snprintf(others + len, sizeof(others) - len, "%s%s", len > 0 ? ", " : "; there are: ",
                           verbs[i]->name);
        }
    mistake(line, "there is no command \"%.40s%s%.40s\"%s", one, two != NULL ? " " : "", two != NULL ? two : "",
            others);
}

/* Reads up to the verb's last word. Returns the number of words of the line that are used up. */
static int read_verb(struct command *cmd, struct line *line, int argc, char **argv)
{
    int used = read_options(cmd, line, argc, argv, true);
    if (used >= argc)
        return used;
    const char *word = argv[used], *second = NULL;
    if (begins_verb(word)) {
        used += read_options(cmd, line, argc - used, argv + used, true);
        if (used < argc)
            line->verb = find_verb(word, second = argv[used]);
    } else {
        line->verb = find_verb(word, NULL);
    }
    if (line->verb == NULL)
        no_such_verb(line, word, second);
    return used;
}

static int run_verb(struct command *cmd, struct line *line, int count, char **operands)
{
    const struct verb *verb = line->verb;
    if (verb == NULL)
        return report_usage(cmd, "a command is missing");
    if (count < verb->min_operands || count > verb->max_operands)
        return report_usage(cmd, "usage: dpop %s [options] %s", verb->name, verb->arguments);
    return verb->run(cmd, operands, count);
}

static int run_line(struct command *cmd, struct line *line, int argc, char **argv)
{
    int used = read_verb(cmd, line, argc, argv);
    const struct verb *verb = line->verb;
    if (verb != NULL && verb->options_size > 0 && (cmd->options = calloc(1, verb->options_size)) == NULL)
        return report_local(cmd, NULL, "out of memory");
    if (used < argc)
        used += read_options(cmd, line, argc - used, argv + used, false);
    if (line->help)
        return print_help(verb);
    if (line->version) {
        (void)printf("dpop %s\n", dpop_version());
        return report_printed();
    }
    if (line->mistake[0] != '\0')
        return report_usage(cmd, "%s", line->mistake);
    return run_verb(cmd, line, argc - used, argv + used);
}

int main(int argc, char **argv)
{
    struct command cmd = {.socket = NULL};
    struct line line = {.verb = NULL};
    const struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core); /* it handles tokens */
    int status = run_line(&cmd, &line, argc, argv);
    if (line.verb != NULL && line.verb->clear != NULL && cmd.options != NULL)
        line.verb->clear(cmd.options);
    free(cmd.options);
    dpop_agent_close(&cmd.agent);
    return status;
}
