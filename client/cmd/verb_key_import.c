/*
 * dpop key import NAME FILE: a key that was made outside, into the token of one that there is. The file is opened here
 * and read by the key process alone; its password likewise, once the agent says that one is needed.
 */
#include "deadline.h"
#include "failure.h"
#include "key_change.h"
#include "pin_prompt.h"
#include "report.h"
#include "secret_file.h"

#include <sys/stat.h>
#include <unistd.h>

struct options {
    const char *like;
    struct pin_prompt password;
};

static const struct option long_options[] = {
    {"like", required_argument, NULL, 'l'},
    PIN_PROMPT_LONG_OPTIONS("password-file"),
    {NULL, 0, NULL, 0},
};

static const struct text_option texts[] = {
    {'l', offsetof(struct options, like)},
    PIN_PROMPT_TEXT_OPTIONS(offsetof(struct options, password)),
    {0, 0},
};

static int open_file(const char *path, int *fd, struct dpop_error *err)
{
    struct stat st;
    int status = secret_file_open(path, fd, &st, err);
    if (status != DPOP_OK)
        return status;
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return failure_set(err, STATUS_INVALID_ARGUMENT, "name a file", "%s is neither a file nor a pipe", path);
    if (S_ISREG(st.st_mode) && st.st_size > LIMIT_KEY_FILE)
        return failure_set(err, STATUS_INVALID_ARGUMENT, "name the file of a key", "%s has more than %d bytes", path,
                           LIMIT_KEY_FILE);
    return DPOP_OK;
}

static int ask(struct command *cmd, const char *name, int file, int password, struct key_made_answer *answer,
               struct dpop_error *err)
{
    const struct options *o = cmd->options;
    const struct key_import_request in = {
        .name = span_text(name),
        .like = span_text(o->like),
        .password = password >= 0,
        .timeout = command_timeout(cmd),
    };
    int status = command_connect(cmd, err);
    if (status != DPOP_OK)
        return status;
    return call_perform(cmd->agent,
                        &(struct call){.operation = OPERATION_KEY_IMPORT,
                                       .request = &message_key_import_request,
                                       .in = &in,
                                       .answer = &message_key_made_answer,
                                       .out = answer,
                                       .out_size = sizeof(*answer),
                                       .deadline = deadline_after(cmd->timeout_ms),
                                       .descriptors = {file, password},
                                       .descriptor_count = password >= 0 ? 2 : 1},
                        err);
}

/* First without a password, unless one is given: the agent says whether it needs one. */
static int import(struct command *cmd, const char *name, const char *path, int file, int *password,
                  struct key_made_answer *answer, struct dpop_error *err)
{
    const struct options *o = cmd->options;
    char description[512];
    struct stat st;
    if (o->password.file == NULL) {
        int status = ask(cmd, name, file, -1, answer, err);
        if (status != STATUS_SECRET_UNREADABLE || !pin_prompt_possible(&o->password))
            return status;
        if (fstat(file, &st) == 0 && !S_ISREG(st.st_mode))
            return failure_set(err, STATUS_SECRET_UNREADABLE, "use --password-file, or a file instead of a pipe",
                               "%s needs a password, and a pipe cannot be read twice", path);
    }
    (void)snprintf(description, sizeof(description), "%s is encrypted.", path);
    int status = pin_prompt_ask(cmd, &o->password, description, "Password", password, err);
    return status == DPOP_OK ? ask(cmd, name, file, *password, answer, err) : status;
}

static int run(struct command *cmd, char **operands, int count)
{
    struct key_made_answer answer;
    struct dpop_error err;
    int file = -1, password = -1;
    (void)count;
    int status = open_file(operands[1], &file, &err);
    if (status == DPOP_OK)
        status = import(cmd, operands[0], operands[1], file, &password, &answer, &err);
    if (file >= 0)
        (void)close(file);
    if (password >= 0)
        (void)close(password);
    return status == DPOP_OK ? key_change_finish_made(cmd, &answer) : report_error(cmd, &err);
}

const struct verb verb_key_import = {
    .name = "key import",
    .arguments = "NAME FILE",
    .summary = "Put a key that was made elsewhere into a token",
    .help = "  --like KEY           into the token of this key, with its options (default: the only key)\n"
            "  --password-file FILE the file's password, - is standard input; else it is asked for\n" PIN_PROMPT_HELP,
    .short_options = "",
    .long_options = long_options,
    .min_operands = 2,
    .max_operands = 2,
    .options_size = sizeof(struct options),
    .texts = texts,
    .run = run,
};
